//! `wharf backend`: what an administrator does with components.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wharf_core::manifest::World;
use wharf_core::ports::Clock;
use wharf_node::SystemClock;
use wharf_runtime::{Checked, Engine, EngineMode, check_component};
use wharf_store::{Generation, Listing, MAX_COMPONENT_BYTES, State, Store, Summary};

use crate::cli::{Backend, Output};
use crate::compile;
use crate::config::Config;
use crate::output::{self, Failure};

mod grants;

use grants::Grants;

/// Runs one command and prints its result.
///
/// # Errors
/// What could not be done, and what to do about it.
pub fn run(config: &Path, command: Backend) -> Result<(), Failure> {
    let path = config;
    let config = Config::load(path).map_err(|error| error.for_a_command())?;
    let store = Store::open(&config.store);
    match command {
        Backend::Install { file, activate, grant, account, output } => {
            let grants = Grants { path, config: &config, write: grant, account };
            install(&store, &file, activate, &grants, output)
        }
        Backend::List { output } => list(&store, output),
        Backend::Show { name, output } => show(&store, &config, &name, output),
        Backend::Activate { name, generation, output } => {
            activate(&store, &name, generation, output)
        }
        Backend::Rollback { name, output } => rollback(&store, &name, output),
    }
}

fn install(
    store: &Store,
    file: &Path,
    and_activate: bool,
    grants: &Grants<'_>,
    output: Output,
) -> Result<(), Failure> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > MAX_COMPONENT_BYTES {
        return Err(Failure::Message(format!(
            "{} has {size} bytes, at most {MAX_COMPONENT_BYTES} are taken",
            file.display()
        )));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let staged =
        store.install(&bytes, now).map_err(|error| format!("{}: {error}", file.display()))?;
    let checked = match check(store, &staged) {
        Ok(()) => store
            .mark(&staged.manifest.name, staged.number, State::Checked)
            .map_err(|error| error.to_string())?,
        Err(reason) => {
            store
                .mark(
                    &staged.manifest.name,
                    staged.number,
                    State::Rejected { reason: reason.clone() },
                )
                .map_err(|error| error.to_string())?;
            return Err(Failure::Message(format!(
                "{} is rejected: {reason}\n       {}",
                file.display(),
                kept(store, &staged)
            )));
        }
    };
    // Before it is active, so that its first call finds its grants.
    let (told, lacking) = grants.settle(&checked.manifest)?;
    let name = &checked.manifest.name;
    let (state, said) = if and_activate {
        store.activate(name, checked.number).map_err(|error| error.to_string())?;
        ("active", "is active".to_owned())
    } else {
        let next = format!("`wharf backend activate {name}` makes it active");
        ("checked", format!("is installed and checked; {next}"))
    };
    let mut value = report(&checked, state);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("lacking".to_owned(), json!(lacking));
    }
    print(output, &value, &format!("{} {said}{told}", title(&checked)))
}

/// Compiles in a process with limits, then really instantiates and describes: some differences show
/// only then.
fn check(store: &Store, generation: &Generation) -> Result<(), String> {
    let engine = Engine::new(EngineMode::OnDemand).map_err(|error| error.to_string())?;
    let code = compile::compiled(store, &engine, generation)?;
    // SAFETY: the cache compared this open file with the digest that was written when it was
    // compiled, in a folder closed to everybody but this user.
    let component = unsafe { engine.load(&code) }.map_err(|error| error.to_string())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    match check_component(&engine, &component, &generation.manifest, &clock)
        .map_err(|error| error.to_string())?
    {
        Checked::Backend(_) | Checked::Auth(_) => Ok(()),
    }
}

fn kept(store: &Store, generation: &Generation) -> String {
    match store.active(&generation.manifest.name) {
        Ok(active) => format!("{} stays active", title(&active.generation)),
        Err(_) => format!("no generation of \"{}\" is active", generation.manifest.name),
    }
}

fn activate(store: &Store, name: &str, number: Option<u64>, output: Output) -> Result<(), Failure> {
    let number = match number {
        Some(number) => number,
        None => newest_checked(store, name)?,
    };
    check_again(store, name, number)?;
    point(store, name, number, output)
}

fn point(store: &Store, name: &str, number: u64, output: Output) -> Result<(), Failure> {
    let generation = store.activate(name, number).map_err(|error| error.to_string())?;
    print(output, &report(&generation, "active"), &format!("{} is active", title(&generation)))
}

fn rollback(store: &Store, name: &str, output: Output) -> Result<(), Failure> {
    if let Some(&number) = store.show(name).map_err(|error| error.to_string())?.previous.first() {
        check_again(store, name, number)?;
    }
    let generation = store.rollback(name).map_err(|error| error.to_string())?;
    print(
        output,
        &report(&generation, "active"),
        &format!("{} is active again", title(&generation)),
    )
}

