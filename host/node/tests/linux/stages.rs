//! A whole stage: the plan that a disk backend makes.

use wharf_core::ErrorKind;
use wharf_core::ports::{Call, CallSecrets, Node, PlanRun, RemovePath};
use wharf_core::types::VolumeId;

use crate::bed::{
    Bed, DRIVER, assert_kind, check, find, forever, format, format_with, mount, said, sh, stage,
};

fn stage_twice(fs_type: &str) {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 400);
    assert_eq!(
        bed.run(stage("s1", fs_type), "plugins/d1/globalmount").unwrap(),
        Some(device.clone())
    );
    std::fs::write(bed.path("plugins/d1/globalmount/data"), "kept").unwrap();
    let before = bed.mounts();
    assert_eq!(before.len(), 1);
    assert!(
        bed.options_of("plugins/d1/globalmount").contains("noatime")
            && bed.options_of("plugins/d1/globalmount").contains("nosuid")
    );
    for _ in 0..2 {
        assert_eq!(
            bed.run(stage("s1", fs_type), "plugins/d1/globalmount").unwrap(),
            Some(device.clone())
        );
        assert_eq!(bed.mounts(), before);
    }
    bed.node().unmount(&forever(), &bed.path("plugins/d1/globalmount"), RemovePath::No).unwrap();
    assert!(bed.mounts().is_empty());
    bed.run(stage("s1", fs_type), "plugins/d1/globalmount").unwrap();
    assert_eq!(std::fs::read_to_string(bed.path("plugins/d1/globalmount/data")).unwrap(), "kept");
    assert!(
        !bed.root().join("state/formats").read_dir().is_ok_and(|mut files| files.next().is_some())
    );
}

#[test]
fn a_blank_disk_becomes_ext4_once_and_keeps_its_data() {
    stage_twice("ext4");
}

#[test]
fn a_blank_disk_becomes_xfs_once_and_keeps_its_data() {
    stage_twice("xfs");
}

#[test]
fn a_blank_disk_becomes_ext3_once_and_keeps_its_data() {
    stage_twice("ext3");
}

#[test]
fn a_staged_volume_is_found_staged_without_starting_a_program() {
    let Some(mut bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    bed.options.program_path = vec!["/nonexistent".into()];
    bed.run(stage("s1", "ext4"), "d1").unwrap();
}

#[test]
fn two_volumes_are_staged_at_once() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.disk("s2", 400);
    let node = bed.node();
    let policy = bed.policy();
    let roots = bed.options.roots.clone();
    let run = |serial: &str, fs_type: &str| {
        let plan = wharf_core::plan::Plan { steps: stage(serial, fs_type), summary: String::new() };
        let run = PlanRun {
            plan: &plan,
            policy: &policy,
            driver: DRIVER,
            volume: &VolumeId::new(serial),
            destination: &roots[0].join("deep/er").join(serial),
            staged: None,
            secrets: CallSecrets::NONE,
        };
        node.run(&forever(), &run)
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| run("s1", "ext4"));
        let second = scope.spawn(|| run("s2", "xfs"));
        let again = scope.spawn(|| run("s1", "ext4"));
        for result in [first, second, again] {
            result.join().unwrap().unwrap();
        }
    });
    assert_eq!(bed.mounts().len(), 2);
}

#[test]
fn a_mount_of_another_device_on_the_path_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.disk("s2", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    let before = bed.mounts();
    assert_kind(bed.run(stage("s2", "ext4"), "d1"), ErrorKind::FailedPrecondition, "mounted on it");
    assert_eq!(bed.mounts(), before);
}

#[test]
fn a_writable_mount_is_not_taken_for_a_read_only_one() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    assert_kind(
        bed.run(vec![find("s1"), mount("ext4", &["ro"], false)], "d1"),
        ErrorKind::AlreadyExists,
        "read-only was asked for",
    );
    bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::Yes).unwrap();
    bed.run(vec![find("s1"), mount("ext4", &[], true)], "d1").unwrap();
    assert!(bed.options_of("d1").starts_with("ro"));
    bed.run(vec![find("s1"), mount("ext4", &[], true)], "d1").unwrap();
    assert_kind(
        bed.run(vec![find("s1"), mount("ext4", &[], false)], "d1"),
        ErrorKind::AlreadyExists,
        "writable was asked for",
    );
}

