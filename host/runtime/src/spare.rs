//! The same component twice: in the pool, and outside of it for calls that find the pool full. The
//! second one is made when the first such call comes.

use std::sync::{Arc, OnceLock};

use wasmtime::component::Component;
use wharf_core::manifest::Manifest;

use crate::component_error::ComponentError;
use crate::engine::{Engine, SlotGuard};

/// What [`Twin`] needs of a linked component.
pub(crate) trait Linked: Sized {
    /// Links a component.
    fn link(
        engine: &Engine,
        component: &Component,
        manifest: Manifest,
        generation: u64,
    ) -> Result<Self, ComponentError>;
}

/// A linked component's twin outside of the pool.
pub(crate) struct Twin<T> {
    engine: Engine,
    component: Component,
    twin: OnceLock<Option<Arc<T>>>,
}

/// What one call runs in; its slot, where it has one, is free again when this is dropped.
pub(crate) struct Place<T> {
    pub(crate) code: Arc<T>,
    _slot: Option<SlotGuard>,
}

impl<T: Linked> Twin<T> {
    pub(crate) fn new(engine: &Engine, component: &Component) -> Self {
        Self { engine: engine.clone(), component: component.clone(), twin: OnceLock::new() }
    }

    /// A place for one call of `code`.
    pub(crate) fn place(&self, code: &Arc<T>, manifest: &Manifest, generation: u64) -> Place<T> {
        if let Some(slot) = self.engine.slot() {
            return Place { code: Arc::clone(code), _slot: Some(slot) };
        }
        let twin = self.twin.get_or_init(|| {
            let (engine, component) = self.engine.spare_of(&self.component)?;
            let twin = T::link(&engine, &component, manifest.clone(), generation);
            twin.inspect_err(|error| tracing::warn!(%error, "calls beyond the pool fail"))
                .ok()
                .map(Arc::new)
        });
        // Without a twin the call is refused by the pool, and repeated.
        Place { code: Arc::clone(twin.as_ref().unwrap_or(code)), _slot: None }
    }

    /// The twin, if there is one by now.
    pub(crate) fn get(&self) -> Option<&Arc<T>> {
        self.twin.get().and_then(Option::as_ref)
    }
}
