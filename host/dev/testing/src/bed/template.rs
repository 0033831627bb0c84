//! Filled stores to copy. Installing compiles components, which takes seconds in a debug build; a
//! store is a directory that is the whole state, so one process does it once, with the real `wharf
//! backend install`, and every machine of every bed gets a copy.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::reaper::Reaper;
use super::{BedError, Machine, Parts};

/// What is in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) parts: Parts,
    /// `auth` and these.
    pub(super) backends: Vec<&'static str>,
    /// A second generation of the disk backend, active: its version's suffix.
    pub(super) newer_disk: Option<String>,
}

struct Template {
    content: Content,
    store: PathBuf,
    /// Takes the directory away when this process ends: a static has no destructor.
    _reaper: Reaper,
}

static TEMPLATES: Mutex<Vec<Template>> = Mutex::new(Vec::new());

/// Fills a machine's store. One with a second generation has the first already.
pub(super) fn fill(machine: &Machine, content: &Content) -> Result<(), BedError> {
    let mut templates = TEMPLATES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(template) = templates.iter().find(|template| template.content == *content) {
        return machine.take_store(&template.store);
    }
    match &content.newer_disk {
        None => machine.install_all(&content.parts, &content.backends)?,
        Some(suffix) => {
            machine.install(&content.parts, "disk", &content.parts.newer_disk(suffix)?)?
        }
    }
    let directory = tempfile::Builder::new()
        .prefix("wharf-store-")
        .tempdir()
        .map_err(BedError::system("make a temporary directory"))?
        .keep();
    let made = Template {
        content: content.clone(),
        store: directory.join("store"),
        _reaper: Reaper::watch(&directory)?,
    };
    machine.copy_store_to(&made.store)?;
    templates.push(made);
    Ok(())
}
