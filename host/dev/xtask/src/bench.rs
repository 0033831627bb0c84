//! `cargo xtask bench`: what Wharf costs, as ratios to a floor or a peer measured in the same run.
//! Prints a table, and JSON on request.
//!
//! Nothing here passes or fails on a time: machines differ. The targets are printed beside the
//! figures for a person to judge.

mod attaches;
mod calls;
mod processes;
mod report;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use wharf_testing::bed::Parts;

use crate::build_backends;
use crate::command::{self, announce};
use crate::dist;
use crate::workspace::Workspace;

use self::report::Report;

/// Measures the release build: whole FlexVolume processes, single calls, swaps under load, a
/// hundred attaches at a cloud's real rates.
#[derive(Args)]
pub struct Options {
    /// A table, or JSON for scripts; progress is then told on standard error.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// Pairs of processes to time.
    #[arg(long, default_value_t = 300)]
    runs: u32,
}

/// How figures are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For scripts.
    Json,
}

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    // Cargo's words, ours and those of what is measured go elsewhere.
    let for_scripts =
        (options.output == Output::Json).then(command::keep_standard_output).transpose()?;
    let workspace = Workspace::load()?;
    let components = build_backends::all(&workspace, None)?;
    let parts = Parts { wharf: dist::build(&workspace)?, components };
    let mut report = Report::default();
    announce(&format!("timing {} pairs of processes", options.runs));
    processes::measure(&workspace, &parts, options.runs, &mut report)?;
    announce("timing single calls, and swaps under load (compiles the benchmark first)");
    calls::measure(&workspace, &parts, &mut report)?;
    announce("attaching 100 disks to 10 nodes at the cloud's real rates");
    attaches::measure(&parts, &mut report)?;
    match for_scripts {
        None => print!("{}", report.table()),
        Some(mut stdout) => writeln!(stdout, "{}", report.json()?)?,
    }
    Ok(ExitCode::SUCCESS)
}
