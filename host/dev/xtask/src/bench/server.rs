//! The CSI server beside the least that a server of the same protocol can be, in Rust and in Go,
//! and beside another driver that runs already where one is named, in turn. What is asked is
//! answered without a backend, so what is measured is the server.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde::Deserialize;
use wharf_testing::bed::{Bed, BedOptions, Machine, Parts};

use super::memory_mib;
use super::report::{Figure, Report};
use crate::command::{self, announce};
use crate::dist;
use crate::workspace::Workspace;

/// Rounds in which each server is measured once; the figures are medians over them.
const ROUNDS: usize = 5;
/// One connection is what kubelet has at a time; 32 is a node at its start.
const CALLERS: [(usize, &str, &str); 2] = [
    (1, "CSI NodeGetCapabilities, one caller, p50", "CSI calls, one caller"),
    (32, "CSI NodeGetCapabilities, 32 callers, p50", "CSI calls, 32 callers"),
];

const WITHOUT_METRICS: &str = "Wharf without --http";
const MINIMAL_GO: &str = "minimal Go server";
const NAMED: &str = "the server of --peer";

/// What `wharf-load call` prints.
#[derive(Deserialize)]
struct Measured {
    calls: f64,
    per_second: f64,
    p50_us: f64,
}

/// A server under measurement.
struct Server {
    socket: PathBuf,
    pid: i32,
    /// Ended with this value; none where somebody else ends it.
    _process: Option<EndedGuard>,
}

struct EndedGuard(Child);

