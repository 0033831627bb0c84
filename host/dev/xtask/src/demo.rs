//! `cargo xtask demo`: what Wharf is for, shown from kubelet's call to a mounted file system, by
//! the real binary against a simulated region on loopback. Also a part of `test` and `ci`, as the
//! one test that a person can read along.

mod buckets;
mod csi;
mod event;
mod flexvolume;
mod interrupt;
mod leftovers;
mod log;
mod scene;
mod shares;
mod swap;
mod teller;
mod witness;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use wharf_cloudsim::Delays;
use wharf_testing::bed::{Bed, BedOptions, Parts};
use wharf_testing::nfs_machine;
use wharf_testing::snapshot::Snapshot;

use self::event::Event;
use self::interrupt::{Interrupt, Interrupted};
use self::scene::{Scene, served};
use self::teller::Teller;
use crate::binary::{self, Company};
use crate::build_backends;
use crate::command::announce;
use crate::deadline;
use crate::packages;
use crate::supervise;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Shows the main job against a simulated region: a disk, a bucket and a share, from kubelet's call
/// to a mounted file system, over CSI and over FlexVolume.
///
/// Builds what it needs first. Needs root, for loop devices and mounts, and leaves nothing behind,
/// also after Ctrl-C.
#[derive(Args)]
#[command(
    after_help = "Exit codes: 0 everything was shown, 1 something failed, 130 ended by a signal."
)]
pub struct Options {
    /// Text for people, or one JSON object for each event; what is built is then told on standard
    /// error.
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
    /// Use the binary and the components that are built already.
    #[arg(long)]
    no_build: bool,
    /// The chapter about shares alone.
    #[arg(long)]
    shares: bool,
}

/// How events are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// For scripts.
    Json,
}

/// What makes the newer build of the backend another one.
const SUFFIX: &str = "demo2";

/// Long enough to be seen as states of their own, short enough to follow.
const DELAYS: Delays =
    Delays { create: 50, attach: 250, device: 100, detach: 250, ..Delays::none() };

/// What is asked of a process that a signal ended.
const BY_SIGNAL: u8 = 130;

/// Also when the build has just put another file in its place.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// How long an unmounted bucket's helper may take to end.
const SETTLED: Duration = Duration::from_secs(10);

/// As many lines of a server's log as show what went before a failure.
const LOG_TAIL: usize = 15;

/// The command.
pub fn run(options: &Options) -> Result<ExitCode> {
    ensure!(
        packages::is_root(),
        "the demo mounts file systems and makes loop devices: run it as root"
    );
    if options.shares && options.no_build && !nfs_machine::is_here() {
        return shares::elsewhere();
    }
    let teller = Arc::new(Teller::new(options.output)?);
    if options.shares && options.no_build {
        let interrupt = Interrupt::listen()?;
        return Ok(perform(&teller, &interrupt, Parts::find()?, &shares::STORY));
    }
    packages::ensure(packages::DEMO)?;
    let workspace = Workspace::load()?;
    if !options.no_build {
        build(&workspace, Company::Alone)?;
    }
    let parts = Parts::in_target(&workspace.target)?;
    let interrupt = Interrupt::listen()?;
    teller.tell(&Event::Note {
        text: "starting a region with 2 instances, and the machines in it".to_owned(),
    });
    Ok(perform(&teller, &interrupt, parts, &STORY))
}

/// The part of `test` and `ci`: another process, so that the time limit and its signals concern the
/// demo alone.
pub fn part(workspace: &Workspace) -> Result<Tally> {
    if !packages::is_root() {
        return Ok(Tally::absent("the demo needs root"));
    }
    build(workspace, Company::Tests)?;
    let mut demo = Command::new(THIS_PROGRAM);
    let status = supervise::run(
        demo.current_dir(&workspace.root).args(["demo", "--no-build"]),
        deadline::left(),
        |_| {},
    )?;
    Ok(if status.success() {
        Tally::one_passed()
    } else {
        Tally::failed(format!("the demo failed ({status}); its last lines say why"))
    })
}

fn build(workspace: &Workspace, company: Company) -> Result<()> {
    binary::build(workspace, company)?;
    build_backends::all(workspace, None)?;
    announce("building the backends again, as the newer build that will replace the first");
    build_backends::all(workspace, Some(SUFFIX)).map(drop)
}

