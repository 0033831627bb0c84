//! Three hundred attaches over ten nodes, all at once, while the region enforces the rates that a
//! real account has, and while another of the account's endpoints hangs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use wharf_cloudsim::{Delays, Fault, FaultRule, RateLimits};
use wharf_testing::bed::{Bed, BedOptions, Parts};
use wharf_testing::configuration::SERVED;
use wharf_testing::player::{CsiNode, CsiPlayer, CsiVolume, Retry, VolumeClass};

use super::report::{Figure, Report};
use super::together;
use crate::command::announce;

const NODES: usize = 10;
const DISKS: usize = 300;
const DISKS_PER_NODE: u32 = 32;
const PATIENCE: Duration = Duration::from_secs(240);
/// How long the other endpoint takes to answer, and how many calls wait for it.
const HANGS_FOR: Duration = Duration::from_secs(60);
const HANGING: usize = 300;

/// What the attaches meet.
#[derive(Clone, Copy)]
enum Scene {
    /// All of the minute's calls are left, as after a quiet minute.
    Whole,
    /// None is left, so that every call waits for its refill.
    UsedUp,
    /// The same, and the endpoint of file storage does not answer.
    UsedUpAndHanging,
}

impl Scene {
    fn what(self) -> &'static str {
        match self {
            Self::Whole => "300 attaches over 10 nodes, wall",
            Self::UsedUp => "the same with the minute's calls used up",
            Self::UsedUpAndHanging => "the same while another endpoint hangs",
        }
    }
}

/// Attaches, and counts what the cloud was asked meanwhile.
pub fn measure(parts: &Parts, report: &mut Report) -> Result<()> {
    let delays = Delays { create: 5, ..Delays::real() };
    let options = BedOptions {
        nodes: NODES,
        backends: vec!["disk", "nas"],
        disks_per_node: Some(DISKS_PER_NODE),
        delays,
        ..BedOptions::default()
    };
    let bed = Bed::make_with(&options, parts.clone())?;
    bed.serve()?;
    let csi = bed.csi().with_retry(Retry::kubernetes(PATIENCE));
    let nodes = bed
        .nodes()
        .iter()
        .map(|node| csi.register(node.name(), &node.socket(), &node.kubelet()))
        .collect::<Result<Vec<_>, _>>()?;
    let class = VolumeClass::raw(&[("type", "cloud_essd")]);
    let mut volumes: Vec<CsiVolume> =
        together(0..DISKS, |n| Ok(csi.provision(&format!("pvc-attach-{n}"), 20 << 30, &class)?))?;
    for scene in [Scene::Whole, Scene::UsedUp, Scene::UsedUpAndHanging] {
        bed.region().set_delays(delays);
        announce(scene.what());
        match scene {
            Scene::Whole | Scene::UsedUp => {
                attach_all(&bed, &csi, &nodes, &mut volumes, (scene, delays), report)?
            }
            Scene::UsedUpAndHanging => while_storage_hangs(&bed, || {
                attach_all(&bed, &csi, &nodes, &mut volumes, (scene, delays), report)
            })?,
        }
        bed.region().set_rate_limits(RateLimits::none());
        bed.region().set_delays(Delays::none());
        let attached = volumes.iter().zip(nodes.iter().cycle());
        together(attached, |(volume, node)| Ok(csi.detach(volume, node)?))?;
    }
    together(volumes.iter(), |volume| Ok(csi.delete(volume)?)).map(drop)
}

/// Works while as many calls as anybody has wait for file systems that nobody makes.
fn while_storage_hangs(bed: &Bed, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let ms = u64::try_from(HANGS_FOR.as_millis()).unwrap_or(u64::MAX);
    bed.region().set_faults(vec![FaultRule::new("nas:*", Fault::Delay { ms })]);
    let driver =
        SERVED.iter().find(|served| served.backend == "nas").context("no driver of NAS")?;
    let csi = bed.csi_of(driver.driver).with_retry(Retry::kubernetes(HANGS_FOR));
    let parameters = [("volumeAs", "filesystem"), ("vpcId", "vpc-1"), ("vSwitchId", "vsw-1")];
    let class = VolumeClass::file_system("nfs", &parameters);
    std::thread::scope(|scope| {
        for n in 0..HANGING {
            let (csi, class) = (&csi, &class);
            // Whether it is ever made says nothing here.
            scope
                .spawn(move || csi.provision(&format!("pvc-hanging-{n}"), 20 << 30, class).is_ok());
        }
        // Until the places for them are taken.
        std::thread::sleep(Duration::from_secs(5));
        work()
    })
}

fn attach_all(
    bed: &Bed,
    csi: &CsiPlayer,
    nodes: &[CsiNode],
    volumes: &mut [CsiVolume],
    (scene, delays): (Scene, Delays),
    report: &mut Report,
) -> Result<()> {
    let limits = RateLimits::real();
    let limit = *limits.actions.get("AttachDisk").context("no rate for AttachDisk")?;
    match scene {
        Scene::Whole => bed.region().set_rate_limits(limits),
        Scene::UsedUp | Scene::UsedUpAndHanging => bed.region().set_rate_limits_used_up(limits),
    }
    bed.region().clear_journal();
    let start = Instant::now();
    let attaching = volumes.iter_mut().zip(nodes.iter().cycle());
    together(attaching, |(volume, node)| Ok(csi.attach(volume, node)?))?;
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
    let (bound, target) = match scene {
        Scene::Whole => (delay, "-"),
        Scene::UsedUp | Scene::UsedUpAndHanging => (delay + refill, "≤ 1.15"),
    };
    report.add(Figure {
        what: scene.what(),
        value: wall,
        unit: "s",
        against: Some(("lower bound", bound)),
        target,
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
        target: "≤ 1.5",
    });
    Ok(())
}
