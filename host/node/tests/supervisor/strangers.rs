//! File systems of somebody else with the device number of a dead mount: the kernel gives a number
//! out again, the lowest free one, as soon as the last mount of a file system is gone.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::Signal;
use wharf_core::ErrorKind;
use wharf_node::supervisor::Condition;

use crate::bed::{Bed, Container, PATIENCE, bindfs_unless, holds, kill, mountinfo, sh, signal};
use crate::bed::{until, until_within};

/// A FUSE mount that no supervisor knows, and that nobody serves.
struct Stranger {
    target: PathBuf,
    _device: File,
}

impl Stranger {
    fn mount(target: PathBuf) -> Self {
        let device = File::options().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).unwrap();
        let (flags, options) = (MountFlags::empty(), options.as_c_str());
        rustix::mount::mount("stranger", &target, "fuse", flags, options).unwrap();
        Self { target, _device: device }
    }

    fn number(&self) -> u32 {
        number_at(&self.target).unwrap()
    }

    /// As when its helper dies.
    fn die(&self) {
        let abort = format!("/sys/fs/fuse/connections/{}/abort", self.number());
        std::fs::write(abort, "1").unwrap();
    }

    /// Its line of the mount table.
    fn line(&self) -> String {
        line_at(&self.target).unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.target, UnmountFlags::DETACH);
    }
}

/// Mounts of strangers that take every free number below one, which is then the next one that is
/// given out once it is free.
struct Below<'a> {
    bed: &'a Bed,
    number: u32,
    taken: Vec<Stranger>,
}

impl<'a> Below<'a> {
    /// While somebody has that one.
    fn new(bed: &'a Bed, number: u32) -> Self {
        let mut below = Self { bed, number, taken: Vec::new() };
        below.next();
        below
    }

    /// A mount with the number, once it is free; `None`: another test was faster and keeps it.
    fn stranger(&mut self) -> Option<Stranger> {
        let mut found = None;
        until_within(SOON, || {
            found = Some(self.next()).filter(|stranger| stranger.number() == self.number);
            found.is_some()
        });
        found
    }

    /// A mount with the number or a higher one. Those with lower ones are kept.
    fn next(&mut self) -> Stranger {
        loop {
            let target = self.bed.target(&format!("stranger-{}", self.taken.len()));
            let stranger = Stranger::mount(target);
            if stranger.number() >= self.number {
                return stranger;
            }
            self.taken.push(stranger);
        }
    }
}

/// What is given back is given back at once, but for copies in the namespaces of other tests.
const SOON: Duration = Duration::from_secs(5);

/// Tries a scene until it comes to what it is about: other tests want the same numbers.
fn until_played<T>(scene: impl FnMut(usize) -> Option<T>) -> T {
    (0..20).find_map(scene).expect("the number is free when it is wanted, once in 20 times")
}

fn line_at(path: &Path) -> Option<String> {
    let path = path.to_str().unwrap();
    mountinfo().lines().find(|line| line.split(' ').nth(4) == Some(path)).map(str::to_owned)
}

fn number_at(path: &Path) -> Option<u32> {
    line_at(path)?.split(' ').nth(2)?.split_once(':')?.1.parse().ok()
}

/// A helper and its mount go while the supervisor does not look, and a stranger gets the number and
/// dies too.
fn dead_stranger_in_place_of(bed: &Bed, target: &Path, helper: i32) -> Option<Stranger> {
    let mut below = Below::new(bed, number_at(target).unwrap());
    kill(helper);
    sh(&format!("umount -l {}", target.display()));
    let stranger = below.stranger()?;
    stranger.die();
    Some(stranger)
}

/// A stranger's dead mount stays as it is when the supervisor, which was away meanwhile, looks again.
fn is_left_alone(bed: &Bed, go_away: impl Fn(&Bed), come_back: impl Fn(&Bed)) {
    let stranger = until_played(|time| {
        let spec = bed.spec(&format!("a-{time}"));
        bed.mount(&spec).unwrap();
        let helper = bed.pid(&spec);
        go_away(bed);
        let stranger = dead_stranger_in_place_of(bed, &spec.target, helper);
        let before = stranger.as_ref().map(Stranger::line);
        come_back(bed);
        until("the mount that is gone is forgotten", || bed.client().list().unwrap().is_empty());
        assert_eq!(stranger.as_ref().map(Stranger::line), before);
        stranger
    });
    assert!(!bed.log().contains("repaired a place"), "{}", bed.log());
    drop(stranger);
    bed.assert_clean();
}

#[test]
fn a_strangers_dead_mount_with_the_number_of_a_dead_one_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let to_supervisor = |what| move |bed: &Bed| signal(bed.supervisor(), what);
    is_left_alone(&bed, to_supervisor(Signal::STOP), to_supervisor(Signal::CONT));
}

#[test]
fn a_new_supervisor_leaves_a_strangers_dead_mount_with_a_number_of_its_records_alone() {
    let Some(bed) = Bed::new() else { return };
    is_left_alone(&bed, Bed::kill_supervisor, Bed::start);
}

