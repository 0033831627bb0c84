//! `cargo xtask bench`: what Wharf costs, as ratios to a floor or a peer measured in the same run.
//! Prints a table, and JSON on request.
//!
//! Nothing here passes or fails on a time: machines differ. The targets are printed beside the
//! figures for a person to judge.

mod attaches;
mod buckets;
mod calls;
mod heard;
mod memory;
mod processes;
mod report;
mod server;
mod shares;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use wharf_testing::bed::Parts;
use wharf_testing::nfs_machine;

use crate::build_backends;
use crate::command::{self, announce};
use crate::dist;
use crate::packages;
use crate::workspace::Workspace;

use self::report::Report;

/// Measures the release build: whole FlexVolume processes, the CSI server and its memory, single
/// calls, swaps
/// under load, three hundred attaches at a cloud's real rates, mounts of buckets, mounts and
/// removals of shares.
#[derive(Args)]
pub struct Options {
    /// A table, or JSON for scripts; progress is then told on standard error.
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
    /// What to measure; everything where nothing is named.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Measure the binary and the components that WHARF_BIN and WHARF_COMPONENTS name, else the
    /// debug build, as they are. Fit for what waits for a cloud, and not for what computes.
    #[arg(long)]
    as_built: bool,
    /// The socket of another CSI driver's node service, such as one in Go, that runs already: the
    /// CSI server is held against it too, in the same run.
    #[arg(long, value_name = "SOCKET")]
    peer: Option<PathBuf>,
    /// Pairs of processes to time.
    #[arg(long, default_value_t = 300)]
    runs: u32,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Whole FlexVolume processes.
    Processes,
    /// The CSI server beside minimal ones, and beside the one that --peer names.
    Server,
    /// What a server with every driver holds, and its start.
    Memory,
    /// Single calls, and swaps under load.
    Calls,
    /// Attaches at a cloud's real rates.
    Attaches,
    /// Mounts of buckets, and what keeps them.
    Buckets,
    /// Mounts and removals of shares, in a machine with NFS.
    Shares,
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
    let is_for_shares_alone = options.as_built && options.only == [Part::Shares];
    if is_for_shares_alone && !nfs_machine::is_here() {
        packages::ensure(packages::NFS)?;
        return shares::elsewhere();
    }
    // Cargo's words, ours and those of what is measured go elsewhere.
    let for_scripts =
        (options.output == Output::Json).then(command::keep_standard_output).transpose()?;
    if is_for_shares_alone {
        let mut report = Report::default();
        shares::measure(&Parts::find()?, &mut report)?;
        return print(&report, for_scripts);
    }
    let workspace = Workspace::load()?;
    let parts = if options.as_built {
        Parts::find()?
    } else {
        let components = build_backends::all(&workspace, None)?;
        Parts { wharf: dist::build(&workspace)?, components }
    };
    let is_wanted = |part| options.only.is_empty() || options.only.contains(&part);
    let mut report = Report::default();
    if is_wanted(Part::Processes) {
        announce(&format!("timing {} pairs of processes", options.runs));
        processes::measure(&workspace, &parts, options.runs, &mut report)?;
    }
    if is_wanted(Part::Server) {
        announce("calling the CSI server, and minimal ones in Rust and Go, in turn");
        server::measure(&workspace, &parts, options.peer.as_deref(), &mut report)?;
    }
    if is_wanted(Part::Memory) {
        announce("starting a server with every driver, and calling it a hundred times at once");
        memory::measure(&parts, &mut report)?;
    }
    if is_wanted(Part::Calls) {
        announce("timing single calls, and swaps under load (compiles the benchmark first)");
        calls::measure(&workspace, &parts, &mut report)?;
    }
    if is_wanted(Part::Attaches) {
        announce("attaching 300 disks to 10 nodes at the cloud's real rates");
        attaches::measure(&parts, &mut report)?;
    }
    if is_wanted(Part::Buckets) {
        announce("mounting buckets, by Wharf and by hand");
        packages::ensure(&[packages::S3FS])?;
        buckets::measure(&parts, &mut report)?;
    }
    if is_wanted(Part::Shares) {
        announce("mounting shares, removing trees of files, and two hundred shares on a node");
        packages::ensure(packages::NFS)?;
        shares::have_measured(&parts, &mut report)?;
    }
    print(&report, for_scripts)
}

fn print(report: &Report, for_scripts: Option<File>) -> Result<ExitCode> {
    match for_scripts {
        None => print!("{}", report.table()),
        Some(mut stdout) => writeln!(stdout, "{}", report.json()?)?,
    }
    Ok(ExitCode::SUCCESS)
}

const KIB_IN_MIB: f64 = 1024.0;

/// A line of proc_pid_status(5) about a process's memory, in KiB.
fn memory_kib(pid: i32, name: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next());
    let number = number.with_context(|| format!("the kernel does not say {name}"))?;
    Ok(number.parse()?)
}

/// The same in MiB.
fn memory_mib(pid: i32, name: &str) -> Result<f64> {
    Ok(memory_kib(pid, name)? / KIB_IN_MIB)
}

/// Does the same with many things, each on a thread of its own.
fn together<T: Send, A: Send>(
    things: impl Iterator<Item = T>,
    work: impl Fn(T) -> Result<A> + Sync,
) -> Result<Vec<A>> {
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = things.map(|thing| scope.spawn(move || work(thing))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
            .collect()
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