/// `checked` is what another build of Wharf, or another machine, may have found; calls will run on
/// this one. Whether it may become active at all is the store's to say.
fn check_again(store: &Store, name: &str, number: u64) -> Result<(), String> {
    let generation = store.generation(name, number).map_err(|error| error.to_string())?;
    if !matches!(generation.state, State::Checked) {
        return Ok(());
    }
    check(store, &generation).map_err(|reason| {
        format!(
            "{} does not become active, because this build of Wharf cannot run it: {reason}\n       {}",
            title(&generation),
            kept(store, &generation)
        )
    })
}

fn newest_checked(store: &Store, name: &str) -> Result<u64, String> {
    let summary = store.show(name).map_err(|error| error.to_string())?;
    let newest = summary
        .generations
        .iter()
        .rev()
        .find(|generation| matches!(generation.state, State::Checked));
    newest.map(|generation| generation.number).ok_or_else(|| {
        format!(
            "backend \"{name}\" has no checked generation; `wharf backend show {name}` says why"
        )
    })
}

fn list(store: &Store, output: Output) -> Result<(), Failure> {
    let Listing { summaries, damaged } = store.list().map_err(|error| error.to_string())?;
    let mut text = format!("{:<16} {:>10} {:<14} {}", "NAME", "GENERATION", "VERSION", "DIGEST");
    for summary in &summaries {
        let active = active_of(summary);
        let (version, digest) = active.map_or(("-", "-"), |generation| {
            (generation.manifest.version.as_str(), short(generation))
        });
        let number = summary.active.map_or_else(|| "-".to_owned(), |number| number.to_string());
        text.push_str(&format!("\n{:<16} {number:>10} {version:<14} {digest}", summary.name));
    }
    if summaries.is_empty() && damaged.is_empty() {
        text = format!(
            "no backend is installed in {}; `wharf backend install FILE --activate` puts one there",
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

fn show(store: &Store, config: &Config, name: &str, output: Output) -> Result<(), Failure> {
    let summary = store.show(name).map_err(|error| error.to_string())?;
    let mut lines = vec![format!("backend {name}")];
    for generation in &summary.generations {
        let mark = if summary.active == Some(generation.number) { "active" } else { "      " };
        lines.push(format!(
            "  {mark} {} ({}): {}",
            title(generation),
            short(generation),
            generation.state
        ));
    }
    if let Some(active) = active_of(&summary) {
        lines.push("asks for".to_owned());
        for request in &active.manifest.request {
            let how = if request.signed { "signed" } else { "unsigned" };
            lines.push(format!(
                "  endpoint {} ({how}): {}",
                request.endpoint,
                request.actions.join(", ")
            ));
        }
        if active.manifest.world == World::Backend {
            lines.push(format!("  node steps: {}", active.manifest.node.steps.join(", ")));
        }
    }
    for (section, backend) in config
        .backend
        .iter()
        .filter(|(section, backend)| backend.component.as_ref().unwrap_or(section) == name)
    {
        lines.push(format!("is granted by [backend.{section}]"));
        for grant in &backend.grant {
            let account = grant
                .account
                .as_ref()
                .map_or_else(|| "unsigned".to_owned(), |account| format!("account {account}"));
            lines.push(format!(
                "  endpoint {} ({account}): {}",
                grant.endpoint,
                grant.actions.join(", ")
            ));
        }
        lines.push(format!("  node steps: {}", backend.node.steps.join(", ")));
    }
    print(output, &json!(summary), &lines.join("\n"))
}

fn active_of(summary: &Summary) -> Option<&Generation> {
    summary.generations.iter().find(|generation| summary.active == Some(generation.number))
}

fn title(generation: &Generation) -> String {
    format!(
        "{} {} (generation {})",
        generation.manifest.name, generation.manifest.version, generation.number
    )
}

/// Enough of a digest to tell two builds apart.
fn short(generation: &Generation) -> &str {
    generation.digest.as_str().get(..12).unwrap_or_default()
}

fn report(generation: &Generation, state: &str) -> Value {
    json!({ "name": generation.manifest.name, "generation": generation.number, "version": generation.manifest.version, "digest": generation.digest, "state": state })
}

fn print(output: Output, value: &Value, text: &str) -> Result<(), Failure> {
    match output {
        Output::Text => output::print(text),
        Output::Json => output::print(&format!("{value:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generations::tests::Bed;

    #[test]
    fn what_this_build_cannot_run_does_not_become_active() {
        let bed = Bed::new("unfit");
        let (first, second) = (bed.checked("1.0.0"), bed.checked("2.0.0"));
        bed.store.activate("disk", first).unwrap();
        let said = |failed: Result<(), Failure>| match failed {
            Err(Failure::Message(message)) => message,
            other => panic!("{other:?}"),
        };
        let refused = said(activate(&bed.store, "disk", Some(second), Output::Text));
        assert!(
            refused.contains("does not become active")
                && refused.contains("(generation 1) stays active"),
            "{refused}"
        );
        assert_eq!(bed.active(), first);
        bed.store.activate("disk", second).unwrap();
        let refused = said(rollback(&bed.store, "disk", Output::Text));
        assert!(refused.contains("(generation 2) stays active"), "{refused}");
        assert_eq!(bed.active(), second);
    }
}
