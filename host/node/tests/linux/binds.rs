//! Publishing: binds of what is staged, of granted directories, and raw devices.

use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};

use wharf_core::ErrorKind;
use wharf_core::ports::{Node, RemovePath};

use crate::bed::{self, Bed, assert_kind, bind, block, directory, find, forever, stage};

fn staged(bed: &Bed) {
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    std::fs::write(bed.path("staged/data"), "here").unwrap();
}

#[test]
fn what_is_staged_shows_at_the_target_as_often_as_it_is_published() {
    let Some(bed) = Bed::new() else { return };
    staged(&bed);
    for _ in 0..3 {
        bed.run_staged(vec![bind(false)], "pods/a/mount", Some("staged")).unwrap();
    }
    bed.run_staged(vec![bind(true)], "pods/b/mount", Some("staged")).unwrap();
    assert_eq!(bed.mounts().len(), 3);
    assert_eq!(std::fs::read_to_string(bed.path("pods/b/mount/data")).unwrap(), "here");
    assert!(std::fs::write(bed.path("pods/b/mount/data"), "x").is_err());
    assert!(std::fs::write(bed.path("pods/a/mount/data"), "x").is_ok());
    assert!(bed.options_of("pods/b/mount").contains("nosuid"), "a bind keeps what its source has");
}

#[test]
fn a_read_only_bind_that_a_killed_process_left_writable_becomes_read_only() {
    let Some(bed) = Bed::new() else { return };
    staged(&bed);
    bed.run_staged(vec![bind(false)], "pods/a", Some("staged")).unwrap();
    bed.run_staged(vec![bind(true)], "pods/a", Some("staged")).unwrap();
    assert_eq!(bed.mounts().len(), 2);
    assert!(bed.options_of("pods/a").starts_with("ro"));
    assert_kind(
        bed.run_staged(vec![bind(false)], "pods/a", Some("staged")),
        ErrorKind::AlreadyExists,
        "writable",
    );
}

#[test]
fn a_plain_directory_is_never_shown_in_place_of_a_volume() {
    let Some(bed) = Bed::new() else { return };
    std::fs::create_dir(bed.path("staged")).unwrap();
    assert_kind(
        bed.run_staged(vec![bind(false)], "pods/a", Some("staged")),
        ErrorKind::FailedPrecondition,
        "nothing is staged",
    );
    assert_kind(
        bed.run_staged(vec![bind(false)], "pods/a", Some("missing")),
        ErrorKind::FailedPrecondition,
        "nothing is staged",
    );
    assert_kind(
        bed.run_staged(vec![bind(false)], "pods/a", None),
        ErrorKind::FailedPrecondition,
        "no staging path",
    );
    assert!(!bed.path("pods").exists());
}

#[test]
fn a_staging_path_behind_a_link_is_refused() {
    let Some(bed) = Bed::new() else { return };
    staged(&bed);
    symlink(bed.path("staged"), bed.path("link")).unwrap();
    assert!(bed.run_staged(vec![bind(false)], "pods/a", Some("link")).is_err());
    symlink(bed.path(""), bed.path("loop")).unwrap();
    assert_kind(
        bed.run_staged(vec![bind(false)], "pods/a", Some("loop/staged")),
        ErrorKind::FailedPrecondition,
        "symbolic link",
    );
}

#[test]
fn another_volume_at_the_target_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    staged(&bed);
    bed.disk("s2", 64);
    bed.run(stage("s2", "ext4"), "other").unwrap();
    bed.run_staged(vec![bind(false)], "pods/a", Some("staged")).unwrap();
    assert_kind(
        bed.run_staged(vec![bind(false)], "pods/a", Some("other")),
        ErrorKind::FailedPrecondition,
        "mounted on it",
    );
}

#[test]
fn granted_directories_are_made_with_owner_and_mode_and_shown() {
    let Some(bed) = Bed::new() else { return };
    let make = |mode| bed::make("a/b", mode, Some(1000), Some(1001));
    for _ in 0..2 {
        bed.run(vec![make(0o2775), directory("a/b")], "pods/a").unwrap();
    }
    let metadata = bed.root().join("granted/a/b").metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o2775, 1000, 1001));
    assert_eq!(bed.mounts().len(), 1);
    std::fs::write(bed.path("pods/a/file"), "x").unwrap();
    assert!(bed.root().join("granted/a/b/file").exists());
    bed.run(vec![make(0o2775), directory("a")], "pods/a").unwrap_err();
    assert_kind(bed.run(vec![make(0o10_0000)], "pods/a"), ErrorKind::InvalidArgument, "mode");
}

