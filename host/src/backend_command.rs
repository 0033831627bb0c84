//! `wharf backend` and `wharf authenticator`: what an administrator does with components.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wharf_core::manifest::{ComponentName, Manifest, World};
use wharf_core::ports::Clock;
use wharf_node::SystemClock;
use wharf_runtime::{Checked, Engine, EngineMode, check_component};
use wharf_store::{
    ComponentId, Generation, Listing, MAX_COMPONENT_BYTES, Reason, State, Store, Summary,
    read_manifest,
};

use crate::cli::{Component, Output};
use crate::compile;
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
    let id = |name: ComponentName| ComponentId { world, name };
    match command {
        Component::Install { name, file, activate, grant, account, output } => {
            let grants = Grants { path, config: &config, write: grant, account };
            let checked = install(&store, world, name.as_ref(), &file)?;
            settle(&store, &checked, activate, &grants, output)
        }
        Component::List { output } => list(&store, world, output),
        Component::Show { name, output } => show(&store, &config, &id(name), output),
        Component::Activate { name, generation, output } => {
            activate(&store, &id(name), generation, output)
        }
        Component::Rollback { name, output } => rollback(&store, &id(name), output),
    }
}

fn install(
    store: &Store,
    world: World,
    name: Option<&ComponentName>,
    file: &Path,
) -> Result<Generation, Failure> {
    put(store, world, name, file, &read(file)?)
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

/// Puts a component into the store and checks it. `file`: where it comes from, for messages.
pub(crate) fn put(
    store: &Store,
    world: World,
    name: Option<&ComponentName>,
    file: &Path,
    bytes: &[u8],
) -> Result<Generation, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let staged = store
        .install(world, name, bytes, now)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let mark =
        |state| store.mark(&staged.id(), staged.number, state).map_err(|error| error.to_string());
    match check(store, &staged) {
        Ok(()) => Ok(mark(State::Checked)?),
        Err(why) => {
            let reason = Reason::from(why);
            mark(State::Rejected { reason: reason.clone() })?;
            Err(Failure::Message(format!(
                "{} is rejected: {reason}\n       {}",
                file.display(),
                what_stays(store, &staged)
            )))
        }
    }
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
    let (told, lacking) = grants.settle(&checked.manifest)?;
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
    print(output, &value, &format!("{checked} {said}{told}"))
}

/// Compiles in a process with limits, then really instantiates and describes: some differences show
/// only then.
fn check(store: &Store, generation: &Generation) -> Result<(), String> {
    let engine = Engine::new(EngineMode::OnDemand).map_err(|error| error.to_string())?;
    let compiled = compile::compiled(store, &engine, generation, &|| true)
        .map_err(|error| error.to_string())?;
    // SAFETY: the cache compared this open file with the digest that was written when it was
    // compiled, in a directory closed to everybody but this user.
    let component = unsafe { engine.load(&compiled.code) }.map_err(|error| error.to_string())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match check_component(&engine, &component, &compiled.manifest, &clock)
        .map_err(|error| error.to_string())?
    {
        Checked::Backend(_) | Checked::Auth(_) => Ok(()),
    }
}

/// Which generation goes on serving when this one does not.
fn what_stays(store: &Store, generation: &Generation) -> String {
    let id = generation.id();
    match store.active(&id) {
        Ok(active) => format!("{} stays active", active.generation),
        Err(_) => format!("no generation of {id} is active"),
    }
}

fn activate(
    store: &Store,
    id: &ComponentId,
    number: Option<u64>,
    output: Output,
) -> Result<(), Failure> {
    let number = match number {
        Some(number) => number,
        None => newest_checked(store, id)?,
    };
    let generation = check_again(store, id, number)?;
    point(store, &generation, output)
}

fn point(store: &Store, generation: &Generation, output: Output) -> Result<(), Failure> {
    let generation =
        store.activate(&generation.id(), generation.number).map_err(|error| error.to_string())?;
    print(output, &report(&generation, "active"), &format!("{generation} is active"))
}

fn rollback(store: &Store, id: &ComponentId, output: Output) -> Result<(), Failure> {
    if let Some(&number) = store.show(id).map_err(|error| error.to_string())?.previous.first() {
        check_again(store, id, number)?;
    }
    let generation = store.rollback(id).map_err(|error| error.to_string())?;
    print(output, &report(&generation, "active"), &format!("{generation} is active again"))
}

/// `checked` is what another build of Wharf, or another machine, may have found; calls will run on
/// this one. Whether it may become active at all is the store's to say.
fn check_again(store: &Store, id: &ComponentId, number: u64) -> Result<Generation, String> {
    let generation = store.generation(id, number).map_err(|error| error.to_string())?;
    if !matches!(generation.state, State::Checked) {
        return Ok(generation);
    }
    match check(store, &generation) {
        Ok(()) => Ok(generation),
        Err(why) => Err(format!(
            "{generation} does not become active, because this build of Wharf cannot run it: {}\n       \
             {}",
            Reason::from(why),
            what_stays(store, &generation)
        )),
    }
}

fn newest_checked(store: &Store, id: &ComponentId) -> Result<u64, String> {
    let summary = store.show(id).map_err(|error| error.to_string())?;
    let newest = summary
        .generations
        .iter()
        .rev()
        .find(|generation| matches!(generation.state, State::Checked));
    newest.map(|generation| generation.number).ok_or_else(|| {
        let (kind, name) = (id.world.noun(), &id.name);
        format!("{id} has no checked generation; `wharf {kind} show {name}` says why")
    })
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

/// Enough of a digest to tell two builds apart.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::tests::{Bed, disk};

    #[test]
    fn what_this_build_cannot_run_does_not_become_active() {
        let bed = Bed::new("unfit");
        let (first, second) = (bed.checked("1.0.0"), bed.checked("2.0.0"));
        bed.store.activate(&disk(), first).unwrap();
        let said = |failed: Result<(), Failure>| match failed {
            Err(Failure::Message(message)) => message,
            other => panic!("{other:?}"),
        };
        let refused = said(activate(&bed.store, &disk(), Some(second), Output::Text));
        assert!(
            refused.contains("does not become active")
                && refused.contains("(generation 1) stays active"),
            "{refused}"
        );
        assert_eq!(bed.active(), first);
        bed.store.activate(&disk(), second).unwrap();
        let refused = said(rollback(&bed.store, &disk(), Output::Text));
        assert!(refused.contains("(generation 2) stays active"), "{refused}");
        assert_eq!(bed.active(), second);
    }
}
