//! The same component twice: in the pool, and outside of it (in wasmtime's words, on demand) for
//! calls that find the pool full. The second one is made when the first such call comes.

use std::sync::{Arc, OnceLock};

use wasmtime::component::Component;

use crate::component_error::ComponentError;
use crate::engine::{Engine, SlotGuard};

/// A linked component's copy outside of the pool.
pub(crate) struct OnDemandCopy<T> {
    engine: Engine,
    component: Component,
    on_demand: OnceLock<Option<Arc<T>>>,
}

/// The code that one call runs; its slot, where it has one, is free again when this is dropped.
pub(crate) struct CodeGuard<T> {
    pub(crate) code: Arc<T>,
    _slot: Option<SlotGuard>,
}

impl<T> OnDemandCopy<T> {
    pub(crate) fn new(engine: &Engine, component: &Component) -> Self {
        Self { engine: engine.clone(), component: component.clone(), on_demand: OnceLock::new() }
    }

    /// `code` for one call, or its copy, which `link` links when it is first needed.
    pub(crate) fn for_one_call(
        &self,
        code: &Arc<T>,
        link: impl FnOnce(&Engine, &Component) -> Result<T, ComponentError>,
    ) -> CodeGuard<T> {
        if let Some(slot) = self.engine.slot() {
            return CodeGuard { code: Arc::clone(code), _slot: Some(slot) };
        }
        let on_demand = self.on_demand.get_or_init(|| {
            let (engine, component) = self.engine.on_demand_copy(&self.component)?;
            link(&engine, &component)
                .inspect_err(|error| tracing::warn!(%error, "calls beyond the pool fail"))
                .ok()
                .map(Arc::new)
        });
        // Without a copy the call is refused by the pool, and repeated.
        CodeGuard { code: Arc::clone(on_demand.as_ref().unwrap_or(code)), _slot: None }
    }

    /// The copy, if there is one by now.
    pub(crate) fn get(&self) -> Option<&Arc<T>> {
        self.on_demand.get().and_then(Option::as_ref)
    }
}
