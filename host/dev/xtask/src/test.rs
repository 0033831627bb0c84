//! `cargo xtask test` and `cargo xtask ci`: the parts of the table in [`crate::parts`], to the
//! last, with one summary at the end.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::parts::{self, Belongs, PARTS, Part};
use crate::workspace::Workspace;

/// Which parts.
#[derive(Args)]
pub struct Options {
    /// Only these parts (may be repeated).
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

/// Everything about what the product does.
pub fn run(options: &Options) -> Result<ExitCode> {
    run_selected(options, |part| part.belongs == Belongs::ToTest)
}

/// The same and everything about the source.
pub fn run_ci(options: &Options) -> Result<ExitCode> {
    run_selected(options, |_| true)
}

fn run_selected(options: &Options, belongs: impl Fn(&Part) -> bool) -> Result<ExitCode> {
    let all: Vec<&Part> = PARTS.iter().filter(|part| belongs(part)).collect();
    for name in &options.only {
        ensure!(
            all.iter().any(|part| part.name == name),
            "there is no part {name:?}; there are {}",
            names(&all)
        );
    }
    let selected: Vec<&Part> = all
        .into_iter()
        .filter(|part| options.only.is_empty() || options.only.iter().any(|name| name == part.name))
        .collect();
    println!("running: {}", names(&selected));
    let passed = parts::run(&Workspace::load()?, &selected);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn names(parts: &[&Part]) -> String {
    parts.iter().map(|part| part.name).collect::<Vec<_>>().join(", ")
}

/// The table, for `--help`.
pub fn parts_help() -> String {
    let line = |part: &Part| {
        let note = if part.belongs == Belongs::ToCi { " (ci only)" } else { "" };
        format!("\n  {:<16} {}{note}", part.name, part.what)
    };
    let parts: String = PARTS.iter().map(line).collect();
    format!(
        "Parts:{parts}\n\nMissing system packages are installed when run as root. With CI=true in \
         the environment a skip of a required part fails."
    )
}