impl Drop for EndedGuard {
    fn drop(&mut self) {
        // It has nothing to clean up.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Median p50 in µs, calls a second, and µs of processor time a call.
#[derive(Clone, Copy)]
struct Figures {
    p50_us: f64,
    per_second: f64,
    processor_us: f64,
}

/// Measures all of them, and Wharf against each. `named` is the socket of another driver.
pub fn measure(
    workspace: &Workspace,
    parts: &Parts,
    named: Option<&Path>,
    report: &mut Report,
) -> Result<()> {
    // Asked first: what is missing shows before a minute of building.
    let named = named.map(running).transpose()?;
    let load = dist::build_package(workspace, "wharf-load", &[])?;
    let bed = Bed::make_with(&BedOptions::default(), parts.clone())?;
    bed.serve()?;
    let directory = bed.node(0).kubelet();
    let wharf =
        Server { socket: bed.node(0).socket(), pid: bed.node(0).server_pid(), _process: None };
    let rust = start(Command::new(&load).arg("serve"), &directory.join("floor-rust.sock"))?;
    let mut peers = vec![
        (WITHOUT_METRICS, without_metrics(bed.node(1), parts)?),
        ("minimal Rust server", rust),
    ];
    match build_go(workspace)? {
        Some(go) => {
            peers.push((
                MINIMAL_GO,
                start(&mut Command::new(go), &directory.join("floor-go.sock"))?,
            ));
        }
        None => announce("there is no Go: Wharf's server is not held against one in Go"),
    }
    peers.extend(named.map(|server| (NAMED, server)));
    for (callers, latency, rate) in CALLERS {
        let mut rounds = vec![Vec::new(); peers.len() + 1];
        for _ in 0..ROUNDS {
            let servers = std::iter::once(&wharf).chain(peers.iter().map(|(_, server)| server));
            for (figures, server) in rounds.iter_mut().zip(servers) {
                figures.push(one_round(&load, server, callers)?);
            }
        }
        let medians: Vec<Figures> = rounds.iter().map(|figures| medians(figures)).collect();
        let Some((ours, theirs)) = medians.split_first() else { continue };
        for ((name, _), peer) in peers.iter().zip(theirs) {
            // The minimal Go server does less than any driver in Go has to, so what is wanted
            // beside a driver is wanted beside it too.
            let has_targets = [MINIMAL_GO, NAMED].contains(name);
            let target = |text| if has_targets { text } else { "-" };
            let is_without = *name == WITHOUT_METRICS;
            add(report, latency, "µs", ours.p50_us, (name, peer.p50_us), target("≤ 0.8 ×"));
            add(
                report,
                rate,
                "calls/s",
                ours.per_second,
                (name, peer.per_second),
                target("≥ 1.5 ×"),
            );
            add(
                report,
                "  processor time of one",
                "µs",
                ours.processor_us,
                (name, peer.processor_us),
                if is_without { "≤ 1.02 ×" } else { target("≤ 1 ×") },
            );
        }
    }
    let ours = memory_mib(wharf.pid, "VmRSS")?;
    for (name, peer) in &peers {
        let theirs = (*name, memory_mib(peer.pid, "VmRSS")?);
        add(report, "memory of the CSI server after these calls", "MiB", ours, theirs, "-");
    }
    Ok(())
}

fn add(
    report: &mut Report,
    what: &'static str,
    unit: &'static str,
    value: f64,
    against: (&'static str, f64),
    target: &'static str,
) {
    report.add(Figure { what, value, unit, against: Some(against), target });
}

/// The same server as it is without `--http`, in the place of a node's own.
fn without_metrics(machine: &Machine, parts: &Parts) -> Result<Server> {
    machine.stop();
    let mut command = machine.command(parts, &["csi", "--role", "node"]);
    wait_for(command.stderr(Stdio::null()), &machine.socket())
}

fn one_round(load: &Path, server: &Server, callers: usize) -> Result<Figures> {
    let before = processor_time(server.pid)?;
    let mut call = Command::new(load);
    call.arg("call").arg(&server.socket).args(["--callers", &callers.to_string()]);
    let measured: Measured = serde_json::from_str(&command::output(&mut call)?)?;
    let used = processor_time(server.pid)? - before;
    Ok(Figures {
        p50_us: measured.p50_us,
        per_second: measured.per_second,
        processor_us: used * 1e6 / measured.calls,
    })
}

fn medians(figures: &[Figures]) -> Figures {
    let median = |of: fn(&Figures) -> f64| super::median(figures.iter().map(of).collect());
    Figures {
        p50_us: median(|figures| figures.p50_us),
        per_second: median(|figures| figures.per_second),
        processor_us: median(|figures| figures.processor_us),
    }
}

/// Seconds that the process has computed, in itself and in the kernel (proc_pid_stat(5), fields 14
/// and 15).
fn processor_time(pid: i32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    let ticks: f64 = ticks.sum::<Result<f64, _>>().with_context(|| format!("in {path}"))?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// A server that somebody else started. Its process is the one that listens (unix(7), SO_PEERCRED).
fn running(socket: &Path) -> Result<Server> {
    let connection = UnixStream::connect(socket);
    let connection = connection.with_context(|| {
        format!("nobody serves {}: start what --peer names first", socket.display())
    })?;
    let pid = rustix::net::sockopt::socket_peercred(&connection)?.pid.as_raw_pid();
    Ok(Server { socket: socket.to_owned(), pid, _process: None })
}

/// Starts a server that takes its socket as its last argument, and waits until it answers there.
fn start(command: &mut Command, socket: &Path) -> Result<Server> {
    wait_for(command.arg(socket), socket)
}

fn wait_for(command: &mut Command, socket: &Path) -> Result<Server> {
    let process = command.stdin(Stdio::null()).spawn();
    let process = process.with_context(|| format!("cannot start {command:?}"))?;
    let pid = i32::try_from(process.id())?;
    let guard = EndedGuard(process);
    for _ in 0..500 {
        if UnixStream::connect(socket).is_ok() {
            return Ok(Server { socket: socket.to_owned(), pid, _process: Some(guard) });
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    anyhow::bail!("{command:?} serves nothing at {}", socket.display())
}

/// `None` where there is no Go.
fn build_go(workspace: &Workspace) -> Result<Option<PathBuf>> {
    let Some(go) = command::find_program("go") else { return Ok(None) };
    let program = workspace.target.join("tools/bench-floor-go");
    announce("building the Go server that Wharf's is held against (a minute the first time)");
    command::run(
        Command::new(go)
            .current_dir(workspace.root.join("host/dev/load/go"))
            .args(["build", "-trimpath", "-o"])
            .arg(&program)
            .arg("."),
    )?;
    Ok(Some(program))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_runs_already_is_found_by_its_socket() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("csi.sock");
        let error = running(&socket).err().unwrap().to_string();
        assert!(error.contains("nobody serves"), "{error}");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(running(&socket).unwrap().pid, std::process::id().cast_signed());
    }
}
