//! Whole FlexVolume processes against a static C program that does nothing, in turn, so that the
//! machine's mood hits both alike.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use wharf_testing::bed::{Bed, BedOptions, FLEX_DRIVER, Parts};
use wharf_testing::player::{FlexVolume, VolumeClass};

use super::median;
use super::report::{Figure, Report};
use crate::command;
use crate::workspace::Workspace;

/// Round trips of the server.
const ROUND_TRIPS: usize = 500;

/// One pair of processes.
struct Pair {
    floor_ns: f64,
    subject_ns: f64,
    subject_kib: f64,
}

/// Times `init` and a `mountdevice` whose work is done, and the server's round trip as kubelet
/// makes it.
pub fn measure(workspace: &Workspace, parts: &Parts, runs: u32, report: &mut Report) -> Result<()> {
    let spawn = compile(workspace)?;
    let bed = Bed::make_with(&BedOptions::default(), parts.clone())?;
    bed.serve()?;
    bed.install_flexvolume()?;
    let (csi, flex) = (bed.csi(), bed.flex());
    let (manager, node) = (bed.manager().flex_node(), bed.node(0).flex_node());
    let executable = flex.executable(&node);

    let init = time(&spawn, runs, &[executable.as_os_str().to_owned(), "init".into()])?;
    add(report, &init, "FlexVolume init, p50", "≤ 2 ×");

    let disk = csi.provision(
        "pvc-bench",
        20 << 30,
        &VolumeClass::file_system("ext4", &[("type", "cloud_essd")]),
    )?;
    let volume = FlexVolume::new(&disk.handle, "ext4", &[("volumeId", &disk.handle)]);
    let (device, _) = flex.start_pod(&volume, &manager, &node, "pod-bench")?;
    let options = format!(
        r#"{{"kubernetes.io/fsType":"ext4","kubernetes.io/pvOrVolumeName":"{0}","kubernetes.io/readwrite":"rw","volumeId":"{0}"}}"#,
        disk.handle
    );
    let global = volume.global_mount(&node, FLEX_DRIVER);
    let mounted = time(
        &spawn,
        runs,
        &[executable.into(), "mountdevice".into(), global.into(), device.into(), options.into()],
    )?;
    add(report, &mounted, "FlexVolume mountdevice, mounted already, p50", "≤ 5 ×");
    flex.end_pod(&volume, &manager, &node, "pod-bench")?;
    csi.delete(&disk)?;

    let csi_node =
        csi.register(bed.node(0).name(), &bed.node(0).socket(), &bed.node(0).kubelet())?;
    let round_trips: Vec<f64> = csi
        .time_node_capabilities(&csi_node, ROUND_TRIPS)?
        .iter()
        .map(|took| took.as_secs_f64() * 1e6)
        .collect();
    ensure!(
        round_trips.len() == ROUND_TRIPS,
        "only {} of {ROUND_TRIPS} round trips were answered",
        round_trips.len()
    );
    let connect: Vec<f64> =
        (0..ROUND_TRIPS).map(|_| connect(&csi_node.socket)).collect::<Result<_>>()?;
    report.add(Figure {
        what: "CSI NodeGetCapabilities, new connection, p50",
        value: median(round_trips),
        unit: "µs",
        against: Some(("connect and close", median(connect))),
        target: "-",
    });
    Ok(())
}

fn connect(socket: &Path) -> Result<f64> {
    let start = std::time::Instant::now();
    drop(std::os::unix::net::UnixStream::connect(socket)?);
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// The program that starts others is compiled from `spawn.c`; without arguments it is the one that
/// does nothing.
fn compile(workspace: &Workspace) -> Result<PathBuf> {
    let (source, program) = (
        workspace.root.join("host/dev/xtask/src/bench/spawn.c"),
        workspace.target.join("wharf/bench-spawn"),
    );
    command::run(Command::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(source))?;
    Ok(program)
}

fn time(spawn: &Path, runs: u32, subject: &[std::ffi::OsString]) -> Result<Vec<Pair>> {
    let answers = spawn.with_extension("answers");
    let mut timing = Command::new(spawn);
    timing.arg(runs.to_string()).arg(&answers).arg(spawn).arg("--").args(subject);
    let printed = command::output(&mut timing)?;
    let said = std::fs::read_to_string(&answers)
        .with_context(|| format!("cannot read {}", answers.display()))?;
    let failures = said.lines().filter(|line| !line.contains(r#""status":"Success""#)).count();
    ensure!(
        failures == 0 && !said.is_empty(),
        "{failures} of the timed calls failed: {}",
        said.lines().next().unwrap_or_default()
    );
    printed.lines().map(pair).collect()
}

fn pair(line: &str) -> Result<Pair> {
    let numbers: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [floor_ns, _, subject_ns, subject_kib] = numbers.as_slice() else {
        anyhow::bail!("`{line}` is not a pair")
    };
    Ok(Pair { floor_ns: *floor_ns, subject_ns: *subject_ns, subject_kib: *subject_kib })
}

fn add(report: &mut Report, pairs: &[Pair], what: &'static str, target: &'static str) {
    let floor = median(pairs.iter().map(|pair| pair.floor_ns / 1e3).collect());
    report.add(Figure {
        what,
        value: median(pairs.iter().map(|pair| pair.subject_ns / 1e3).collect()),
        unit: "µs",
        against: Some(("static no-op", floor)),
        target,
    });
    let peak = pairs.iter().map(|pair| pair.subject_kib / 1024.0).fold(0.0, f64::max);
    report.add(Figure {
        what: "  its peak memory",
        value: peak,
        unit: "MiB",
        against: None,
        target: "≤ 8 MiB",
    });
}
