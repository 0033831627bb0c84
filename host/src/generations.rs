//! The active generation of each component, as calls meet it: loaded when first needed, replaced
//! when the store says so.
//!
//! Every call costs one `stat` to notice a swap. A generation that cannot be loaded displaces
//! nothing: calls go on with the one they have, the log says why, and it is tried again. A server
//! compiles in the background ([`Loader::keep`]), so that no call waits for it beyond its deadline.
//! Nothing is loaded for calls that need no component.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_core::manifest::Manifest;
use wharf_core::ports::{Ask, Call, Clock, Describe};
use wharf_core::types::{Description, Parameters, Progress};
use wharf_core::verbs::Verb;
use wharf_core::{Blame, Error, ErrorKind};
use wharf_runtime::{
    AuthCode, AuthDescription, AuthPorts, Authenticator, BackendCode, BackendPorts, Component,
    ComponentError, Credential, CredentialFile, Engine, EngineMode, Signature, Source, Unsigned,
    WasmAuthenticator, WasmBackend,
};
use wharf_store::{ComponentId, Generation, Store};

use crate::compile::{self, CompileError};
use crate::components::Components;

mod slot;

use slot::Slot;

/// How often a server looks whether something is to be loaded.
const KEEP: Duration = Duration::from_secs(1);
/// How long the generation of a signer is waited for, which is asked without a call: as long as a
/// caller of Kubernetes usually waits.
const WITHOUT_A_CALL: Duration = Duration::from_secs(15);

/// Loads components from the store into one engine, which is made when the first of them is needed.
pub struct Loader {
    store: Store,
    mode: EngineMode,
    clock: Arc<dyn Clock>,
    engine: Mutex<Option<Engine>>,
    components: Components,
    /// Who can say which generation serves. As many as the operator has sections.
    slots: Mutex<Vec<Weak<dyn Follows>>>,
}

/// Which generation of a component serves in this process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Serving {
    /// The component's name in the store.
    pub component: String,
    /// The generation that calls run on; `None`: none is loaded.
    pub generation: Option<u64>,
    /// Its version.
    pub version: Option<String>,
    /// The store's active generation.
    pub active: Option<u64>,
    /// Why the active one does not serve; `None` where it does.
    pub why_not: Option<String>,
}

/// Why nothing serves where nothing was asked of it.
pub const NOT_NEEDED_YET: &str = "no call has needed it yet";
/// Why nothing else serves for a moment.
pub const BEING_LOADED: &str = "it is being loaded";

trait Follows: Send + Sync {
    fn serving(&self) -> Serving;
    /// Begins to load what is to be loaded, unless it was tried a moment ago.
    fn keep(self: Arc<Self>);
}

/// A component that is ready to be linked.
struct Loaded {
    engine: Engine,
    component: Component,
    manifest: Manifest,
    generation: u64,
}

impl Loader {
    /// A loader for this store.
    pub fn new(store: Store, mode: EngineMode, clock: Arc<dyn Clock>) -> Self {
        let (engine, components) = (Mutex::new(None), Components::default());
        Self { store, mode, clock, engine, components, slots: Mutex::default() }
    }

    /// Loads every component now, and what becomes active later, in the background, as long as the
    /// loader is there. For servers.
    pub fn keep(self: &Arc<Self>) {
        let loader = Arc::downgrade(self);
        let keep = move || {
            while let Some(loader) = loader.upgrade() {
                for slot in loader.slots() {
                    slot.keep();
                }
                drop(loader);
                std::thread::sleep(KEEP);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("modules".to_owned()).spawn(keep) {
            tracing::warn!(%error, "components are loaded by the calls that need them");
        }
    }

    fn slots(&self) -> Vec<Arc<dyn Follows>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().filter_map(Weak::upgrade).collect()
    }

    fn is_server(&self) -> bool {
        matches!(self.mode, EngineMode::Pooled { .. })
    }

    /// Where components are loaded from.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How often they were replaced.
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// Which generation of each component serves, by the component's name.
    pub fn serving(&self) -> Vec<Serving> {
        let mut told: Vec<_> = self.slots().iter().map(|slot| slot.serving()).collect();
        told.sort();
        // A controller and a node of one process each have a backend of their own.
        told.dedup();
        told
    }

    fn engine(&self) -> Result<Engine, Error> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        let made = Engine::new(self.mode).map_err(|error| Error::internal(error.to_string()))?;
        *engine = Some(made.clone());
        Ok(made)
    }

