//! `wharf backend` and `wharf authenticator`: what an administrator does with components.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use wharf_core::manifest::{ComponentName, Manifest, World};
use wharf_modules::{
    ComponentId, Generation, InstallError, Installer, Listing, MAX_COMPONENT_BYTES, Store, Summary,
    read_manifest,
};
use wharf_node::SystemClock;

use crate::cli::{Component, Output};
use crate::config::{Account, Config};
use crate::output::{self, Failure};

mod grants;

use grants::Grants;

/// Runs one command on components of this kind and prints its result.
///
/// # Errors
/// What could not be done, and what to do about it.
pub fn run(config: &Path, world: World, command: Component) -> Result<(), Failure> {
    let path = config;
    let config = Config::load(path).map_err(|error| error.for_a_command())?;
    let store = Store::open(&config.store);
    let installer = installer(&store);
    let id = |name: ComponentName| ComponentId { world, name };
    match command {
        Component::Install { name, file, activate, grant, account, output } => {
            let grants = Grants { path, config: &config, write: grant, account };
            let checked = installer
                .install(world, name.as_ref(), &read(&file)?)
                .map_err(|error| of_file(&file, &error))?;
            settle(&store, &checked, activate, &grants, output)
        }
        Component::List { output } => list(&store, world, output),
        Component::Show { name, output } => show(&store, &config, &id(name), output),
        Component::Activate { name, generation, output } => {
            let active = installer.activate(&id(name), generation).map_err(failed)?;
            print(output, &report(&active, "active"), &format!("{active} is active"))
        }
        Component::Rollback { name, output } => {
            let active = installer.rollback(&id(name)).map_err(failed)?;
            print(output, &report(&active, "active"), &format!("{active} is active again"))
        }
    }
}

/// What changes this store.
pub(crate) fn installer(store: &Store) -> Installer<'_> {
    Installer::new(store, Arc::new(SystemClock))
}

/// Why it was not installed, for a person. Further lines stand below the first.
fn failed(error: InstallError) -> Failure {
    Failure::Message(error.to_string().replace('\n', "\n       "))
}

/// The same with the file that it is about.
pub(crate) fn of_file(file: &Path, error: &InstallError) -> Failure {
    Failure::Message(format!("{}: {error}", file.display()).replace('\n', "\n       "))
}

/// The bytes of a component's file, which may be a pipe (`/dev/stdin`).
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(MAX_COMPONENT_BYTES.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    if u64::try_from(bytes.len()).is_ok_and(|size| size > MAX_COMPONENT_BYTES) {
        return Err(Failure::Message(format!(
            "{} has more than the {MAX_COMPONENT_BYTES} bytes that are taken",
            file.display()
        )));
    }
    Ok(bytes)
}

/// Shows or grants what it lacks, makes it active if that is wanted, and says what became of it.
fn settle(
    store: &Store,
    checked: &Generation,
    and_activate: bool,
    grants: &Grants<'_>,
    output: Output,
) -> Result<(), Failure> {
    // Before it is active, so that its first call finds its grants.
    let (note, lacking) = grants.settle(&checked.manifest)?;
    let (kind, name) = (checked.manifest.world.noun(), &checked.manifest.name);
    let (state, said) = if and_activate {
        store.activate(&checked.id(), checked.number).map_err(|error| error.to_string())?;
        ("active", "is active".to_owned())
    } else {
        let next = format!("`wharf {kind} activate {name}` makes it active");
        ("checked", format!("is installed and checked; {next}"))
    };
    let mut value = report(checked, state);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("lacking".to_owned(), json!(lacking));
    }
    print(output, &value, &format!("{checked} {said}{note}"))
}

