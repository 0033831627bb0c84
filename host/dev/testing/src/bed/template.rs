//! A filled store to copy. Installing compiles components, which takes seconds in a debug build; a
//! store is a folder that is the whole state, so one process does it once, with the real `wharf
//! backend install`, and every machine of every bed gets a copy.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::reaper::Reaper;
use super::{BedError, Machine, Parts};

struct Template {
    parts: Parts,
    backends: Vec<String>,
    store: PathBuf,
    /// Takes the folder away when this process ends: a static has no destructor.
    _reaper: Reaper,
}

static TEMPLATE: Mutex<Option<Template>> = Mutex::new(None);

/// Fills a machine's store.
pub(super) fn fill(machine: &Machine, parts: &Parts, backends: &[&str]) -> Result<(), BedError> {
    let mut template = TEMPLATE.lock().unwrap_or_else(PoisonError::into_inner);
    let is_it = |made: &&Template| made.parts == *parts && made.backends == *backends;
    if let Some(template) = template.as_ref().filter(is_it) {
        return machine.take_store(&template.store);
    }
    machine.install_all(parts, backends)?;
    let folder = tempfile::Builder::new()
        .prefix("wharf-store-")
        .tempdir()
        .map_err(BedError::system("make a temporary folder"))?
        .keep();
    let made = Template {
        parts: parts.clone(),
        backends: backends.iter().map(|name| (*name).to_owned()).collect(),
        store: folder.join("store"),
        _reaper: Reaper::watch(&folder)?,
    };
    machine.copy_store_to(&made.store)?;
    *template = Some(made);
    Ok(())
}