    fn active(&self, id: &ComponentId) -> Result<Generation, Error> {
        Ok(self.store.active(id).map_err(unusable)?.generation)
    }

    /// The generations that `rollback` would go back to, nearest first; none when the store cannot
    /// say.
    fn previous(&self, id: &ComponentId) -> Vec<Generation> {
        let Ok(summary) = self.store.show(id) else { return Vec::new() };
        let of = |number: &u64| {
            summary.generations.iter().find(|generation| generation.number == *number).cloned()
        };
        summary.previous.iter().filter_map(of).collect()
    }

    /// Whether nothing has to be compiled for it.
    fn is_compiled(&self, generation: &Generation) -> bool {
        let Ok(engine) = self.engine() else { return false };
        matches!(self.store.cache(&engine.hash()).get(&generation.digest), Ok(Some(_)))
    }

    fn load(&self, generation: &Generation, may_wait: &dyn Fn() -> bool) -> Result<Loaded, Error> {
        let engine = self.engine()?;
        // Compiled now, if another build of Wharf installed it or the cache was removed.
        let compiled = compile::compiled(&self.store, &engine, generation, may_wait);
        let compiled = compiled.map_err(|error| match error {
            CompileError::Busy => being_loaded(&generation.id()),
            error => unusable(error),
        })?;
        // SAFETY: the cache compared this open file with the digest that was written when it was
        // compiled, in a directory closed to everybody but this user.
        let component = unsafe { engine.load(&compiled.code) }.map_err(|error| match error {
            ComponentError::Memory(_) => unusable(error),
            other => Error::internal(other.to_string()),
        })?;
        Ok(Loaded { engine, component, manifest: compiled.manifest, generation: generation.number })
    }
}

/// It takes longer than the call may.
fn being_loaded(id: &ComponentId) -> Error {
    Error::unavailable(format!("{id} is being compiled"))
        .with_hint("it goes on without this call, which is to be repeated")
}

/// The machine lacks what the call needs; nothing was learned about the volume.
fn unusable(why: impl ToString) -> Error {
    Error::new(ErrorKind::FailedPrecondition, Blame::Host, why.to_string())
}

/// The backend of this name in the store, whichever generation is active.
pub struct StoredBackend {
    slot: Arc<Slot<WasmBackend>>,
}

impl StoredBackend {
    /// Nothing is loaded yet.
    pub fn new(id: ComponentId, loader: &Arc<Loader>, ports: BackendPorts) -> Self {
        let slot =
            Slot::new(id, loader, move |loaded: Loaded, running: Option<&Arc<WasmBackend>>| {
                let code = BackendCode::link(
                    &loaded.engine,
                    &loaded.component,
                    loaded.manifest,
                    loaded.generation,
                )
                .map_err(|error| Error::internal(error.to_string()))?;
                Ok(match running {
                    Some(backend) => {
                        backend.publish(Arc::new(code));
                        Arc::clone(backend)
                    }
                    None => Arc::new(WasmBackend::new(ports.clone(), Arc::new(code))),
                })
            });
        Self { slot }
    }
}

impl<V: Verb> Ask<V> for StoredBackend
where
    WasmBackend: Ask<V>,
{
    fn ask(
        &self,
        call: &Call,
        request: &V::Request,
        progress: &Progress,
    ) -> Result<V::Answer, Error> {
        Ask::<V>::ask(&*self.slot.get(call)?, call, request, progress)
    }
}

impl Describe for StoredBackend {
    fn description(&self, call: &Call) -> Result<Arc<Description>, Error> {
        self.slot.get(call)?.description(call)
    }

    fn description_at_hand(&self) -> Option<Arc<Description>> {
        self.slot.at_hand()?.description_at_hand()
    }
}

/// The authenticator of this name in the store, whichever generation is active.
pub struct StoredAuthenticator {
    slot: Arc<Slot<WasmAuthenticator>>,
}

