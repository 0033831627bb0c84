//! Checking and growing.

use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::thread::CapabilitySet;
use wharf_core::ErrorKind;
use wharf_core::plan::Step;
use wharf_core::ports::{Node, RemovePath};

use crate::bed::{Bed, assert_kind, check, find, forever, format, grow, mount, sh, stage};

/// How a file system is used while its device grows.
#[derive(Clone, Copy, PartialEq)]
enum Grown {
    Mounted,
    Detached,
}

fn grows(fs_type: &str, grown: Grown) {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 400);
    bed.run(stage("s1", fs_type), "d1").unwrap();
    let before = total(&bed);
    if grown == Grown::Detached {
        bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
    }
    double(&bed, &device);
    assert_eq!(bed.node().device_size(&device).unwrap(), Some(800 << 20));
    match grown {
        Grown::Mounted => {
            bed.run(vec![grow(fs_type)], "d1").unwrap();
            assert_eq!(bed.node().device_size(&bed.path("d1")).unwrap(), Some(800 << 20));
        }
        Grown::Detached => drop(bed.run(mounted_and_grown(fs_type), "d1").unwrap()),
    }
    assert!(total(&bed) > before + (300 << 20), "{before} -> {}", total(&bed));
}

fn mounted_and_grown(fs_type: &str) -> Vec<Step> {
    vec![find("s1"), mount(fs_type, &[], false), grow(fs_type)]
}

fn total(bed: &Bed) -> u64 {
    bed.usage("d1").total_bytes
}

/// 400 MiB become 800.
fn double(bed: &Bed, device: &Path) {
    sh(&format!(
        "truncate -s 800M {}; losetup --set-capacity {}",
        bed.image("s1").display(),
        device.display()
    ));
}

/// The kernel wants this capability (24) for growing a mounted ext4; some sandboxes take it even
/// from root.
fn has_sys_resource() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() & (1 << 24) != 0
}

#[test]
fn a_mounted_ext4_grows_with_its_device() {
    if !has_sys_resource() {
        eprintln!("skipped: growing a mounted ext4 needs CAP_SYS_RESOURCE");
        return;
    }
    grows("ext4", Grown::Mounted);
}

#[test]
fn a_mounted_xfs_grows_with_its_device() {
    grows("xfs", Grown::Mounted);
}

#[test]
fn what_grew_while_it_was_detached_is_as_large_as_its_device_once_it_is_mounted() {
    grows("ext4", Grown::Detached);
    grows("xfs", Grown::Detached);
}

#[test]
fn without_the_capability_a_mounted_ext4_is_left_alone_and_grows_before_its_next_mount() {
    std::thread::spawn(|| {
        // Of this thread alone.
        let mut has = rustix::thread::capabilities(None).unwrap();
        has.effective.remove(CapabilitySet::SYS_RESOURCE);
        rustix::thread::set_capabilities(None, has).unwrap();
        let Some(bed) = Bed::new() else { return };
        let device = bed.disk("s1", 400);
        bed.run(stage("s1", "ext4"), "d1").unwrap();
        let before = total(&bed);
        double(&bed, &device);
        let error = assert_kind(
            bed.run(vec![grow("ext4")], "d1"),
            ErrorKind::FailedPrecondition,
            "may not grow it there",
        );
        assert!(error.hint.unwrap().contains("CAP_SYS_RESOURCE"));
        assert_eq!(total(&bed), before);
        bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
        bed.run(mounted_and_grown("ext4"), "d1").unwrap();
        assert!(total(&bed) > before + (300 << 20));
    })
    .join()
    .unwrap();
}

#[test]
fn an_unmounted_ext4_is_checked_and_grows_without_a_mount() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 400);
    bed.run(vec![find("s1"), format("ext4")], "d1").unwrap();
    double(&bed, &device);
    bed.run(vec![find("s1"), grow("")], "d1").unwrap();
    bed.run(vec![find("s1"), mount("ext4", &[], false)], "d1").unwrap();
    assert!(total(&bed) > 700 << 20);
}

