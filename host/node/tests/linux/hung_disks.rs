//! A disk that stops answering: a loop device whose file a stopped FUSE program serves. Whoever
//! waits for it waits in the kernel and cannot be ended, so it must not be this process.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use wharf_core::ports::{Call, Clock, Node, RemovePath};
use wharf_core::{Error, ErrorKind};
use wharf_node::SystemClock;

use crate::bed::{Bed, PATIENCE, eventually, find, mount, mountinfo, sh, stage};

const SECOND: Duration = Duration::from_secs(1);

/// A bed whose disks can be stopped. The fields are dropped in this order: what hangs has to go on
/// before anything can be taken away.
struct Stoppable {
    resume: Resume,
    bed: Bed,
    _server: Server,
}

struct Resume(Pid);

impl Drop for Resume {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Stoppable {
    fn new() -> Option<Self> {
        if !["/usr/bin/bindfs", "/usr/local/bin/bindfs"].iter().any(|path| Path::new(path).exists())
        {
            eprintln!("skipped: a disk that hangs needs bindfs (Debian package `bindfs`)");
            return None;
        }
        let mut bed = Bed::new()?;
        (bed.options.bounds.probe, bed.options.bounds.check) = (SECOND, SECOND);
        let (backing, shown) = (bed.root().join("backing"), bed.root().join("images"));
        std::fs::create_dir(&backing).unwrap();
        let server = Command::new("bindfs")
            // Nothing of a disk is in memory but what somebody holds there.
            .args(["-f", "-o", "direct_io"])
            .args([&backing, &shown])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&server);
        let stoppable = Self { resume: Resume(pid), bed, _server: Server(server) };
        let is_mounted =
            || mountinfo().lines().any(|line| line.split(' ').nth(4) == shown.to_str());
        eventually("bindfs has mounted", is_mounted);
        Some(stoppable)
    }

    fn stop(&self) {
        kill_process(self.resume.0, Signal::STOP).unwrap();
    }

    fn go_on(&self) {
        kill_process(self.resume.0, Signal::CONT).unwrap();
    }

    fn unmount(&self, path: &str, bound: Duration) -> Result<(), Error> {
        let call = Call::until(SystemClock.now() + bound);
        self.bed.node().unmount(&call, &self.bed.path(path), RemovePath::No)
    }

    /// Each of these calls fails within its bound, and leaves this process free to end.
    fn is_given_up(&self, work: impl Fn() -> Result<(), Error>, kind: ErrorKind, words: &str) {
        let begun = Instant::now();
        let error = work().expect_err("the disk hangs");
        assert!(begun.elapsed() < PATIENCE, "it took {:?}: {error}", begun.elapsed());
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        eventually("no thread of this process waits for a disk", || !has_waiting_thread());
    }
}

/// Whether any thread of this process is in the kernel without a way to end it; it could not exit.
fn has_waiting_thread() -> bool {
    std::fs::read_dir("/proc/self/task").unwrap().flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('D'))
    })
}

#[test]
fn unmounting_a_disk_that_hangs_ends_by_its_deadline_and_goes_on_when_the_disk_does() {
    let Some(disks) = Stoppable::new() else { return };
    let bed = &disks.bed;
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    std::fs::create_dir(bed.path("other")).unwrap();
    sh(&format!("mount -t tmpfs none {}", bed.path("other").display()));
    std::fs::write(bed.path("d1/data"), vec![7; 1 << 20]).unwrap();
    disks.stop();
    disks.is_given_up(|| disks.unmount("d1", SECOND), ErrorKind::Unavailable, "did not answer");
    // One process waits for the disk, however often it is asked for.
    disks.is_given_up(|| disks.unmount("d1", SECOND), ErrorKind::Unavailable, "an earlier call");
    assert!(bed.node().is_mounted(&bed.path("d1")).unwrap());
    // Nobody else is held up.
    disks.unmount("other", SECOND).unwrap();
    disks.go_on();
    disks.unmount("d1", PATIENCE).unwrap();
    assert!(!bed.node().is_mounted(&bed.path("d1")).unwrap());
    bed.run(vec![find("s1"), mount("ext4", &[], false)], "d1").unwrap();
    assert_eq!(std::fs::read(bed.path("d1/data")).unwrap(), vec![7; 1 << 20]);
}

#[test]
fn a_disk_is_not_given_back_while_what_was_written_is_still_on_its_way() {
    let Some(disks) = Stoppable::new() else { return };
    let bed = &disks.bed;
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    std::fs::write(bed.path("d1/data"), vec![7; 1 << 20]).unwrap();
    disks.stop();
    disks.is_given_up(|| disks.unmount("d1", SECOND), ErrorKind::Unavailable, "did not answer");
    // Out of the table, as after a process that was killed in the middle of it.
    let detach = rustix::mount::UnmountFlags::DETACH;
    rustix::mount::unmount(bed.path("d1"), detach).unwrap();
    disks.is_given_up(|| disks.unmount("d1", SECOND), ErrorKind::Unavailable, "an earlier call");
    disks.go_on();
    disks.unmount("d1", PATIENCE).unwrap();
}

#[test]
fn staging_a_disk_that_hangs_leaves_no_thread_behind() {
    let Some(disks) = Stoppable::new() else { return };
    let bed = &disks.bed;
    let device = bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    disks.unmount("d1", PATIENCE).unwrap();
    let run = |steps| bed.run(steps, "d1").map(drop);
    // Nothing of it is in memory any more.
    sh(&format!("blockdev --flushbufs {}", device.display()));
    disks.stop();
    let plan = |steps| wharf_core::plan::Plan { steps, summary: String::new() };
    let run_soon = |steps| {
        let call = Call::until(SystemClock.now() + SECOND);
        bed.run_plan(&call, &plan(steps), "d-1", &bed.path("d1"), None).map(drop)
    };
    disks.is_given_up(|| run_soon(stage("s1", "ext4")), ErrorKind::Unavailable, "reading");
    // Neither is it opened, which would wait for the one that is still being closed.
    disks.is_given_up(|| run_soon(stage("s1", "ext4")), ErrorKind::Aborted, "works on device");
    disks.go_on();
    eventually("the disk can be staged again", || run(stage("s1", "ext4")).is_ok());
    disks.unmount("d1", PATIENCE).unwrap();
    // All that is read is in memory while somebody has the device open: the mount itself hangs.
    let mut holder = Command::new("sleep");
    holder.arg("600").stdin(std::fs::File::open(&device).unwrap());
    let _holder = Server(holder.spawn().unwrap());
    sh(&format!("dd if={} of=/dev/null bs=1M status=none", device.display()));
    disks.stop();
    let steps = vec![find("s1"), mount("ext4", &[], false)];
    disks.is_given_up(|| run_soon(steps.clone()), ErrorKind::Unavailable, "mounting");
    disks.go_on();
}
