//! `wharf provide`: the components that come with an image, put into the store by whatever starts
//! a container of it. It replaces what came in this way before and nothing else, so a
//! component that a person made active survives restarts and upgrades.

use std::path::{Path, PathBuf};

use serde_json::Value;
use wharf_store::{ComponentId, Digest, Generation, Store, StoreError, read_manifest};

use crate::backend_command::{print, put, read, report};
use crate::cli::Output;
use crate::config::Config;
use crate::output::{self, Failure};

/// What is done about one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    /// It is installed and made active.
    Activate,
    /// It is active already.
    Keep,
    /// A person made another one active.
    Leave,
}

/// Provides every component of the directory, and prints what was done about each.
///
/// # Errors
/// When there is no component, or one that is needed cannot be made active. One that is refused
/// while an earlier one is active is reported and is no error: that one goes on serving.
pub fn run(config: &Path, directory: &Path, output: Output) -> Result<(), Failure> {
    let config = Config::load(config).map_err(|error| error.for_a_command())?;
    provide_all(&Store::open(&config.store), directory, output)
}

fn provide_all(store: &Store, directory: &Path, output: Output) -> Result<(), Failure> {
    let mut lines = Vec::new();
    let mut done = Vec::new();
    for file in components(directory)? {
        let (line, value) = provide(store, &file)?;
        lines.push(line);
        done.push(value);
    }
    print(output, &Value::Array(done), &lines.join("\n"))
}

fn components(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable =
        |error: std::io::Error| format!("cannot list {}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::Message(format!(
            "there is no component (`.wasm`) in {}",
            directory.display()
        )));
    }
    Ok(files)
}

fn provide(store: &Store, file: &Path) -> Result<(String, Value), Failure> {
    let bytes = read(file)?;
    let manifest = read_manifest(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
    let id = ComponentId { world: manifest.world, name: manifest.name };
    let new = Digest::of(&bytes);
    let active = active(store, &id)?;
    let provided = store.provided(&id).map_err(|error| error.to_string())?;
    match (decide(active.as_ref().map(|active| &active.digest), &new, &provided), active) {
        (Decision::Keep, Some(active)) => {
            set_provided(store, &id, &[&new])?;
            Ok((format!("{active} is active"), report(&active, "active")))
        }
        (Decision::Leave, Some(active)) => Ok((
            format!(
                "{active} was made active by hand and stays; `wharf {} install {} {} --activate` \
                 takes the one that is provided",
                id.world.noun(),
                id.name,
                file.display()
            ),
            report(&active, "chosen-by-hand"),
        )),
        (_, active) => replace(store, &id, file, &bytes, active.as_ref(), &new),
    }
}

/// Both digests stand in the mark while the change is under way: killed anywhere in between, the
/// next run finds one of them active and goes on.
fn replace(
    store: &Store,
    id: &ComponentId,
    file: &Path,
    bytes: &[u8],
    before: Option<&Generation>,
    new: &Digest,
) -> Result<(String, Value), Failure> {
    let checked = match (put(store, id.world, Some(&id.name), file, bytes), before) {
        (Ok(checked), _) => checked,
        (Err(Failure::Message(why)), Some(before)) => {
            output::complain(Failure::Message(why));
            return Ok((format!("{before} goes on serving"), report(before, "active")));
        }
        (Err(failure), _) => return Err(failure),
    };
    let under_way: Vec<&Digest> = before.map(|before| &before.digest).into_iter().collect();
    set_provided(store, id, &[under_way.as_slice(), &[new]].concat())?;
    let active = store.activate(id, checked.number).map_err(|error| error.to_string())?;
    set_provided(store, id, &[new])?;
    Ok((format!("{active} is active now"), report(&active, "activated")))
}

fn decide(active: Option<&Digest>, new: &Digest, provided: &[Digest]) -> Decision {
    match active {
        None => Decision::Activate,
        Some(active) if active == new => Decision::Keep,
        Some(active) if provided.contains(active) => Decision::Activate,
        Some(_) => Decision::Leave,
    }
}

/// `None`: nothing is active, or what says so is damaged, which this mends.
fn active(store: &Store, id: &ComponentId) -> Result<Option<Generation>, String> {
    match store.active(id) {
        Ok(active) => Ok(Some(active.generation)),
        Err(StoreError::NotInstalled { .. } | StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn set_provided(store: &Store, id: &ComponentId, digests: &[&Digest]) -> Result<(), String> {
    store.set_provided(id, digests).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::tests::{Bed, component, disk};

    #[test]
    fn only_what_was_provided_is_replaced() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|bytes| Digest::of(bytes));
        let of = |active: Option<&Digest>, provided: &[&Digest]| {
            let provided: Vec<Digest> = provided.iter().map(|digest| (*digest).clone()).collect();
            decide(active, &b, &provided)
        };
        assert_eq!(of(None, &[]), Decision::Activate);
        assert_eq!(of(Some(&b), &[]), Decision::Keep);
        assert_eq!(of(Some(&a), &[&a]), Decision::Activate);
        assert_eq!(of(Some(&a), &[]), Decision::Leave);
        // Rolled back by hand from what was provided last.
        assert_eq!(of(Some(&a), &[&c]), Decision::Leave);
        // Killed before and after the new one became active.
        assert_eq!(of(Some(&a), &[&a, &b]), Decision::Activate);
        assert_eq!(of(Some(&b), &[&a, &b]), Decision::Keep);
    }

    #[test]
    fn a_component_that_cannot_run_leaves_the_provided_one_serving_and_marked() {
        let bed = Bed::new("provide");
        let first = bed.checked("1.0.0");
        bed.store.activate(&disk(), first).unwrap();
        let digest = bed.store.active(&disk()).unwrap().generation.digest;
        bed.store.set_provided(&disk(), &[&digest]).unwrap();
        let folder = bed.store.root().join("image");
        std::fs::create_dir_all(&folder).unwrap();
        assert!(provide_all(&bed.store, &folder, Output::Text).is_err(), "there is nothing in it");
        // A component without a single export: it compiles and does not answer.
        std::fs::write(folder.join("disk.wasm"), component("2.0.0", "")).unwrap();
        provide_all(&bed.store, &folder, Output::Text).unwrap();
        assert_eq!(bed.active(), first);
        assert_eq!(bed.store.provided(&disk()).unwrap(), [digest]);
    }

    #[test]
    fn a_component_that_a_person_made_active_stays() {
        let bed = Bed::new("provide-hand");
        let first = bed.checked("1.0.0");
        bed.store.activate(&disk(), first).unwrap();
        let folder = bed.store.root().join("image");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("disk.wasm"), component("2.0.0", "")).unwrap();
        provide_all(&bed.store, &folder, Output::Json).unwrap();
        assert_eq!(bed.active(), first);
        assert_eq!(bed.store.provided(&disk()).unwrap(), []);
        // It is the provided one from the moment at which the image brings the same.
        std::fs::write(folder.join("disk.wasm"), component("1.0.0", "")).unwrap();
        provide_all(&bed.store, &folder, Output::Json).unwrap();
        assert_eq!(bed.store.provided(&disk()).unwrap().len(), 1);
    }
}
