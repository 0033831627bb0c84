//! The active generation of each component, as calls meet it: loaded when first needed, replaced
//! when the store says so.
//!
//! Every call costs one `stat` to notice a swap. A generation that cannot be loaded displaces
//! nothing: calls go on with the one they have, and the log says why. Nothing is loaded for calls
//! that need no component.

use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError, Weak};

use serde::{Deserialize, Serialize};
use wharf_core::manifest::Manifest;
use wharf_core::ports::{Ask, Call, Describe};
use wharf_core::types::{Description, Parameters, Progress};
use wharf_core::verbs::Verb;
use wharf_core::{Blame, Error, ErrorKind};
use wharf_runtime::{
    AuthCode, AuthDescription, AuthPorts, Authenticator, BackendCode, BackendPorts, Component,
    ComponentError, Credential, CredentialFile, Engine, EngineMode, Signature, Source, Unsigned,
    WasmAuthenticator, WasmBackend,
};
use wharf_store::{ComponentId, Generation, Revision, Store};

use crate::compile;
use crate::components::Components;

/// Loads components from the store into one engine, which is made when the first of them is needed.
pub struct Loader {
    store: Store,
    mode: EngineMode,
    engine: Mutex<Option<Engine>>,
    components: Components,
    /// Who can say which generation serves. As many as the operator has sections.
    slots: Mutex<Vec<Weak<dyn Tells>>>,
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

trait Tells: Send + Sync {
    fn serving(&self) -> Serving;
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
    pub fn new(store: Store, mode: EngineMode) -> Self {
        let (engine, components) = (Mutex::new(None), Components::default());
        Self { store, mode, engine, components, slots: Mutex::default() }
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
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told = slots.iter().filter_map(Weak::upgrade).map(|slot| slot.serving());
        let mut told: Vec<_> = told.collect();
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

    fn load(&self, generation: &Generation) -> Result<Loaded, Error> {
        let engine = self.engine()?;
        // Compiled now, if another build of Wharf installed it or the cache was removed.
        let compiled = compile::compiled(&self.store, &engine, generation).map_err(unusable)?;
        // SAFETY: the cache compared this open file with the digest that was written when it was
        // compiled, in a directory closed to everybody but this user.
        let component = unsafe { engine.load(&compiled.code) }.map_err(|error| match error {
            ComponentError::Memory(_) => unusable(error),
            other => Error::internal(other.to_string()),
        })?;
        Ok(Loaded { engine, component, manifest: compiled.manifest, generation: generation.number })
    }
}

/// The machine lacks what the call needs; nothing was learned about the volume.
fn unusable(why: impl ToString) -> Error {
    Error::new(ErrorKind::FailedPrecondition, Blame::Host, why.to_string())
}

/// Links what was loaded; handed the component that is running, where there is one.
type Link<T> = Box<dyn Fn(Loaded, Option<&Arc<T>>) -> Result<Arc<T>, Error> + Send + Sync>;

/// A component whose generation follows the store.
struct Slot<T> {
    id: ComponentId,
    loader: Arc<Loader>,
    link: Link<T>,
    current: RwLock<Option<Current<T>>>,
    loading: Mutex<Option<Failed>>,
}

/// What calls run on.
struct Current<T> {
    component: Arc<T>,
    /// Of the store, when it was loaded.
    revision: Revision,
    generation: u64,
    version: Arc<str>,
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self {
            component: Arc::clone(&self.component),
            revision: self.revision,
            generation: self.generation,
            version: Arc::clone(&self.version),
        }
    }
}

/// What could not be loaded, and why.
struct Failed {
    revision: Option<Revision>,
    why: String,
}

impl<T: Send + Sync> Tells for Slot<T> {
    fn serving(&self) -> Serving {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let revision = self.loader.store.revision(&self.id);
        let active = self.loader.active(&self.id);
        let number = active.as_ref().ok().map(|active| active.number);
        let failed = match self.loading.try_lock() {
            Ok(failed) => failed
                .as_ref()
                .filter(|failed| failed.revision == revision)
                .map(|failed| failed.why.clone()),
            Err(TryLockError::Poisoned(_)) => None,
            Err(TryLockError::WouldBlock) => Some(BEING_LOADED.to_owned()),
        };
        let generation = current.as_ref().map(|current| current.generation);
        let why_not = match (generation, &active) {
            (generation, Ok(active)) if generation == Some(active.number) => None,
            (_, Err(error)) => Some(error.to_string()),
            (None, _) => Some(failed.unwrap_or_else(|| NOT_NEEDED_YET.to_owned())),
            (Some(_), _) => Some(failed.unwrap_or_else(|| "the next call loads it".to_owned())),
        };
        let version = current.map(|current| current.version.to_string());
        Serving {
            component: self.id.name.to_string(),
            generation,
            version,
            active: number,
            why_not,
        }
    }
}

impl<T: Send + Sync + 'static> Slot<T> {
    fn new(
        id: ComponentId,
        loader: &Arc<Loader>,
        link: impl Fn(Loaded, Option<&Arc<T>>) -> Result<Arc<T>, Error> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let slot = Arc::new(Self {
            id,
            loader: Arc::clone(loader),
            link: Box::new(link),
            current: RwLock::new(None),
            loading: Mutex::new(None),
        });
        let told: Arc<dyn Tells> = slot.clone();
        loader.slots.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&told));
        slot
    }

    /// The component of the active generation.
    fn get(&self) -> Result<Arc<T>, Error> {
        let revision = self.loader.store.revision(&self.id);
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        match (current, revision) {
            (Some(current), Some(revision)) if current.revision == revision => {
                Ok(current.component)
            }
            // Removed under a running server: what is loaded goes on.
            (Some(current), None) => Ok(current.component),
            (Some(current), Some(revision)) => Ok(self.replace(current.component, revision)),
            (None, _) => self.load_first(),
        }
    }

    /// The component of the active generation where nothing has to be loaded first.
    fn at_hand(&self) -> Option<Arc<T>> {
        let revision = self.loader.store.revision(&self.id);
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        let is_active = revision.is_none_or(|revision| revision == current.revision);
        is_active.then_some(current.component)
    }

    /// Loads the new generation on one thread, while the others go on with what they have.
    fn replace(&self, component: Arc<T>, revision: Revision) -> Arc<T> {
        let Ok(mut failed) = self.loading.try_lock() else { return component };
        if failed.as_ref().is_some_and(|failed| failed.revision == Some(revision)) {
            return component;
        }
        let linked = self.loader.active(&self.id).and_then(|generation| {
            let next = (self.link)(self.loader.load(&generation)?, Some(&component))?;
            Ok((next, generation))
        });
        match linked {
            Ok((next, generation)) => {
                tracing::info!(component = %self.id, "now serving another generation");
                self.serve(&next, revision, &generation);
                next
            }
            Err(error) => {
                tracing::error!(component = %self.id, %error, "the new generation cannot be loaded; the one before it goes on serving");
                self.loader.components.fail(&self.id.name, Some(revision));
                *failed = Some(Failed { revision: Some(revision), why: error.to_string() });
                component
            }
        }
    }

    fn serve(&self, component: &Arc<T>, revision: Revision, generation: &Generation) {
        self.loader.components.serve(&self.id.name, generation.number);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Current {
            component: Arc::clone(component),
            revision,
            generation: generation.number,
            version: (*generation.manifest.version).into(),
        });
    }

    fn load_first(&self) -> Result<Arc<T>, Error> {
        let mut failed = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = self.current.read().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(current.component);
        }
        // Read before loading: a swap in between is then noticed by the next call.
        let revision = self.loader.store.revision(&self.id);
        let active = self.loader.active(&self.id)?;
        let first = |generation: &Generation| {
            self.loader.load(generation).and_then(|loaded| (self.link)(loaded, None))
        };
        let (component, generation) = match first(&active) {
            Ok(component) => (component, active),
            Err(error) => {
                self.loader.components.fail(&self.id.name, revision);
                *failed = Some(Failed { revision, why: error.to_string() });
                self.one_before(&active, error, first)?
            }
        };
        if let Some(revision) = revision {
            self.serve(&component, revision, &generation);
        }
        Ok(component)
    }

    /// A host that was replaced may meet a component that it cannot run; the last one that it can
    /// run serves better than none.
    fn one_before(
        &self,
        active: &Generation,
        error: Error,
        load: impl Fn(&Generation) -> Result<Arc<T>, Error>,
    ) -> Result<(Arc<T>, Generation), Error> {
        for generation in self.loader.previous(&self.id) {
            if let Ok(component) = load(&generation) {
                let (active, serving) = (active.number, generation.number);
                tracing::warn!(component = %self.id, active, serving, %error, "the active generation cannot be loaded; an earlier one serves");
                return Ok((component, generation));
            }
        }
        Err(error)
    }
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
        Ask::<V>::ask(&*self.slot.get()?, call, request, progress)
    }
}

