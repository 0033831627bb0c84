//! Disks that hold a file system already, made by whomever: they go on.

use std::path::Path;

use wharf_core::ErrorKind;
use wharf_core::plan::{Format, Plan, Step};
use wharf_core::ports::{Node, RemovePath};

use crate::bed::{
    Bed, assert_kind, check, find, forever, format, format_with, grow, mount, mountinfo, said, sh,
    stage,
};

fn shown_as(bed: &Bed, path: &str) -> String {
    let path = bed.path(path).display().to_string();
    let line = mountinfo()
        .lines()
        .rfind(|line| line.split(' ').nth(4) == Some(&path))
        .map(|line| line.split(" - ").nth(1).unwrap().split(' ').next().unwrap().to_owned());
    line.unwrap_or_default()
}

/// What a backend plans where nobody named a file system.
fn unnamed(serial: &str) -> Vec<Step> {
    vec![find(serial), check(""), format("ext4"), mount("", &["noatime"], false), grow("")]
}

fn prepare(bed: &Bed, mkfs: &str) {
    let device = bed.disk("s1", 400);
    sh(&format!("{mkfs} {}", device.display()));
}

#[test]
fn an_older_file_system_of_the_family_goes_on_named_or_not() {
    for (mkfs, fs_type) in [
        ("mkfs.ext3 -qF", "ext3"),
        ("mkfs.ext2 -qF", "ext4"),
        (
            "mkfs.ext4 -qF -O ^extent,^64bit,^flex_bg,^huge_file,^dir_nlink,^extra_isize,\
             ^metadata_csum",
            "ext3",
        ),
    ] {
        let Some(bed) = Bed::new() else { return };
        prepare(&bed, mkfs);
        for _ in 0..2 {
            bed.run(stage("s1", "ext4"), "d1").unwrap();
            assert_eq!(shown_as(&bed, "d1"), "ext4", "{mkfs}");
            std::fs::write(bed.path("d1/data"), "x").unwrap();
        }
        bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
        bed.run(unnamed("s1"), "d1").unwrap();
        assert_eq!(shown_as(&bed, "d1"), fs_type, "{mkfs}");
        assert_eq!(std::fs::read_to_string(bed.path("d1/data")).unwrap(), "x");
    }
}

#[test]
fn xfs_goes_on_where_nobody_named_a_file_system() {
    let Some(bed) = Bed::new() else { return };
    prepare(&bed, "mkfs.xfs -qf");
    for _ in 0..2 {
        bed.run(unnamed("s1"), "d1").unwrap();
    }
    assert_eq!(shown_as(&bed, "d1"), "xfs");
}

#[test]
fn a_blank_disk_gets_what_is_meant_by_default() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    for _ in 0..2 {
        bed.run(unnamed("s1"), "d1").unwrap();
        assert_eq!(shown_as(&bed, "d1"), "ext4");
    }
}

#[test]
fn what_we_formatted_with_fewer_features_is_staged_again() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let features = "^extent,^64bit,^flex_bg,^huge_file,^dir_nlink,^extra_isize,^metadata_csum";
    let steps = || {
        vec![
            find("s1"),
            check("ext4"),
            format_with("ext4", &["-O", features]),
            mount("ext4", &[], false),
        ]
    };
    for _ in 0..2 {
        bed.run(steps(), "d1").unwrap();
        bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
    }
}

#[test]
fn another_family_is_an_error_and_stays_as_it_is() {
    for (mkfs, asked) in [("mkfs.xfs -qf", "ext4"), ("mkfs.ext4 -qF", "xfs")] {
        let Some(bed) = Bed::new() else { return };
        prepare(&bed, mkfs);
        assert_kind(
            bed.run(stage("s1", asked), "d1"),
            ErrorKind::FailedPrecondition,
            "was asked for",
        );
        assert!(bed.mounts().is_empty());
        bed.run(unnamed("s1"), "d1").unwrap();
    }
}

#[test]
fn what_is_not_granted_is_neither_mounted_checked_nor_grown_unnamed() {
    let Some(bed) = Bed::new() else { return };
    prepare(&bed, "mkfs.xfs -qf");
    let run = |steps: Vec<Step>, filesystems: &[&str]| {
        let mut policy = bed.policy();
        policy.filesystems = filesystems.iter().map(|name| (*name).to_owned()).collect();
        let plan = Plan { steps, summary: String::new() };
        bed.run_granted(&policy, &plan, "d1")
    };
    let mounted = || vec![find("s1"), mount("", &[], false)];
    assert_kind(run(mounted(), &["ext4"]), ErrorKind::PermissionDenied, "xfs");
    run(mounted(), &["xfs"]).unwrap();
    assert_kind(run(vec![grow("")], &["ext4"]), ErrorKind::PermissionDenied, "xfs");
    bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
    let device = bed.disk("s2", 64);
    sh(&format!("mkfs.ext4 -qF {}", device.display()));
    let checked = run(vec![find("s2"), check("")], &["xfs"]);
    assert_kind(checked, ErrorKind::PermissionDenied, "ext4");
}

