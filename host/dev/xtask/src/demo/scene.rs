//! The scene: the bed, the players on it and who listens to them. What the chapters share.

use std::fs;
use std::io::Write;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wharf_testing::bed::{Bed, Machine, Ran};
use wharf_testing::configuration::{SERVED, Served};
use wharf_testing::player::{Audience, CsiNode, CsiPlayer, Event as Played, FlexPlayer, Happening};
use wharf_testing::requirement;

use super::event::{Asked, Event};
use super::interrupt::Interrupt;
use super::log;
use super::teller::Teller;
use super::witness::{Witness, shorten};
use crate::component;

/// How much a pod writes: enough for a file to have many blocks, little enough to be quick.
const DATA_BYTES: usize = 8 << 20;

/// What Kubernetes asks before nearly every call; nobody wants to read it each time.
const QUIET: [&str; 3] =
    ["GetPluginCapabilities", "ControllerGetCapabilities", "NodeGetCapabilities"];

/// See above.
pub struct Scene {
    csi: CsiPlayer,
    flex: FlexPlayer,
    audience: Audience,
    nodes: Vec<CsiNode>,
    witness: Arc<Witness>,
    teller: Arc<Teller>,
    interrupt: Interrupt,
    bed: Arc<Bed>,
}

impl Scene {
    /// Starts the servers and registers the nodes with this driver.
    pub fn new(
        bed: Bed,
        driver: &Served,
        teller: Arc<Teller>,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let bed = Arc::new(bed);
        let witness = Arc::new(Witness::new(Arc::clone(&bed)));
        let audience = audience(&teller, &witness, &interrupt, &bed);
        let csi = bed.csi_of(driver.driver).with_audience(Arc::clone(&audience));
        let flex = bed.flex_of(driver.flexvolume).with_audience(Arc::clone(&audience));
        let nodes = Vec::new();
        let mut scene = Self { csi, flex, audience, nodes, witness, teller, interrupt, bed };
        scene.bed.serve_telling_all()?;
        scene.note(&format!(
            "`wharf csi` serves on the control plane ({}) and on each node ({})",
            scene.pid(scene.bed.manager()),
            scene.node_pids()
        ));
        for machine in scene.bed.nodes() {
            scene.interrupt.check()?;
            scene.nodes.push(scene.csi.register(
                machine.name(),
                &machine.socket(),
                &machine.kubelet(),
            )?);
        }
        Ok(scene)
    }

    /// The bed.
    pub fn bed(&self) -> &Bed {
        &self.bed
    }

    /// kubelet and the sidecars.
    pub fn csi(&self) -> &CsiPlayer {
        &self.csi
    }

    /// kubelet and kube-controller-manager.
    pub fn flex(&self) -> &FlexPlayer {
        &self.flex
    }

    /// kubelet and the sidecars, about volumes of another driver.
    pub fn csi_of(&self, driver: &str) -> CsiPlayer {
        self.bed.csi_of(driver).with_audience(Arc::clone(&self.audience))
    }

    /// The same over FlexVolume.
    pub fn flex_of(&self, driver: &str) -> FlexPlayer {
        self.bed.flex_of(driver).with_audience(Arc::clone(&self.audience))
    }

    /// A registered node by its place.
    pub fn node(&self, n: usize) -> Result<&CsiNode> {
        self.nodes.get(n).context("the scene has no such node")
    }

