//! File systems of somebody else with the device number of a dead mount: the kernel gives a number
//! out again, the lowest free one, as soon as the last mount of a file system is gone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use wharf_core::ErrorKind;
use wharf_node::supervisor::{Condition, Spec};

use crate::bed::{
    Bed, Container, PATIENCE, bindfs_unless, holds, kill, mountinfo, sh, signal, until,
};

/// A mount that no supervisor knows.
struct Stranger {
    target: PathBuf,
    helper: Child,
}

impl Stranger {
    /// One that shows other data than the bed's.
    fn mount(bed: &Bed) -> Self {
        let (data, target) = (bed.path("other-data"), bed.target("stranger"));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("file"), "theirs").unwrap();
        let helper = Command::new("bindfs")
            .args(["-f".as_ref(), data.as_os_str(), target.as_os_str()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stranger = Self { target, helper };
        until("the stranger has mounted", || number_at(&stranger.target).is_some());
        stranger
    }

    /// Killed, and its mount left as it is.
    fn die(&mut self) {
        self.helper.kill().unwrap();
        self.helper.wait().unwrap();
    }

    /// Its line of the mount table.
    fn line(&self) -> String {
        line_at(&self.target).unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.target, rustix::mount::UnmountFlags::DETACH);
        let _ = self.helper.kill();
        let _ = self.helper.wait();
    }
}

/// Mounts with `mount` until that gets this number, which another test may be faster with.
fn with_number<T>(bed: &Bed, number: u32, mount: impl Fn() -> T, of: impl Fn(&T) -> u32) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut lower = Vec::new();
    while Instant::now() < deadline {
        // The next file system gets the lowest free number: lower ones are taken first.
        let filler = bed.target(&format!("filler-{}", lower.len()));
        sh(&format!("mount -t tmpfs filler {}", filler.display()));
        let lowest = number_at(&filler).unwrap();
        if lowest < number {
            lower.push(filler);
            continue;
        }
        sh(&format!("umount {}", filler.display()));
        if lowest > number {
            continue;
        }
        let mounted = mount();
        if of(&mounted) == number {
            lower.iter().for_each(|filler| sh(&format!("umount {}", filler.display())));
            return mounted;
        }
    }
    panic!("not within {PATIENCE:?}: a mount with the number {number}");
}

fn line_at(path: &Path) -> Option<String> {
    let path = path.to_str().unwrap();
    mountinfo().lines().find(|line| line.split(' ').nth(4) == Some(path)).map(str::to_owned)
}

fn number_at(path: &Path) -> Option<u32> {
    line_at(path)?.split(' ').nth(2)?.split_once(':')?.1.parse().ok()
}

/// A helper whose mount is gone while the supervisor does not look, and a stranger that got the
/// number and died too.
fn dead_stranger_in_place_of(bed: &Bed, spec: &Spec, helper: i32) -> Stranger {
    let number = number_at(&spec.target).unwrap();
    kill(helper);
    sh(&format!("umount -l {}", spec.target.display()));
    let mount = || Stranger::mount(bed);
    let mut stranger = with_number(bed, number, mount, |it| number_at(&it.target).unwrap());
    assert!(holds(&stranger.target.join("file"), "theirs"));
    stranger.die();
    stranger
}

#[test]
fn a_strangers_dead_mount_with_the_number_of_a_dead_one_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let (helper, supervisor) = (bed.pid(&spec), bed.supervisor());
    signal(supervisor, Signal::STOP);
    let stranger = dead_stranger_in_place_of(&bed, &spec, helper);
    let before = stranger.line();
    signal(supervisor, Signal::CONT);
    until("the mount that is gone is forgotten", || bed.client().list().unwrap().is_empty());
    assert_eq!(stranger.line(), before);
    assert!(!bed.log().contains("repaired a place"), "{}", bed.log());
    drop(stranger);
    bed.assert_clean();
}

#[test]
fn a_new_supervisor_leaves_a_strangers_dead_mount_with_a_number_of_its_records_alone() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("a");
    bed.mount(&spec).unwrap();
    let helper = bed.pid(&spec);
    bed.kill_supervisor();
    let stranger = dead_stranger_in_place_of(&bed, &spec, helper);
    let before = stranger.line();
    bed.start();
    until("the mount that is gone is forgotten", || bed.client().list().unwrap().is_empty());
    assert_eq!(stranger.line(), before);
    assert!(!bed.log().contains("repaired a place"), "{}", bed.log());
    drop(stranger);
    bed.assert_clean();
}

#[test]
fn two_mounts_of_one_supervisor_that_had_the_same_number_stay_apart() {
    let Some(bed) = Bed::new() else { return };
    let broken = bed.path("broken");
    let (first, second) = (bed.spec("first"), bed.script("second", &bindfs_unless(&broken)));
    bed.mount(&first).unwrap();
    bed.mount(&second).unwrap();
    let number = number_at(&first.target).unwrap();
    // A place that cannot be repaired keeps the number on the first one's record.
    let stage = first.target.display();
    let container = Container::new(&bed, &format!("mount -t tmpfs cache {stage}/sub"));
    kill(bed.pid(&first));
    until("the place is reported", || !bed.status(&first).unhealed.is_empty());
    drop(container);
    let restart = || {
        let before = bed.status(&second).restarts;
        kill(bed.pid(&second));
        until("the second is healed", || {
            let now = bed.status(&second);
            now.restarts > before && now.condition == Condition::Serving
        });
    };
    with_number(&bed, number, restart, |()| number_at(&second.target).unwrap());
    // It dies, and cannot be started again: only the first could heal it.
    let before = bed.status(&first);
    std::fs::write(&broken, "").unwrap();
    kill(bed.pid(&second));
    until("the second is dead", || bed.status(&second).condition == Condition::Dead);
    let dead = line_at(&second.target).unwrap();
    kill(before.pid.unwrap());
    until("the first is healed", || {
        let now = bed.status(&first);
        now.restarts > before.restarts && now.condition == Condition::Serving
    });
    assert_eq!(bed.status(&first).healed, before.healed + 1, "{}", bed.log());
    assert_eq!(line_at(&second.target).unwrap(), dead);
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
