//! Taking mounts away, by path alone.

use std::os::unix::fs::symlink;

use wharf_core::ErrorKind;
use wharf_core::ports::{Node, Performer, RemovePath};

use crate::bed::{Bed, bind, find, forever, mount, sh, stage};

fn unmount(bed: &Bed, path: &str, remove: RemovePath) -> Result<(), wharf_core::Error> {
    bed.node().unmount(&forever(), &bed.path(path), remove)
}

#[test]
fn stacked_mounts_all_go_and_the_directory_with_them() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    let path = bed.path("d1").display().to_string();
    sh(&format!("mount -t tmpfs none {path}; mount -t tmpfs none {path}"));
    assert_eq!(bed.mounts().len(), 3);
    unmount(&bed, "d1", RemovePath::Yes).unwrap();
    assert!(bed.mounts().is_empty() && !bed.path("d1").exists());
}

#[test]
fn what_is_gone_already_is_fine() {
    let Some(bed) = Bed::new() else { return };
    for _ in 0..2 {
        unmount(&bed, "missing/deeper", RemovePath::Yes).unwrap();
    }
    std::fs::create_dir(bed.path("empty")).unwrap();
    unmount(&bed, "empty", RemovePath::No).unwrap();
    assert!(bed.path("empty").exists());
    unmount(&bed, "empty", RemovePath::Yes).unwrap();
    unmount(&bed, "empty", RemovePath::Yes).unwrap();
    assert!(!bed.path("empty").exists());
}

#[test]
fn other_mounts_with_the_same_beginning_stay() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.disk("s2", 64);
    bed.run(stage("s1", "ext4"), "pv-1").unwrap();
    bed.run(stage("s2", "ext4"), "pv-10").unwrap();
    unmount(&bed, "pv-1", RemovePath::Yes).unwrap();
    assert!(bed.node().is_mounted(&bed.path("pv-10")).unwrap());
    assert!(!bed.node().is_mounted(&bed.path("pv-1")).unwrap());
}

#[test]
fn a_mount_in_use_stays_and_its_user_is_named() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    let open = std::fs::File::create(bed.path("d1/open")).unwrap();
    let error = unmount(&bed, "d1", RemovePath::Yes).unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    assert!(error.message.contains(&format!("process {}", std::process::id())), "{error}");
    assert_eq!(bed.mounts().len(), 1);
    drop(open);
    unmount(&bed, "d1", RemovePath::Yes).unwrap();
}

#[test]
fn a_mount_with_another_one_below_it_names_that_one() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    std::fs::create_dir(bed.path("d1/sub")).unwrap();
    sh(&format!("mount -t tmpfs none {}", bed.path("d1/sub").display()));
    let error = unmount(&bed, "d1", RemovePath::No).unwrap_err();
    assert!(error.message.contains("d1/sub"), "{error}");
    assert_eq!(bed.mounts().len(), 2);
}

#[test]
fn a_link_is_neither_followed_nor_removed() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    symlink(bed.path("d1"), bed.path("link")).unwrap();
    assert!(unmount(&bed, "link", RemovePath::Yes).is_err());
    symlink(bed.path(""), bed.path("around")).unwrap();
    assert!(
        unmount(&bed, "around/d1", RemovePath::Yes).unwrap_err().message.contains("symbolic link")
    );
    assert_eq!(bed.mounts().len(), 1);
    assert!(bed.path("link").is_symlink());
}

#[test]
fn unmounting_one_target_keeps_the_stage_and_the_other_target() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    for target in ["pods/a", "pods/b"] {
        bed.run_staged(vec![bind(false)], target, Some("staged")).unwrap();
    }
    unmount(&bed, "pods/a", RemovePath::Yes).unwrap();
    assert!(
        bed.node().is_mounted(&bed.path("pods/b")).unwrap()
            && bed.node().is_mounted(&bed.path("staged")).unwrap()
    );
}