#[test]
fn xfs_that_is_not_mounted_cannot_grow() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 400);
    bed.run(vec![find("s1"), format("xfs"), grow("xfs")], "d1").unwrap();
    sh(&format!(
        "truncate -s 800M {}; losetup --set-capacity {}",
        bed.image("s1").display(),
        device.display()
    ));
    assert_kind(
        bed.run(vec![find("s1"), grow("xfs")], "d1"),
        ErrorKind::FailedPrecondition,
        "not mounted",
    );
}

#[test]
fn nothing_is_started_when_there_is_nothing_to_grow() {
    let Some(mut bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.disk("s2", 400);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    bed.run(stage("s2", "xfs"), "d2").unwrap();
    bed.options.program_path = vec!["/nonexistent".into()];
    bed.run(vec![grow("ext4")], "d1").unwrap();
    bed.run(vec![grow("xfs")], "d2").unwrap();
}

#[test]
fn a_blank_device_has_nothing_to_grow_and_a_plain_directory_no_device() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    assert_kind(
        bed.run(vec![find("s1"), grow("ext4")], "d1"),
        ErrorKind::FailedPrecondition,
        "no file system",
    );
    std::fs::create_dir(bed.path("plain")).unwrap();
    assert_kind(
        bed.run(vec![grow("ext4")], "plain"),
        ErrorKind::FailedPrecondition,
        "no block device",
    );
}

#[test]
fn errors_that_a_person_must_decide_about_stop_the_stage() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    bed.run(vec![find("s1"), format("ext4")], "d1").unwrap();
    sh(&format!("debugfs -w -R 'clri <2>' {0}; debugfs -w -R 'ssv state 2' {0}", device.display()));
    let error = assert_kind(
        bed.run(vec![find("s1"), check("ext4"), mount("ext4", &[], false)], "d1"),
        ErrorKind::FailedPrecondition,
        "e2fsck",
    );
    assert!(error.hint.unwrap().contains("snapshot"));
    assert!(bed.mounts().is_empty());
}

#[test]
fn small_errors_are_repaired_before_the_mount() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    bed.run(vec![find("s1"), format("ext4")], "d1").unwrap();
    sh(&format!(
        "debugfs -w -R 'ssv free_blocks_count 1' {0}; debugfs -w -R 'ssv state 0' {0}",
        device.display()
    ));
    bed.run(vec![find("s1"), check("ext4"), mount("ext4", &[], false)], "d1").unwrap();
    sh(&format!("umount {}; e2fsck -fn {}", bed.path("d1").display(), device.display()));
}

#[test]
fn blank_and_mounted_devices_are_not_checked() {
    let Some(mut bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.disk("s2", 64);
    bed.run(stage("s2", "ext4"), "d2").unwrap();
    bed.options.program_path = vec!["/nonexistent".into()];
    bed.run(vec![find("s1"), check("ext4")], "d1").unwrap();
    bed.run(vec![find("s2"), check("ext4")], "d2").unwrap();
}

#[test]
fn space_is_reported_for_file_systems_and_devices_and_for_nothing_else() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    let usage = bed.usage("d1");
    assert!(
        usage.total_bytes > 40 << 20
            && usage.available_bytes <= usage.total_bytes
            && usage.free_inodes < usage.total_inodes
    );
    assert_eq!(bed.node().device_size(&bed.path("d1")).unwrap(), Some(64 << 20));
    std::fs::create_dir(bed.path("plain")).unwrap();
    for path in ["plain", "missing", "d1/lost+found"] {
        assert_eq!(
            bed.node().stats(&forever(), &bed.path(path)).unwrap_err().kind,
            ErrorKind::NotFound,
            "{path}"
        );
        assert_eq!(bed.node().device_size(&bed.path(path)).unwrap(), None, "{path}");
    }
    symlink(bed.path("d1"), bed.path("link")).unwrap();
    assert!(bed.node().stats(&forever(), &bed.path("link")).is_err());
}