impl Describe for StoredBackend {
    fn description(&self, call: &Call) -> Result<Arc<Description>, Error> {
        self.slot.get()?.description(call)
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
        self.slot.get().map_or(0, |authenticator| authenticator.generation())
    }

    fn describe(&self, call: &Call) -> Result<AuthDescription, Error> {
        self.slot.get()?.describe(call)
    }

    fn obtain(&self, call: &Call, source: &Source, now_ms: u64) -> Result<Credential, Error> {
        self.slot.get()?.obtain(call, source, now_ms)
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
        self.slot.get()?.sign(call, request, settings, credential, now_ms, nonce)
    }

    fn render(
        &self,
        call: &Call,
        credential: &Credential,
        form: &str,
        values: &Parameters,
    ) -> Result<Vec<CredentialFile>, Error> {
        self.slot.get()?.render(call, credential, form, values)
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
                .lock()
                .unwrap()
                .put(&generation.digest, &code, &generation.manifest)
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

    #[test]
    fn the_generation_before_serves_where_the_active_one_cannot() {
        let bed = Bed::new("fallback");
        for version in ["1.0.0", "2.0.0"] {
            bed.store.activate(&disk(), bed.checked(version)).unwrap();
        }
        let loader = Arc::new(Loader::new(bed.store.clone(), EngineMode::OnDemand));
        let link = |loaded: Loaded, _: Option<&Arc<u64>>| match loaded.generation {
            2 => Err(Error::internal("it needs another host")),
            generation => Ok(Arc::new(generation)),
        };
        let slot = Slot::new(disk(), &loader, link);
        assert!(slot.at_hand().is_none());
        assert_eq!((*slot.get().unwrap(), *slot.get().unwrap()), (1, 1));
        assert_eq!(loader.components().all()["disk"].failures, 1);
        assert_eq!(slot.at_hand().as_deref(), Some(&1));
        bed.store.activate(&disk(), bed.checked("3.0.0")).unwrap();
        assert!(slot.at_hand().is_none());
        assert_eq!(*slot.get().unwrap(), 3);
        let none = Slot::new(disk(), &loader, |_: Loaded, _: Option<&Arc<u64>>| {
            Err::<Arc<u64>, _>(Error::internal("it needs another host"))
        });
        assert!(none.get().unwrap_err().message.contains("another host"));
    }
}