impl StoredAuthenticator {
    /// Nothing is loaded yet.
    pub fn new(id: ComponentId, loader: &Arc<Loader>, ports: AuthPorts) -> Self {
        let slot = Slot::new(
            id,
            loader,
            move |loaded: Loaded, _running: Option<&Arc<WasmAuthenticator>>| {
                let code = AuthCode::link(
                    &loaded.engine,
                    &loaded.component,
                    loaded.manifest,
                    loaded.generation,
                )
                .map_err(|error| Error::internal(error.to_string()))?;
                Ok(Arc::new(WasmAuthenticator::new(ports.clone(), Arc::new(code))))
            },
        );
        Self { slot }
    }
}

impl Authenticator for StoredAuthenticator {
    fn generation(&self) -> u64 {
        // One that cannot be loaded neither obtains nor signs.
        self.slot.get_within(WITHOUT_A_CALL).map_or(0, |authenticator| authenticator.generation())
    }

    fn describe(&self, call: &Call) -> Result<AuthDescription, Error> {
        self.slot.get(call)?.describe(call)
    }

    fn obtain(&self, call: &Call, source: &Source, now_ms: u64) -> Result<Credential, Error> {
        self.slot.get(call)?.obtain(call, source, now_ms)
    }

    fn sign(
        &self,
        call: &Call,
        request: &Unsigned<'_>,
        settings: &Parameters,
        credential: &Credential,
        now_ms: u64,
        nonce: &str,
    ) -> Result<Signature, Error> {
        self.slot.get(call)?.sign(call, request, settings, credential, now_ms, nonce)
    }

    fn render(
        &self,
        call: &Call,
        credential: &Credential,
        form: &str,
        values: &Parameters,
    ) -> Result<Vec<CredentialFile>, Error> {
        self.slot.get(call)?.render(call, credential, form, values)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use wharf_core::manifest::World;
    use wharf_store::State;

    use super::*;

    /// A store in a folder of its own, which goes with this value.
    pub(crate) struct Bed {
        pub(crate) store: Store,
        engine: Engine,
    }

    impl Bed {
        pub(crate) fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("wharf-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&folder);
            Self { store: Store::open(folder), engine: Engine::new(EngineMode::OnDemand).unwrap() }
        }

        /// A checked and compiled generation of a component that has nothing in it but its
        /// manifest.
        pub(crate) fn checked(&self, version: &str) -> u64 {
            self.asking(version, "")
        }

        /// The same; `more` is what else its manifest says.
        pub(crate) fn asking(&self, version: &str, more: &str) -> u64 {
            let bytes = component(version, more);
            let disk = disk();
            let generation =
                self.store.install(World::Backend, Some(&disk.name), &bytes, 1).unwrap();
            let code = self.engine.compile(&bytes).unwrap();
            self.store
                .cache(&self.engine.hash())
                .try_lock(&generation.digest)
                .unwrap()
                .unwrap()
                .put(&code, &generation.manifest)
                .unwrap();
            self.store.mark(&disk, generation.number, State::Checked).unwrap().number
        }

        pub(crate) fn active(&self) -> u64 {
            self.store.active(&disk()).unwrap().generation.number
        }
    }

    impl Drop for Bed {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(self.store.root());
        }
    }

    pub(crate) fn disk() -> ComponentId {
        ComponentId::new(World::Backend, "disk").unwrap()
    }

    pub(crate) fn component(version: &str, more: &str) -> Vec<u8> {
        let manifest = format!(
            r#"{{"name":"disk","version":"{version}","world":"backend","contract":"0.1.0"{more}}}"#
        );
        let name = wharf_core::manifest::SECTION;
        let section =
            [[u8::try_from(name.len()).unwrap()].as_slice(), name.as_bytes(), manifest.as_bytes()]
                .concat();
        let length = [
            u8::try_from(section.len() & 0x7f).unwrap() | 0x80,
            u8::try_from(section.len() >> 7).unwrap(),
        ];
        [b"\0asm\x0d\0\x01\0\0".as_slice(), &length, &section].concat()
    }
}