/// What is shown on one bed.
struct Story {
    backends: &'static [&'static str],
    /// What an administrator made before, and what stays.
    before: fn(&Bed) -> Result<()>,
    chapters: fn(&Scene) -> Result<()>,
    /// What is shown once the bed is gone.
    epilogue: fn(&Teller, &Interrupt, &Parts) -> Result<()>,
}

const STORY: Story = Story {
    backends: &["disk", "oss"],
    before: |_| Ok(()),
    chapters,
    epilogue: shares::have_shown,
};

/// From the first machine to the proof that nothing is left.
fn perform(teller: &Arc<Teller>, interrupt: &Interrupt, parts: Parts, story: &Story) -> ExitCode {
    let mut directory = None;
    // Players cannot be told to stop: a signal unwinds through them, and the bed is taken down on
    // the way.
    let shown = catch_unwind(AssertUnwindSafe(|| {
        let options = BedOptions {
            backends: story.backends.to_vec(),
            delays: DELAYS,
            call_out_log: "debug",
            ..BedOptions::default()
        };
        let bed = Bed::make_with(&options, parts.clone())?;
        directory = Some(bed.directory().to_owned());
        interrupt.check()?;
        (story.before)(&bed)?;
        let before = Snapshot::of(&bed, &[]);
        let driver = served(story.backends.first().copied().unwrap_or_default())?;
        let scene = Scene::new(bed, driver, Arc::clone(teller), interrupt.clone())?;
        let shown = (story.chapters)(&scene).and_then(|()| nothing_is_left(&scene, &before));
        teller.add_cloud_requests(scene.cloud_requests());
        if let (Err(error), false) = (&shown, interrupt.is_pressed()) {
            teller
                .tell(&Event::Failed { why: format!("{error:#}"), log: scene.log_tails(LOG_TAIL) });
        }
        shown?;
        drop(scene);
        (story.epilogue)(teller, interrupt, &parts)
    }));
    let shown = match shown {
        Err(payload) if !payload.is::<Interrupted>() => resume_unwind(payload),
        Err(_) => Err(Interrupted.into()),
        Ok(shown) => shown,
    };
    if interrupt.is_pressed() {
        teller.tell(&Event::Note { text: "ended by a signal".to_owned() });
    } else if let (Err(error), None) = (&shown, &directory) {
        teller.tell(&Event::Failed { why: format!("{error:#}"), log: Vec::new() });
    }
    let left = leftovers::of(directory.as_deref());
    let is_clean = left.is_empty();
    teller.summarize(shown.is_ok() && is_clean, left);
    match (interrupt.is_pressed(), shown.is_ok() && is_clean) {
        (true, _) => ExitCode::from(BY_SIGNAL),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

fn chapters(scene: &Scene) -> Result<()> {
    let newer = scene.bed().parts().component(&format!("disk+{SUFFIX}"));
    ensure!(newer.is_file(), "there is no {}: leave out --no-build", newer.display());
    if scene.fs_type() != "ext4" {
        scene.note(
            "this machine withholds CAP_SYS_RESOURCE, which growing a mounted ext4 needs: the disks \
             get xfs",
        );
    }
    scene.chapter("A disk over CSI");
    let mut disk = csi::first_life(scene)?;
    scene.chapter("The backend is replaced while a disk is half attached");
    swap::replace(scene, &mut disk, &newer)?;
    csi::second_life(scene, disk)?;
    scene.chapter("A broken backend is offered");
    swap::offer_broken(scene, &newer)?;
    scene.chapter("A disk over FlexVolume");
    flexvolume::life(scene)?;
    scene.chapter("A bucket over CSI and over FlexVolume, and its helper killed");
    buckets::life(scene)
}

fn nothing_is_left(scene: &Scene, before: &Snapshot) -> Result<()> {
    let begun = Instant::now();
    // What an unmounted helper had is taken away once that has ended.
    loop {
        let left = Snapshot::of(scene.bed(), &[]).differences(before);
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > SETTLED {
            bail!("disks, mounts or records are left:\n{}", left.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
