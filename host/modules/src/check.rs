//! Whether this build can run a generation: compiled, really instantiated and asked to describe
//! itself. Some differences show only then. What it says is kept in its record; nobody asks later.

use std::sync::Arc;

use wharf_core::manifest::Manifest;
use wharf_core::plan::Step;
use wharf_core::ports::Clock;
use wharf_runtime::{Checked, Component, Engine, EngineMode, check_component};

use crate::compile;
use crate::store::{Generation, Store};

/// Loads the generation once, in an engine of its own, and returns what it says of itself.
///
/// # Errors
/// Why it cannot run, in words; those of the component are in it.
pub(crate) fn check(
    store: &Store,
    generation: &Generation,
    clock: &Arc<dyn Clock>,
) -> Result<Checked, String> {
    let engine = Engine::new(EngineMode::OnDemand).map_err(|error| error.to_string())?;
    let compiled = compile::compiled(store, &engine, generation, &|| true)
        .map_err(|error| error.to_string())?;
    // SAFETY: the cache compared this open file with the checksum that was written when it was
    // compiled, in a directory closed to everybody but this user.
    let component = unsafe { engine.load(&compiled.code) }.map_err(|error| error.to_string())?;
    describe(&engine, &component, &compiled.manifest, clock)
}

/// What a component says of itself that this build has everything for.
///
/// # Errors
/// What this build lacks, or what the component does wrong, in words.
pub(crate) fn describe(
    engine: &Engine,
    component: &Component,
    manifest: &Manifest,
    clock: &Arc<dyn Clock>,
) -> Result<Checked, String> {
    let steps = &manifest.node.steps;
    if let Some(step) = steps.iter().find(|step| !Step::NAMES.contains(&&***step)) {
        return Err(format!(
            "its manifest asks for the step `{step}`, which this build of Wharf does not have; it \
             has {}; update Wharf, or install an older version of the component",
            Step::NAMES.join(", ")
        ));
    }
    check_component(engine, component, manifest, clock).map_err(|error| error.to_string())
}