#[test]
fn nothing_outside_of_a_granted_directory_is_made_or_shown() {
    let Some(bed) = Bed::new() else { return };
    let outside = bed.root().join("images");
    symlink(&outside, bed.root().join("granted/link")).unwrap();
    for path in ["../images/x", "/etc", "a/../../images", "link/x", "link", ".", "./"] {
        let make = bed::make(path, 0o755, None, None);
        assert!(bed.run(vec![make], "pods/a").is_err(), "{path}");
        assert!(bed.run(vec![directory(path)], "pods/a").is_err(), "{path}");
    }
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 0);
    assert!(bed.mounts().is_empty() && !bed.path("pods").exists());
}

#[test]
fn a_raw_device_is_put_on_a_file_and_taken_away_with_it() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    for _ in 0..3 {
        bed.run(vec![find("s1"), block(false)], "pods/a/dev").unwrap();
    }
    assert_eq!(bed.mounts().len(), 1);
    let metadata = bed.path("pods/a/dev").metadata().unwrap();
    assert!(metadata.file_type().is_block_device());
    assert_eq!(metadata.rdev(), device.metadata().unwrap().rdev());
    assert_eq!(bed.node().device_size(&bed.path("pods/a/dev")).unwrap(), Some(64 << 20));
    assert_eq!(bed.usage("pods/a/dev").total_bytes, 64 << 20);
    bed.disk("s2", 64);
    assert_kind(
        bed.run(vec![find("s2"), block(false)], "pods/a/dev"),
        ErrorKind::FailedPrecondition,
        "mounted on it",
    );
    bed.node().unmount(&forever(), &bed.path("pods/a/dev"), RemovePath::Yes).unwrap();
    assert!(!bed.path("pods/a/dev").exists() && bed.path("pods/a").exists());
    assert!(device.metadata().unwrap().file_type().is_block_device());
}

#[test]
fn a_raw_device_is_not_put_on_a_directory_or_on_a_link() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    std::fs::create_dir(bed.path("directory")).unwrap();
    assert_kind(
        bed.run(vec![find("s1"), block(false)], "directory"),
        ErrorKind::FailedPrecondition,
        "not a file",
    );
    let victim = bed.root().join("victim");
    std::fs::write(&victim, "").unwrap();
    symlink(&victim, bed.path("link")).unwrap();
    assert_kind(
        bed.run(vec![find("s1"), block(true)], "link"),
        ErrorKind::FailedPrecondition,
        "symbolic link",
    );
    assert!(bed.mounts().is_empty());
}

#[test]
fn kubelets_directory_may_itself_be_reached_through_a_link() {
    let Some(mut bed) = Bed::new() else { return };
    let link = bed.root().join("var-lib-kubelet");
    symlink(bed.path(""), &link).unwrap();
    bed.options.roots = vec![link.clone()];
    bed.disk("s1", 64);
    let plan = wharf_core::plan::Plan { steps: stage("s1", "ext4"), summary: String::new() };
    for _ in 0..2 {
        bed.run_plan(&forever(), &plan, "d-1", &link.join("d1"), None).unwrap();
    }
    assert!(
        bed.node().is_mounted(&link.join("d1")).unwrap()
            && bed.node().is_mounted(&bed.path("d1")).unwrap()
    );
    assert_eq!(bed.mounts().len(), 1);
    bed.node().unmount(&forever(), &link.join("d1"), RemovePath::Yes).unwrap();
    assert!(!bed.path("d1").exists());
}

#[test]
fn the_granted_directory_itself_keeps_its_mode_and_owner() {
    let Some(bed) = Bed::new() else { return };
    let before = bed.root().join("granted").metadata().unwrap();
    for path in ["", ".", "./."] {
        assert!(bed.run(vec![bed::make(path, 0o777, Some(7), Some(8))], "d").is_err(), "{path:?}");
    }
    let after = bed.root().join("granted").metadata().unwrap();
    assert_eq!(
        (before.mode(), before.uid(), before.gid()),
        (after.mode(), after.uid(), after.gid())
    );
}
