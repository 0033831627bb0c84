//! What a server with every driver holds, idle and with a hundred calls under way, and how long it
//! takes from its start to being ready.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wharf_cloudsim::Delays;
use wharf_testing::bed::{Bed, BedOptions, Machine, Parts};
use wharf_testing::player::{Retry, VolumeClass};

use super::report::{Figure, Report};
use super::{memory_mib, together};

/// Calls at once: as many claims as a large rollout makes in a minute.
const CALLS: usize = 100;
/// How long the cloud takes for each, so that all of them are under way together, in milliseconds.
const CREATING: u64 = 3000;
const PATIENCE: Duration = Duration::from_secs(120);
const STARTS: usize = 5;

/// Measures both roles.
pub fn measure(parts: &Parts, report: &mut Report) -> Result<()> {
    let options = BedOptions {
        backends: vec!["disk", "nas", "oss"],
        delays: Delays { create: CREATING, ..Delays::none() },
        ..BedOptions::default()
    };
    let bed = Bed::make_with(&options, parts.clone())?;
    bed.serve()?;
    let starts = (0..STARTS).map(|_| start_to_ready(bed.node(0), parts));
    let starts = starts.collect::<Result<Vec<_>>>()?;
    add(report, "start of a server with 3 drivers, to ready", "ms", super::median(starts), "≤ 200");
    ready(bed.manager())?;
    let node = resident(bed.node(0), "VmRSS")?;
    add(report, "memory of a node's server with 3 drivers, idle", "MiB", node, "≤ 20");
    let controller = resident(bed.manager(), "VmRSS")?;
    add(report, "memory of a controller with 3 drivers, idle", "MiB", controller, "≤ 20");
    let clear = PathBuf::from(format!("/proc/{}/clear_refs", bed.manager().server_pid()));
    // From here on the peak is counted anew (proc_pid_clear_refs(5)).
    std::fs::write(&clear, "5").with_context(|| format!("cannot write {}", clear.display()))?;
    let csi = bed.csi().with_retry(Retry::kubernetes(PATIENCE));
    let class = VolumeClass::raw(&[("type", "cloud_essd")]);
    together(0..CALLS, |n| {
        let volume = csi.provision(&format!("pvc-memory-{n}"), 20 << 30, &class)?;
        Ok(csi.delete(&volume)?)
    })?;
    let peak = resident(bed.manager(), "VmHWM")?;
    add(report, "  its peak with 100 CreateVolume at once", "MiB", peak, "≤ 40");
    Ok(())
}

fn add(
    report: &mut Report,
    what: &'static str,
    unit: &'static str,
    value: f64,
    target: &'static str,
) {
    report.add(Figure { what, value, unit, against: None, target });
}

/// In milliseconds.
fn start_to_ready(machine: &Machine, parts: &Parts) -> Result<f64> {
    machine.stop();
    let start = Instant::now();
    machine.serve("node", parts)?;
    ready(machine)?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn ready(machine: &Machine) -> Result<()> {
    let start = Instant::now();
    while !machine.page("/readyz").is_ok_and(|(status, _)| status == 200) {
        ensure!(start.elapsed() < PATIENCE, "{} does not become ready", machine.name());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A line about its server's memory, in MiB.
fn resident(machine: &Machine, name: &str) -> Result<f64> {
    memory_mib(machine.server_pid(), name)
}