    /// What the disks are formatted with: ext4, which a sandbox that may not grow it while it is
    /// mounted replaces by xfs.
    pub fn fs_type(&self) -> &'static str {
        if requirement::may_grow_mounted_ext4() { "ext4" } else { "xfs" }
    }

    /// Who looks from outside.
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// An error once a signal has come.
    pub fn check(&self) -> Result<()> {
        Ok(self.interrupt.check()?)
    }

    /// Begins a chapter.
    pub fn chapter(&self, title: &str) {
        self.teller.tell(&Event::Chapter { title: title.to_owned() });
    }

    /// Says what the demo does or sees.
    pub fn note(&self, text: &str) {
        self.teller.tell(&Event::Note { text: shorten(text, self.bed.directory()) });
    }

    /// Counts a backend that was replaced.
    pub fn count_swap(&self) {
        self.teller.count_swap();
    }

    /// Counts a build that was refused.
    pub fn count_refusal(&self) {
        self.teller.count_refusal();
    }

    /// Runs `wharf ARGUMENTS` on a machine as a person would, and shows it.
    pub fn run(&self, machine: &Machine, arguments: &[&str]) -> Result<Ran> {
        let begun = Instant::now();
        let ran = machine.run(self.bed.parts(), arguments)?;
        self.check()?;
        let line = format!("{}# wharf {}", machine.name(), arguments.join(" "));
        let printed = format!("{}{}", ran.stdout, ran.stderr);
        self.teller.tell(&Event::Command {
            line: shorten(&line, self.bed.directory()),
            printed: shorten(printed.trim_end(), self.bed.directory()),
            exit_code: ran.code,
            took_ms: milliseconds(begun.elapsed()),
        });
        Ok(ran)
    }

    /// A pod writes a file. Returns its digest.
    pub fn write(&self, directory: &Path) -> Result<String> {
        // Like noise, and the same in every run.
        let mut state = 1_u32;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()
        });
        let data: Vec<u8> = noise.flatten().take(DATA_BYTES).collect();
        let path = directory.join("data");
        let mut file =
            fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        file.write_all(&data)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let digest = component::digest(&[&data]);
        self.note(&format!("the pod writes {} MiB: sha256 {digest:.16}…", DATA_BYTES >> 20));
        Ok(digest)
    }

    /// A pod reads the file again, and finds what was written.
    pub fn read(&self, directory: &Path, expected: &str) -> Result<()> {
        let path = directory.join("data");
        let digest = component::digest(&[
            &fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?
        ]);
        ensure!(
            digest == expected,
            "the data is not what was written: sha256 {digest} instead of {expected}"
        );
        self.note(&format!("the pod reads its data: sha256 {digest:.16}…, as written"));
        Ok(())
    }

    /// Says how large a file system is, and returns it in bytes.
    pub fn size(&self, directory: &Path) -> Result<u64> {
        let system = rustix::fs::statvfs(directory)
            .with_context(|| format!("cannot look at {}", directory.display()))?;
        let bytes = system.f_blocks * system.f_frsize;
        self.note(&format!(
            "the pod sees a file system of {}.{} GiB",
            bytes >> 30,
            ((bytes * 10) >> 30) % 10
        ));
        Ok(bytes)
    }

    /// The server's process on a machine, in words.
    pub fn pid(&self, machine: &Machine) -> String {
        format!("pid {}", machine.server_pid())
    }

    fn node_pids(&self) -> String {
        self.bed.nodes().iter().map(|node| self.pid(node)).collect::<Vec<_>>().join(", ")
    }

    /// Requests that reached the cloud.
    pub fn cloud_requests(&self) -> usize {
        self.bed.region().journal().len()
    }

    /// The ends of all logs.
    pub fn log_tails(&self, lines: usize) -> Vec<String> {
        let machines = self.bed.nodes().iter().chain([self.bed.manager()]);
        machines
            .flat_map(|machine| log::tail(machine.name(), &machine.server_log(), lines))
            .collect()
    }
}

/// What the driver of a backend is called.
pub fn served(backend: &str) -> Result<&'static Served> {
    SERVED
        .iter()
        .find(|served| served.backend == backend)
        .with_context(|| format!("there is no backend {backend}"))
}

/// Listens to the players: tells each call, and what was seen when it came back. Once a signal has
/// come it unwinds through them.
fn audience(
    teller: &Arc<Teller>,
    witness: &Arc<Witness>,
    interrupt: &Interrupt,
    bed: &Arc<Bed>,
) -> Audience {
    let (teller, witness, interrupt, bed) =
        (Arc::clone(teller), Arc::clone(witness), interrupt.clone(), Arc::clone(bed));
    Arc::new(move |played: &Played| {
        if let Err(interrupted) = interrupt.check() {
            teller.add_cloud_requests(bed.region().journal().len());
            resume_unwind(Box::new(interrupted));
        }
        let asked = |with: &str| Asked {
            who: played.part.name().to_owned(),
            node: played.node.clone(),
            call: played.call.clone(),
            volume: played.volume.clone(),
            with: shorten(with, bed.directory()),
        };
        let is_quiet = QUIET.contains(&played.call.as_str());
        match &played.happening {
            Happening::Asked { .. } if is_quiet => {}
            // What it did is not the next call's doing.
            Happening::Answered { .. } if is_quiet => drop(witness.look()),
            Happening::Asked { with } => teller.tell(&Event::Asked(asked(with))),
            Happening::Answered { with, took } => {
                teller.tell(&Event::Answered {
                    asked: asked(with),
                    failure: None,
                    took_ms: milliseconds(*took),
                    seen: witness.look(),
                });
            }
            Happening::Failed { why, took, .. } => {
                teller.tell(&Event::Answered {
                    asked: asked(""),
                    failure: Some(shorten(why, bed.directory())),
                    took_ms: milliseconds(*took),
                    seen: witness.look(),
                });
            }
            Happening::Again { after } => teller.tell(&Event::Remark {
                asked: asked(""),
                text: format!("tries again in {} ms", after.as_millis()),
            }),
            Happening::Skipped { why } => {
                teller.tell(&Event::Remark { asked: asked(""), text: format!("is skipped: {why}") })
            }
        }
    })
}

fn milliseconds(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
