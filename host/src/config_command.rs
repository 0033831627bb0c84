//! `wharf config`: what an administrator asks about the configuration.

use std::path::Path;

use serde_json::json;

use crate::cli::{self, Output};
use crate::config::in_force::InForce;
use crate::config::mistake::Mistake;
use crate::config::tree::Origin;
use crate::config::{ConfigError, Loaded, check, tree};
use crate::output::{self, Failure};

mod init;

/// Runs one command.
///
/// # Errors
/// What is wrong with the configuration.
pub fn run(config: &Path, command: &cli::Config) -> Result<(), Failure> {
    match command {
        cli::Config::Check { output } => check(config, *output),
        cli::Config::Show { output } => show(config, *output),
        cli::Config::Init { cloud, set, driver, print } => {
            let text = init::text(cloud, set, driver, &|name| std::env::var(name).ok())?;
            match print {
                true => output::write(text.as_bytes()),
                false => init::write(config, &text),
            }
        }
    }
}

fn check(config: &Path, output: Output) -> Result<(), Failure> {
    let (mistakes, doubts, drivers) = match Loaded::load(config) {
        Ok(loaded) => {
            let drivers: Vec<String> = loaded.config.driver.keys().cloned().collect();
            (Vec::new(), check::doubts(&loaded.config, &loaded.tree), drivers)
        }
        Err(ConfigError::Wrong { mistakes, .. }) => (mistakes, Vec::new(), Vec::new()),
        Err(error @ ConfigError::Unreadable { .. }) => {
            let at = Origin::whole(tree::file(config));
            (vec![Mistake::new(error.for_a_command()).at(&at)], Vec::new(), Vec::new())
        }
    };
    let is_usable = mistakes.is_empty();
    let printed = match output {
        Output::Json => output::print(&format!(
            "{:#}",
            json!({
                "file": config.display().to_string(),
                "usable": is_usable,
                "mistakes": mistakes.iter().map(Mistake::report).collect::<Vec<_>>(),
                "doubts": doubts.iter().map(Mistake::report).collect::<Vec<_>>(),
                "drivers": drivers,
            })
        )),
        Output::Text => output::print(&text(config, &mistakes, &doubts, &drivers)),
    };
    printed.and(if is_usable { Ok(()) } else { Err(Failure::Printed) })
}

fn text(config: &Path, mistakes: &[Mistake], doubts: &[Mistake], drivers: &[String]) -> String {
    let line = |kind: &str, mistake: &Mistake| {
        let place = mistake.at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default();
        format!("{place}{kind}{}\n", mistake.text())
    };
    let mut text: String = mistakes.iter().map(|mistake| line("", mistake)).collect();
    text.extend(doubts.iter().map(|doubt| line("note: ", doubt)));
    let sum = match (mistakes.len(), drivers) {
        (0, []) => "no mistakes".to_owned(),
        (0, drivers) => format!("no mistakes; it serves {}", drivers.join(", ")),
        (1, _) => "one mistake; nothing is served until it is mended".to_owned(),
        (many, _) => format!("{many} mistakes; nothing is served until they are mended"),
    };
    text.push_str(&format!("{}: {sum}", config.display()));
    text
}

fn show(config: &Path, output: Output) -> Result<(), Failure> {
    let loaded = Loaded::load(config).map_err(|error| error.for_a_command())?;
    let in_force = InForce::of(loaded);
    match output {
        Output::Json => output::print(&format!("{:#}", in_force.json())),
        Output::Text => {
            let head = format!(
                "# In force with {}. Behind each value: where it comes from.\n\n",
                config.display()
            );
            let text = in_force.text(&tree::file(config));
            output::write(format!("{head}{text}").as_bytes())
        }
    }
}
