//! A hundred attaches over ten nodes, all at once, while the region enforces the rates that a real
//! account has.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wharf_cloudsim::{Delays, RateLimits};
use wharf_testing::bed::{Bed, BedOptions, Parts};
use wharf_testing::player::{CsiNode, CsiPlayer, CsiVolume, Retry, VolumeClass};

use super::report::{Figure, Report};

const NODES: usize = 10;
const DISKS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(120);

/// What is left of the minute's calls when the attaches begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowance {
    /// All of them, as after a quiet minute.
    Whole,
    /// None, so that every call waits for its refill.
    UsedUp,
}

/// Attaches, and counts what the cloud was asked meanwhile.
pub fn measure(parts: &Parts, report: &mut Report) -> Result<()> {
    let delays = Delays { create: 5, ..Delays::real() };
    let bed = Bed::make_with(
        &BedOptions { nodes: NODES, delays, ..BedOptions::default() },
        parts.clone(),
    )?;
    bed.serve()?;
    let csi = bed.csi().with_retry(Retry::kubernetes(PATIENCE));
    let nodes = bed
        .nodes()
        .iter()
        .map(|node| csi.register(node.name(), &node.socket(), &node.kubelet()))
        .collect::<Result<Vec<_>, _>>()?;
    let class = VolumeClass::raw(&[("type", "cloud_essd")]);
    let mut volumes: Vec<CsiVolume> = (0..DISKS)
        .map(|n| csi.provision(&format!("pvc-attach-{n}"), 20 << 30, &class))
        .collect::<Result<_, _>>()?;
    for allowance in [Allowance::Whole, Allowance::UsedUp] {
        bed.region().set_delays(delays);
        attach_all(&bed, &csi, &nodes, &mut volumes, (allowance, delays), report)?;
        bed.region().set_rate_limits(RateLimits::none());
        bed.region().set_delays(Delays::none());
        volumes
            .iter()
            .zip(nodes.iter().cycle())
            .try_for_each(|(volume, node)| csi.detach(volume, node))?;
    }
    volumes.iter().try_for_each(|volume| csi.delete(volume)).map_err(Into::into)
}

fn attach_all(
    bed: &Bed,
    csi: &CsiPlayer,
    nodes: &[CsiNode],
    volumes: &mut [CsiVolume],
    (allowance, delays): (Allowance, Delays),
    report: &mut Report,
) -> Result<()> {
    let limits = RateLimits::real();
    let limit = *limits.actions.get("AttachDisk").context("no rate for AttachDisk")?;
    match allowance {
        Allowance::Whole => bed.region().set_rate_limits(limits),
        Allowance::UsedUp => bed.region().set_rate_limits_used_up(limits),
    }
    bed.region().clear_journal();
    let start = Instant::now();
    std::thread::scope(|scope| {
        let attaching: Vec<_> = volumes
            .iter_mut()
            .zip(nodes.iter().cycle())
            .map(|(volume, node)| scope.spawn(move || csi.attach(volume, node)))
            .collect();
        attaching.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?
                .map_err(anyhow::Error::from)
        })
    })?;
    let wall = start.elapsed().as_secs_f64();
    let journal = bed.region().journal();
    let requests = journal.iter().filter(|entry| entry.listener == "ecs").count();
    let refused = journal
        .iter()
        .filter(|entry| {
            entry.action == "AttachDisk" && entry.code.as_deref() == Some("Throttling.User")
        })
        .count();

    // A disk takes its time; where nothing is left of the minute's calls, each call waits for its
    // refill before that.
    let delay = Duration::from_millis(delays.attach).as_secs_f64();
    let refill = DISKS as f64 * f64::from(limit.seconds) / f64::from(limit.calls);
    let (what, bound, target) = match allowance {
        Allowance::Whole => ("100 attaches over 10 nodes, wall", delay, "≤ 1.5"),
        Allowance::UsedUp => ("the same with the minute's calls used up", delay + refill, "-"),
    };
    report.add(Figure {
        what,
        value: wall,
        unit: "s",
        against: Some(("lower bound", bound)),
        target: "-",
    });
    report.add(Figure {
        what: "  AttachDisk refused by the limit",
        value: refused as f64,
        unit: "requests",
        against: None,
        target: "-",
    });
    report.add(Figure {
        what: "  cloud requests per attach",
        value: requests as f64 / DISKS as f64,
        unit: "requests",
        against: None,
        target,
    });
    Ok(())
}