fn list(store: &Store, world: World, output: Output) -> Result<(), Failure> {
    let Listing { summaries, damaged } = store.list(world).map_err(|error| error.to_string())?;
    let mut text = format!("{:<16} {:>10} {:<14} {}", "NAME", "GENERATION", "VERSION", "DIGEST");
    for summary in &summaries {
        let active = active_of(summary);
        let (version, digest) = active
            .map_or(("-", "-"), |generation| (&*generation.manifest.version, short(generation)));
        let number = summary.active.map_or_else(|| "-".to_owned(), |number| number.to_string());
        text.push_str(&format!("\n{:<16} {number:>10} {version:<14} {digest}", summary.name));
    }
    if summaries.is_empty() && damaged.is_empty() {
        text = format!(
            "no {0} is installed in {1}; `wharf {0} install FILE --activate` puts one there",
            world.noun(),
            store.root().display()
        );
    }
    print(output, &json!(summaries), &text)?;
    if damaged.is_empty() {
        Ok(())
    } else {
        let damaged: Vec<_> = damaged.iter().map(ToString::to_string).collect();
        Err(Failure::Message(damaged.join("\n       ")))
    }
}

fn show(store: &Store, config: &Config, id: &ComponentId, output: Output) -> Result<(), Failure> {
    let summary = store.show(id).map_err(|error| error.to_string())?;
    let mut lines = vec![format!("{} {}", id.world.noun(), id.name)];
    for generation in &summary.generations {
        let mark = if summary.active == Some(generation.number) { "active" } else { "      " };
        lines.push(format!("  {mark} {generation} ({}): {}", short(generation), generation.state));
    }
    if let Some(active) = active_of(&summary) {
        // What it will get is read from its own bytes, not from what was noted about them.
        let bytes = store.read_component(active).map_err(|error| error.to_string())?;
        asked(&read_manifest(&bytes).map_err(|error| error.to_string())?, &mut lines);
    }
    match id.world {
        World::Backend => granted(config, id, &mut lines),
        World::CloudAuth => lines.extend(
            config
                .account
                .iter()
                .filter(|(_, account)| *account.component == *id.name)
                .map(|(name, account)| signs_for(name, account)),
        ),
    }
    print(output, &json!(summary), &lines.join("\n"))
}

/// What a component asks for.
fn asked(manifest: &Manifest, lines: &mut Vec<String>) {
    lines.push("asks for".to_owned());
    for request in &manifest.request {
        let how = if request.signed { "signed" } else { "unsigned" };
        let what = request.actions.iter().chain(&request.paths);
        lines.push(format!("  endpoint {} ({how}): {}", request.endpoint, listed(what)));
    }
    if manifest.world == World::Backend {
        lines.push(format!("  node steps: {}", listed(&manifest.node.steps)));
    }
}

/// What a backend gets, in each section that names it.
fn granted(config: &Config, id: &ComponentId, lines: &mut Vec<String>) {
    for (section, backend) in grants::sections(config, &id.name) {
        lines.push(format!("is granted by [backend.{section}]"));
        for grant in &backend.grant {
            let account = grant
                .account
                .as_ref()
                .map_or_else(|| "unsigned".to_owned(), |account| format!("account {account}"));
            let what = grant.actions.iter().chain(&grant.paths);
            lines.push(format!("  endpoint {} ({account}): {}", grant.endpoint, listed(what)));
        }
        lines.push(format!("  node steps: {}", backend.node.steps.join(", ")));
    }
}

fn signs_for(name: &str, account: &Account) -> String {
    let kinds: Vec<_> = account.source.iter().map(|source| source.kind.as_str()).collect();
    let endpoints = account.endpoints.join(", ");
    format!(
        "signs for [account.{name}]: sources {}; endpoints that it may ask: {}",
        kinds.join(", "),
        if endpoints.is_empty() { "none" } else { &endpoints }
    )
}

fn listed(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    words.into_iter().map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}

fn active_of(summary: &Summary) -> Option<&Generation> {
    summary.generations.iter().find(|generation| summary.active == Some(generation.number))
}

/// Enough of a digest to distinguish two builds.
fn short(generation: &Generation) -> &str {
    generation.digest.as_str().get(..12).unwrap_or_default()
}

pub(crate) fn report(generation: &Generation, state: &str) -> Value {
    json!({ "name": generation.manifest.name, "generation": generation.number, "version": generation.manifest.version, "digest": generation.digest, "state": state })
}

pub(crate) fn print(output: Output, value: &Value, text: &str) -> Result<(), Failure> {
    match output {
        Output::Text => output::print(text),
        Output::Json => output::print(&format!("{value:#}")),
    }
}
