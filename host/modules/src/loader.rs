//! The active generation of each component, as calls meet it: loaded when first needed, replaced
//! when the store says so.
//!
//! Every call costs one `stat` to notice a swap. A generation that cannot be loaded displaces
//! nothing: calls go on with the one they have, the log says why, and it is tried again. A server
//! compiles in the background ([`Loader::load_in_background`]), so that no call waits for it beyond
//! its deadline. Nothing is loaded for calls that need no component.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_core::manifest::Manifest;
use wharf_core::ports::Clock;
use wharf_core::{Blame, Error, ErrorKind};
use wharf_runtime::{Checked, Component, ComponentError, Engine, EngineMode};

use crate::changes::Components;
use crate::check;
use crate::compile::{self, CompileError};
use crate::store::{ComponentId, Generation, State, Store};

mod slot;

pub(crate) use slot::Slot;

/// How often a server checks whether something is to be loaded.
const POLL: Duration = Duration::from_secs(1);

/// Loads components from the store into one engine, which is made when the first of them is needed.
pub struct Loader {
    store: Store,
    mode: EngineMode,
    clock: Arc<dyn Clock>,
    engine: Mutex<Option<Engine>>,
    components: Components,
    /// Who can say which generation serves. As many as the operator has sections.
    slots: Mutex<Vec<Weak<dyn LoadsInBackground>>>,
}

/// Which generation of a component serves in this process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Serving {
    /// `backend` or `authenticator`: the command that manages it.
    pub kind: String,
    /// Its name among those of its kind.
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

/// What the loader asks of a slot without knowing its type.
trait LoadsInBackground: Send + Sync {
    fn serving(&self) -> Serving;
    /// Begins to load what is to be loaded, unless it was tried a moment ago.
    fn load_if_due(self: Arc<Self>);
}

/// A component that is ready to be linked.
pub(crate) struct Loaded {
    pub(crate) engine: Engine,
    pub(crate) component: Component,
    pub(crate) manifest: Manifest,
    pub(crate) description: Checked,
    pub(crate) generation: u64,
}

impl Loader {
    /// A loader for this store.
    pub fn new(store: Store, mode: EngineMode, clock: Arc<dyn Clock>) -> Self {
        let (engine, components) = (Mutex::new(None), Components::default());
        Self { store, mode, clock, engine, components, slots: Mutex::default() }
    }

    /// Loads every component now, and what becomes active later, in the background, as long as the
    /// loader is there. For servers.
    pub fn load_in_background(self: &Arc<Self>) {
        let loader = Arc::downgrade(self);
        let load = move || {
            while let Some(loader) = loader.upgrade() {
                for slot in loader.slots() {
                    slot.load_if_due();
                }
                drop(loader);
                std::thread::sleep(POLL);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("modules".to_owned()).spawn(load) {
            tracing::warn!(%error, "components are loaded by the calls that need them");
        }
    }

    fn slots(&self) -> Vec<Arc<dyn LoadsInBackground>> {
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

    /// Which generation of each component serves, by kind and name.
    pub fn serving(&self) -> Vec<Serving> {
        let mut serving: Vec<_> = self.slots().iter().map(|slot| slot.serving()).collect();
        serving.sort();
        // A controller and a node of one process each have a backend of their own.
        serving.dedup();
        serving
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
        Ok(self.store.active(id).map_err(host_error)?.generation)
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
            error => host_error(error),
        })?;
        // SAFETY: the cache compared this open file with the checksum that was written when it was
        // compiled, in a directory closed to everybody but this user.
        let component = unsafe { engine.load(&compiled.code) }.map_err(|error| match error {
            ComponentError::Memory(_) => host_error(error),
            other => Error::internal(other.to_string()),
        })?;
        let manifest = compiled.manifest;
        let description = match &generation.state {
            State::Checked { description: Some(description) } => (**description).clone(),
            _ => self.check_again(generation, &engine, &component, &manifest)?,
        };
        Ok(Loaded { engine, component, manifest, description, generation: generation.number })
    }

    /// What a generation says of itself whose record does not have it: a build of Wharf checked it
    /// that kept nothing.
    fn check_again(
        &self,
        generation: &Generation,
        engine: &Engine,
        component: &Component,
        manifest: &Manifest,
    ) -> Result<Checked, Error> {
        let checked =
            check::describe(engine, component, manifest, &self.clock).map_err(Error::internal)?;
        if generation.is_checked() {
            let (id, number) = (generation.id(), generation.number);
            let state = State::Checked { description: Some(Box::new(checked.clone())) };
            if let Err(error) = self.store.mark(&id, number, state) {
                tracing::warn!(component = %id, generation = number, %error, "what the component says of itself cannot be kept; it is asked again by the next process");
            }
        }
        Ok(checked)
    }
}

/// It takes longer than the call may.
fn being_loaded(id: &ComponentId) -> Error {
    Error::unavailable(format!("{id} is being compiled"))
        .with_hint("it goes on without this call, which is to be repeated")
}

/// The machine lacks what the call needs; nothing was learned about the volume.
fn host_error(why: impl ToString) -> Error {
    Error::new(ErrorKind::FailedPrecondition, Blame::Host, why.to_string())
}