#[test]
fn propagation_is_set_also_on_a_mount_that_a_killed_process_left_without_it() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let is_shared = || bed.mounts()[0].contains(" shared:");
    bed.run(vec![find("s1"), format("ext4"), mount("ext4", &[], false)], "d1").unwrap();
    sh(&format!("mount --make-private {}", bed.path("d1").display()));
    assert!(!is_shared());
    bed.run(vec![find("s1"), mount("ext4", &["shared"], false)], "d1").unwrap();
    assert!(is_shared());
}

#[test]
fn arguments_reach_mkfs_one_by_one() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    bed.run(vec![find("s1"), format_with("ext4", &["-F", "-m0", "-L", "two words"])], "d1")
        .unwrap();
    assert_eq!(said(&sh(&format!("blkid -p -s LABEL -o value {}", device.display()))), "two words");
    assert!(bed.tree("kubelet").len() == 1, "no path is made for a plan that mounts nothing");
}

#[test]
fn a_plan_with_one_bad_step_does_nothing_at_all() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    let good = || vec![find("s1"), format("ext4"), check("ext4")];
    for (bad, kind) in [
        (mount("ext4", &["logdev=/dev/vda"], false), ErrorKind::InvalidArgument),
        (mount("ext4", &["errors=panic"], false), ErrorKind::InvalidArgument),
        (format_with("ext4", &["-d", "/etc"]), ErrorKind::PermissionDenied),
        (format("btrfs"), ErrorKind::Unsupported),
        (format("ntfs"), ErrorKind::PermissionDenied),
    ] {
        let steps = good().into_iter().chain([bad]).collect();
        assert_kind(bed.run(steps, "d1"), kind, "");
    }
    assert_eq!(said(&sh(&format!("blkid -p {} || true", device.display()))), "");
    assert!(bed.mounts().is_empty());
}

#[test]
fn a_cancelled_call_stops_before_the_next_step() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let call = Call::until(std::time::Duration::MAX);
    call.cancel();
    let plan = wharf_core::plan::Plan { steps: stage("s1", "ext4"), summary: String::new() };
    let error = bed.run_plan(&call, &plan, "d-1", &bed.path("d1"), None).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Aborted);
    assert!(bed.mounts().is_empty() && bed.tree("kubelet").len() == 1);
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    let Some(mut bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let programs = bed.root().join("programs");
    std::fs::create_dir(&programs).unwrap();
    std::os::unix::fs::symlink("/usr/sbin/blkid", programs.join("blkid")).unwrap();
    bed.options.program_path = vec![programs];
    assert_kind(bed.run(stage("s1", "xfs"), "d1"), ErrorKind::FailedPrecondition, "xfsprogs");
    assert_kind(bed.run(stage("s1", "ext4"), "d1"), ErrorKind::FailedPrecondition, "e2fsprogs");
}

#[test]
fn destinations_outside_of_the_roots_or_behind_links_are_refused() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let outside = bed.root().join("granted");
    std::fs::create_dir_all(outside.join("b/c")).unwrap();
    bed.run(vec![find("s1"), format("ext4")], "unused").unwrap();
    for depth in 0..4 {
        let components = ["a", "b", "c", "target"];
        let at = bed.path(&components[..=depth].join("/"));
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&outside, &at).unwrap();
        assert_kind(
            bed.run(vec![find("s1"), mount("ext4", &[], false)], "a/b/c/target"),
            ErrorKind::FailedPrecondition,
            "symbolic link",
        );
        assert_eq!(bed.mounts(), Vec::<String>::new());
        std::fs::remove_file(&at).unwrap();
    }
    assert_kind(bed.run(stage("s1", "ext4"), "../granted/x"), ErrorKind::InvalidArgument, "..");
    assert_kind(
        bed.run(stage("s1", "ext4"), "/etc/wharf-must-not-exist"),
        ErrorKind::PermissionDenied,
        "not under",
    );
}

#[test]
fn paths_with_blanks_and_other_odd_bytes_are_matched_exactly() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let odd = "pv 1\\x#ü/mount";
    bed.run(stage("s1", "ext4"), odd).unwrap();
    assert!(bed.node().is_mounted(&bed.path(odd)).unwrap());
    assert!(!bed.node().is_mounted(&bed.path("pv 1\\x#ü/moun")).unwrap());
    bed.run(stage("s1", "ext4"), odd).unwrap();
    bed.node().unmount(&forever(), &bed.path(odd), RemovePath::Yes).unwrap();
    assert!(!bed.path(odd).exists());
}