#[test]
fn a_feature_that_e2fsck_does_not_know_is_no_damage() {
    let Some(bed) = Bed::new() else { return };
    prepare(&bed, "mkfs.ext4 -qF -O ^metadata_csum");
    let device = bed.root().join("links/virtio-s1").read_link().unwrap();
    // A compatible feature that nobody has: kernels mount it, programs refuse it.
    sh(&format!(
        "printf '\\100' | dd of={} bs=1 seek=$((1024+0x5f)) conv=notrunc,fsync 2>/dev/null",
        device.display()
    ));
    let refuses = sh(&format!("e2fsck -p {} || echo $?", device.display()));
    assert!(said(&refuses).ends_with('8') || said(&refuses).ends_with("12"), "{refuses:?}");
    for _ in 0..2 {
        bed.run(stage("s1", "ext4"), "d1").unwrap();
        bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
    }
}

/// A disk as a node leaves it that dies while it writes.
fn with_a_dirty_journal(bed: &Bed, fs_type: &str) {
    let device = bed.disk("s1", 400);
    let at = bed.root().join("granted/writer");
    std::fs::create_dir(&at).unwrap();
    let image = bed.image("copy");
    let freeze = if fs_type == "xfs" { "-f" } else { "" };
    sh(&format!(
        "mkfs.{fs_type} -q {force} {device}; mount {device} {at}; echo data > {at}/file; sync; \
         rm {at}/file; echo more > {at}/other; sync -f {at}/other; \
         dd if={device} of={image} bs=1M conv=sparse 2>/dev/null; umount {at}; \
         dd if={image} of={device} bs=1M conv=fsync 2>/dev/null",
        force = if freeze.is_empty() { "-F" } else { freeze },
        device = device.display(),
        at = at.display(),
        image = image.display()
    ));
}

fn digest(device: &Path) -> String {
    said(&sh(&format!("blockdev --flushbufs {0}; sha256sum < {0}", device.display())))
}

#[test]
fn reading_a_shared_disk_changes_no_byte_of_it() {
    for fs_type in ["ext4", "xfs"] {
        let Some(bed) = Bed::new() else { return };
        with_a_dirty_journal(&bed, fs_type);
        let device = bed.root().join("links/virtio-s1").read_link().unwrap();
        let before = digest(&device);
        let plan = Plan { steps: stage("s1", fs_type), summary: String::new() }.for_reading(true);
        bed.run(plan.steps.clone(), "d1").unwrap();
        assert!(bed.options_of("d1").contains("ro"));
        bed.run(plan.steps, "d1").unwrap();
        let _ = std::fs::read_dir(bed.path("d1")).map(Iterator::count);
        bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
        assert_eq!(digest(&device), before, "{fs_type}");
        // The test would notice: a mount that replays the journal does change it.
        bed.run(vec![find("s1"), mount(fs_type, &[], true)], "d1").unwrap();
        bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
        assert_ne!(digest(&device), before, "{fs_type}");
    }
}

#[test]
fn only_reading_a_blank_disk_leaves_it_blank() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    let before = digest(&device);
    let plan = Plan { steps: stage("s1", "ext4"), summary: String::new() };
    assert!(plan.steps.iter().any(|step| matches!(step, Step::Format(Format { .. }))));
    assert_kind(
        bed.run(plan.for_reading(false).steps, "d1"),
        ErrorKind::FailedPrecondition,
        "holds no file system",
    );
    assert_eq!(digest(&device), before);
}

#[test]
fn options_that_mount_8_takes_are_taken() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(vec![find("s1"), format("ext4")], "d1").unwrap();
    let flags = [
        "iversion,noiversion",
        "nouser",
        "nogroup",
        "noowner",
        "comment=x",
        "X-mount.mkdir",
        " discard , noatime",
    ];
    bed.run(vec![find("s1"), mount("ext4", &flags, false)], "d1").unwrap();
    assert!(bed.options_of("d1").contains("noatime"));
    for bad in ["errors=panic", "x=\"a,journal_path=/dev/vda,b\"", "journal_path=/dev/vda"] {
        assert_kind(
            bed.run(vec![find("s1"), mount("ext4", &[bad], false)], "d2"),
            ErrorKind::InvalidArgument,
            "",
        );
    }
}