#[test]
fn two_mounts_of_one_supervisor_that_had_the_same_number_stay_apart() {
    let Some(bed) = Bed::new() else { return };
    let broken = bed.path("broken");
    let (first, second) = (bed.spec("first"), bed.script("second", &bindfs_unless(&broken)));
    let at_rest = |spec, restarts: u64| {
        until("it is started again and at rest", || {
            let now = bed.status(spec);
            now.restarts == restarts && now.condition != Condition::Busy && now.pid.is_some()
        });
    };
    until_played(|_| {
        bed.mount(&first).unwrap();
        bed.mount(&second).unwrap();
        let number = number_at(&first.target).unwrap();
        let below = Below::new(&bed, number);
        // A place that cannot be repaired keeps the number on the first one's record.
        let stage = first.target.display();
        let container = Container::new(&bed, &format!("mount -t tmpfs cache {stage}/sub"));
        kill(bed.pid(&first));
        at_rest(&first, 1);
        assert!(!bed.status(&first).unhealed.is_empty(), "{}", bed.log());
        drop(container);
        kill(bed.pid(&second));
        at_rest(&second, 1);
        drop(below);
        if number_at(&second.target) == Some(number) {
            return Some(());
        }
        for spec in [&first, &second] {
            bed.client().unmount(&spec.target, PATIENCE).unwrap();
        }
        None
    });
    // The second one dies, and cannot be started again: only the first could heal it.
    std::fs::write(&broken, "").unwrap();
    kill(bed.pid(&second));
    until("the second is dead", || bed.status(&second).condition == Condition::Dead);
    let dead = line_at(&second.target).unwrap();
    kill(bed.pid(&first));
    at_rest(&first, 2);
    assert_eq!(line_at(&second.target).unwrap(), dead, "{}", bed.log());
    std::fs::remove_file(&broken).unwrap();
    until("the second is healed by itself", || holds(&second.target.join("file"), "hello"));
    for spec in [&first, &second] {
        until("it is at rest", || bed.status(spec).condition == Condition::Serving);
        bed.client().unmount(&spec.target, PATIENCE).unwrap();
    }
    bed.assert_clean();
}

#[test]
fn a_mount_that_cannot_be_proved_to_be_the_recorded_one_is_left_alone_and_reported() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let (helper, line) = (bed.pid(&spec), line_at(&spec.target).unwrap());
    bed.kill_supervisor();
    // As if the kernel's list of connections had been mounted anew meanwhile.
    let record = std::fs::read_dir(bed.path("state/mounts")).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(record.path()).unwrap();
    std::fs::write(record.path(), text.replace("\"inode\": ", "\"inode\": 1")).unwrap();
    bed.start();
    let is_unproved = || bed.status(&spec).condition == Condition::Unproved;
    until("it is reported", is_unproved);
    assert!(holds(&spec.target.join("file"), "hello"));
    assert_eq!(bed.pid(&spec), helper);
    let refusals = || {
        let refused = [bed.client().unmount(&spec.target, PATIENCE), bed.mount(&spec)];
        refused.into_iter().for_each(|refused| {
            let error = refused.unwrap_err();
            assert_eq!(error.kind, ErrorKind::FailedPrecondition, "{error}");
            assert!(error.message.contains("nothing proves"), "{error}");
        });
    };
    refusals();
    kill(helper);
    until("its helper's end is noticed", || is_unproved() && bed.status(&spec).pid.is_none());
    refusals();
    assert_eq!(line_at(&spec.target).unwrap(), line);
    assert_eq!(bed.log().matches("is left alone").count(), 1, "{}", bed.log());
    sh(&format!("umount {}", spec.target.display()));
    bed.mount(&spec).unwrap();
    assert!(holds(&spec.target.join("file"), "hello"));
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    bed.assert_clean();
}

#[test]
fn a_helper_that_outlives_its_mount_is_ended_while_a_stranger_has_the_number() {
    let Some(bed) = Bed::new() else { return };
    let stranger = until_played(|time| {
        // Goes on when what it started has lost its mount.
        let spec = bed.script(&format!("a-{time}"), "bindfs -f $1 $2; exec sleep 4242");
        bed.mount(&spec).unwrap();
        let (helper, mut below) =
            (bed.pid(&spec), Below::new(&bed, number_at(&spec.target).unwrap()));
        sh(&format!("umount {}", spec.target.display()));
        let stranger = below.stranger();
        drop(below);
        let line = stranger.as_ref().map(Stranger::line);
        assert!(Path::new(&format!("/proc/{helper}")).exists());
        bed.client().unmount(&spec.target, PATIENCE).unwrap();
        let left = bed.client().list().unwrap();
        assert!(left.is_empty(), "{left:?}");
        until("its helper has ended", || !Path::new(&format!("/proc/{helper}")).exists());
        assert_eq!(stranger.as_ref().map(Stranger::line), line);
        stranger
    });
    drop(stranger);
    bed.assert_clean();
}