#[test]
fn a_volume_that_answers_only_errors_is_seen_and_unmounted() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 400);
    bed.run(stage("s1", "xfs"), "d1").unwrap();
    // As after a disk was pulled: everything on the mount answers EIO from now on.
    sh(&format!("xfs_io -x -c shutdown {}", bed.path("d1").display()));
    assert!(std::fs::read_dir(bed.path("d1")).is_err());
    assert!(bed.node().is_mounted(&bed.path("d1")).unwrap());
    unmount(&bed, "d1", RemovePath::Yes).unwrap();
    assert!(!bed.path("d1").exists());
    bed.run(vec![find("s1"), mount("xfs", &[], false)], "d1").unwrap();
}

#[test]
fn a_dead_fuse_mount_is_seen_does_not_hang_and_is_unmounted() {
    let Some(bed) = Bed::new() else { return };
    std::fs::create_dir(bed.path("fuse")).unwrap();
    let path = bed.path("fuse");
    // A FUSE connection that nobody serves; closing it makes the mount answer ENOTCONN for ever.
    let connection = std::fs::File::options().read(true).write(true).open("/dev/fuse").unwrap();
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0",
        std::os::fd::AsRawFd::as_raw_fd(&connection)
    );
    rustix::mount::mount(
        "dead",
        &path,
        "fuse",
        rustix::mount::MountFlags::empty(),
        std::ffi::CString::new(data).unwrap().as_c_str(),
    )
    .unwrap();
    assert!(bed.node().is_mounted(&path).unwrap());
    drop(connection);
    assert!(bed.node().is_mounted(&path).unwrap());
    let stats = bed.node().stats(&forever(), &path).unwrap();
    assert!(stats.condition.abnormal && stats.usage.is_none(), "{stats:?}");
    assert!(stats.condition.message.contains("helper is gone"), "{stats:?}");
    assert_eq!(bed.node().device_size(&path).unwrap(), None);
    unmount(&bed, "fuse", RemovePath::Yes).unwrap();
    assert!(!path.exists());
}

#[test]
fn records_are_found_by_staging_and_target_path() {
    use wharf_core::ports::{PublishRecord, StageRecord};
    use wharf_core::types::{AccessMode, AccessType, Capability, VolumeId};
    let Some(bed) = Bed::new() else { return };
    let capability = Capability { access: AccessType::Block, mode: AccessMode::SingleNodeWriter };
    let record = StageRecord {
        driver: "a".into(),
        volume: VolumeId::new("d-1"),
        staging_path: bed.path("staged"),
        capability: capability.clone(),
        context: vec![],
        publish_context: vec![],
        device: None,
        serial: None,
        plan: None,
        complete: true,
        targets: vec![PublishRecord {
            target_path: bed.path("pods/a"),
            capability,
            read_only: false,
            plan: None,
            complete: true,
        }],
    };
    let node = bed.node();
    node.save(&record).unwrap();
    for path in ["staged", "pods/a", "pods//a/"] {
        assert_eq!(node.record_of_path(&bed.path(path)).unwrap(), Some(record.clone()), "{path}");
    }
    assert_eq!(node.record_of_path(&bed.path("pods")).unwrap(), None);
    assert_eq!(node.record("a", &VolumeId::new("d-1")).unwrap(), Some(record.clone()));
    let shown_at = || node.shown_at("a", &VolumeId::new("d-1")).unwrap();
    assert_eq!(shown_at(), None, "written down, and not mounted");
    let target = bed.path("pods/a");
    sh(&format!("mkdir -p {0} && mount -t tmpfs none {0}", target.display()));
    assert_eq!(shown_at(), Some(target.clone()));
    node.unmount(&forever(), &target, RemovePath::Yes).unwrap();
    assert_eq!(shown_at(), None);
    assert_eq!(node.records("a").unwrap(), [record]);
    let guard = node.lock(&forever(), "a", &VolumeId::new("d-1")).unwrap();
    node.forget("a", &VolumeId::new("d-1")).unwrap();
    assert_eq!(node.record("a", &VolumeId::new("d-1")).unwrap(), None);
    let now = wharf_core::ports::Call::until(std::time::Duration::ZERO);
    assert_eq!(
        bed.node().lock(&now, "a", &VolumeId::new("d-1")).err().unwrap().kind,
        ErrorKind::Aborted
    );
    drop(guard);
    assert!(
        bed.node().lock(&forever(), "a", &VolumeId::new("d-1")).is_ok(),
        "a program that is just being started may share the file for a moment"
    );
}
