//! A store for tests, which goes with its value, and components that have nothing in them but their
//! manifest.

use tempfile::TempDir;
use wharf_core::manifest::World;
use wharf_core::types::Description;
use wharf_runtime::{Checked, Engine, EngineMode};
use wharf_testing::component::component_with;

use crate::store::{ComponentId, Digest, State, Store, read_manifest};

pub(crate) struct TestStore {
    pub(crate) store: Store,
    engine: Engine,
    _directory: TempDir,
}

impl TestStore {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            store: Store::open(directory.path().join("store")),
            engine: Engine::new(EngineMode::OnDemand).unwrap(),
            _directory: directory,
        }
    }

    /// A checked and compiled generation of [`component`].
    pub(crate) fn checked(&self, version: &str) -> u64 {
        let (bytes, disk) = (component(version), disk());
        let generation = self.store.install(World::Backend, Some(&disk.name), &bytes, 1).unwrap();
        self.compile(&bytes);
        self.store.mark(&disk, generation.number, checked(&disk.name)).unwrap().number
    }

    /// Puts the compiled code into the cache: the program of a test cannot be started again as a
    /// compiler.
    pub(crate) fn compile(&self, bytes: &[u8]) {
        let (code, manifest) = (self.engine.compile(bytes).unwrap(), read_manifest(bytes).unwrap());
        let cache = self.store.cache(&self.engine.hash());
        cache.try_lock(&Digest::of(bytes)).unwrap().unwrap().put(&code, &manifest).unwrap();
    }

    pub(crate) fn active(&self) -> u64 {
        self.store.active(&disk()).unwrap().generation.number
    }
}

pub(crate) fn disk() -> ComponentId {
    ComponentId::new(World::Backend, "disk").unwrap()
}

/// The state of a backend that said this of itself.
fn checked(name: &str) -> State {
    let description = Description {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        drivers: vec![],
        capabilities: vec![],
        topology_keys: vec![],
        observe_batch: 1,
    };
    State::Checked { description: Some(Box::new(Checked::Backend(description))) }
}

/// A backend that is called `disk` and exports nothing.
pub(crate) fn component(version: &str) -> Vec<u8> {
    component_with(&format!(
        r#"{{"name":"disk","version":"{version}","world":"backend","contract":"0.1.0"}}"#
    ))
}
