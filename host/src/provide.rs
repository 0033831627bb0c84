//! `wharf provide`: the components that come with an image, put into the store by whatever starts
//! a container of it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use wharf_modules::{Installer, Provided, Store};

use crate::backend_command::{installer, of_file, print, read, report};
use crate::cli::Output;
use crate::config::Config;
use crate::output::{self, Failure};

/// Provides every component of the directory, and prints what was done about each.
///
/// # Errors
/// When there is no component, or one that is needed cannot be made active. One that is refused
/// while an earlier one is active is reported and is no error: that one goes on serving.
pub fn run(config: &Path, directory: &Path, output: Output) -> Result<(), Failure> {
    let config = Config::load(config).map_err(|error| error.for_a_command())?;
    let store = Store::open(&config.store);
    let (mut lines, mut done) = (Vec::new(), Vec::new());
    for file in components(directory)? {
        let (line, value) = provide(&installer(&store), &file)?;
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

/// What to print of one component.
fn provide(installer: &Installer<'_>, file: &Path) -> Result<(String, Value), Failure> {
    let provided = installer.provide(&read(file)?).map_err(|error| of_file(file, &error))?;
    Ok(match provided {
        Provided::Active(active) => (format!("{active} is active"), report(&active, "active")),
        Provided::Activated(active) => {
            (format!("{active} is active now"), report(&active, "activated"))
        }
        Provided::ChosenByHand(active) => {
            let (kind, name) = (active.manifest.world.noun(), &active.manifest.name);
            let line = format!(
                "{active} was made active by hand and stays; `wharf {kind} install {name} {} \
                 --activate` takes the one that is provided",
                file.display()
            );
            (line, report(&active, "chosen-by-hand"))
        }
        Provided::Refused { why, active } => {
            output::complain(of_file(file, &why));
            (format!("{active} goes on serving"), report(&active, "active"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_component_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("README"), "").unwrap();
        let Err(Failure::Message(said)) = components(directory.path()) else { panic!() };
        assert!(said.contains(&directory.path().display().to_string()), "{said}");
    }
}
