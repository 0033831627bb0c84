//! A share of file storage: a directory that a StorageClass makes, over CSI on two nodes and over
//! FlexVolume beside it, by a real NFS client and server, and its server stopped. Where this kernel
//! has no NFS, all of it is shown in a second one, and told here.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use wharf_cloudsim::FileSystemSummary;
use wharf_testing::bed::{Bed, Parts};
use wharf_testing::nas_servers::NasServers;
use wharf_testing::nfs_machine;
use wharf_testing::player::{FlexVolume, Retry, VolumeClass};

use super::event::Event;
use super::interrupt::{Interrupt, Interrupted};
use super::scene::Scene;
use super::teller::Teller;
use super::{Story, THIS_PROGRAM};

/// What is shown in a machine with NFS.
pub const STORY: Story = Story {
    backends: &["nas"],
    before: make_file_system,
    chapters: life,
    epilogue: |_, _, _| Ok(()),
};

/// It takes ten seconds on idle processors, and a stopped server's deadline.
const LIMIT: Duration = Duration::from_secs(180);
/// How often a signal is looked for while nothing is told.
const GLANCE: Duration = Duration::from_millis(100);

/// The directory of the file system in which volumes are made.
const DIRECTORY: &str = "k8s";
const GIB: u64 = 1 << 30;

/// Runs this very command in a machine with NFS.
pub fn elsewhere() -> Result<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    Ok(ExitCode::from(nfs_machine::again(&arguments, LIMIT)?))
}

/// Has another process show it, and tells what that tells.
pub fn have_shown(teller: &Teller, interrupt: &Interrupt, parts: &Parts) -> Result<()> {
    let mut demo = Command::new(THIS_PROGRAM)
        .args(["demo", "--shares", "--no-build", "--output", "json"])
        .env("WHARF_BIN", &parts.wharf)
        .env("WHARF_COMPONENTS", &parts.components)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the demo of shares")?;
    let output = demo.stdout.take().context("the demo of shares has no output")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    let mut has_succeeded = false;
    loop {
        match lines.recv_timeout(GLANCE) {
            Ok(line) => match serde_json::from_str(&line) {
                Ok(Event::Summary(summary)) => {
                    teller.add_cloud_requests(summary.cloud_requests);
                    has_succeeded = summary.succeeded;
                }
                Ok(event) => teller.tell(&event),
                Err(_) => teller.tell(&Event::Note { text: line }),
            },
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) if interrupt.is_pressed() => {
                // The machine sees that nobody waits for it any more.
                let _ = demo.kill();
                let _ = demo.wait();
                return Err(Interrupted.into());
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    let status = demo.wait()?;
    ensure!(status.success() && has_succeeded, "shares were not shown ({status})");
    Ok(())
}

fn make_file_system(bed: &Bed) -> Result<()> {
    bed.region().make_file_system()?;
    let files = file_system(bed)?.directory.join(DIRECTORY);
    fs::create_dir(&files).with_context(|| format!("cannot make {}", files.display()))
}

fn file_system(bed: &Bed) -> Result<FileSystemSummary> {
    bed.region().file_systems().into_iter().next().context("there is no file system")
}

/// From a claim to an archive.
fn life(scene: &Scene) -> Result<()> {
    scene.chapter("A share over CSI and over FlexVolume, and its server stopped");
    let region = scene.bed().region();
    let system = file_system(scene.bed())?;
    let name = system.mount_targets.first().context("it has no mount target")?.clone();
    let files = system.directory.join(DIRECTORY);
    let mut servers = NasServers::begin(scene.bed().directory())?;
    servers.follow(region)?;
    scene.note(&format!(
        "a kernel NFS server exports file system {} as {name}; clients are this kernel's own",
        system.id
    ));
    let server = format!("{name}:/{DIRECTORY}");
    let class =
        VolumeClass::share(&[("server", &server), ("volumeCapacity", "true"), ("mode", "770")]);
    let (csi, one, two) = (scene.csi(), scene.node(0)?, scene.node(1)?);
    let mut volume = csi.provision("pvc-share", GIB, &class)?;
    let here = csi.publish(&volume, one, "pod-8", false)?;
    let digest = scene.write(&here)?;
    let there = csi.publish(&volume, two, "pod-9", false)?;
    scene.read(&there, &digest)?;
    csi.expand_controller(&mut volume, 2 * GIB)?;
    over_flexvolume(scene, &name, &digest)?;
    scene.note(&format!("{name} stops: it takes requests and answers none"));
    servers.of(&name).stop();
    let condition = csi.clone().with_retry(Retry::never()).condition(&volume, one, "pod-8")?;
    ensure!(condition.abnormal, "a share without its server: {condition:?}");
    scene.note(&format!("node 1 says of the volume: {}", condition.message));
    scene.note(&format!("{name} answers again"));
    servers.of(&name).go_on();
    scene.read(&here, &digest)?;
    csi.unpublish(&volume, two, "pod-9")?;
    csi.unpublish(&volume, one, "pod-8")?;
    csi.delete(&volume)?;
    let kept = fs::read_dir(&files)?.next().context("the deleted share has no archive")??;
    scene.note(&format!("its data is kept as {}", kept.file_name().to_string_lossy()));
    Ok(fs::remove_dir_all(kept.path())?)
}

/// The same directory, as an administrator's PersistentVolume names it.
fn over_flexvolume(scene: &Scene, server: &str, digest: &str) -> Result<()> {
    scene.note("the same directory over FlexVolume: no attach, a mount for the pod");
    let machine = scene.bed().node(0);
    let plugins = machine.plugins().display().to_string();
    let ran = scene.run(machine, &["flexvolume", "install", "--dir", &plugins])?;
    ensure!(ran.code == Some(0), "`wharf flexvolume install` failed: {}", ran.stderr);
    let path = format!("/{DIRECTORY}/pvc-share");
    let volume = FlexVolume::new("pv-share", "", &[("server", server), ("path", &path)]);
    let node = machine.flex_node();
    let target = scene.flex().mount(&volume, &node, "pod-10")?;
    scene.read(&target, digest)?;
    Ok(scene.flex().unmount(&volume, &node, "pod-10")?)
}
