//! Whose disk it is: a plan may name any, and only one that is free, or the volume's own, is used.

use std::path::{Path, PathBuf};
use std::time::Duration;

use wharf_core::ErrorKind;
use wharf_core::plan::{DeviceMatch, Plan, Step};
use wharf_core::ports::{Node, PublishRecord};
use wharf_core::types::VolumeId;

use crate::bed::{
    Bed, DRIVER, assert_kind, bind, block, find, find_by, forever, grow, said, set_queue, sh, stage,
};

/// Nothing at all may be done to the disk.
fn is_left_alone(bed: &Bed, serial: &str, words: &str) {
    let before = bed.mounts();
    for steps in [
        stage(serial, "ext4"),
        vec![find(serial), block(false)],
        vec![find(serial), set_queue("read_ahead_kb", "4096")],
        vec![find(serial), grow("ext4")],
        vec![find(serial)],
    ] {
        assert_kind(bed.run(steps, "d1"), ErrorKind::FailedPrecondition, words);
        assert!(!bed.path("d1").exists());
    }
    assert_eq!(bed.mounts(), before);
}

fn mount_elsewhere(bed: &Bed, device: &Path) {
    let at = bed.root().join("granted/other");
    std::fs::create_dir(&at).unwrap();
    sh(&format!("mkfs.ext4 -qF {0}; mount {0} {1}", device.display(), at.display()));
}

#[test]
fn a_disk_that_is_mounted_elsewhere_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    mount_elsewhere(&bed, &device);
    is_left_alone(&bed, "s1", "granted/other");
    // Nor does a bind of a part of it on the volume's own path make it the volume's.
    let own = bed.path("d1");
    std::fs::create_dir(&own).unwrap();
    let part = bed.root().join("granted/other/lost+found");
    sh(&format!("mount --bind {} {}", part.display(), own.display()));
    assert_kind(bed.run(vec![find("s1")], "d1"), ErrorKind::FailedPrecondition, "in use");
}

#[test]
fn a_disk_whose_partition_is_mounted_elsewhere_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 128);
    sh(&format!(
        "printf '\\000\\000\\000\\000\\203\\000\\000\\000\\000\\010\\000\\000\\000\\340\\001\\000' \
         | dd of={0} bs=1 seek=446 2>/dev/null; printf '\\125\\252' | dd of={0} bs=1 seek=510 \
         conv=fsync 2>/dev/null; addpart {0} 1 2048 122880",
        device.display()
    ));
    mount_elsewhere(&bed, Path::new(&format!("{}p1", device.display())));
    is_left_alone(&bed, "s1", "granted/other");
}

#[test]
fn a_disk_that_is_shown_raw_to_somebody_else_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    let file = bed.root().join("granted/raw");
    std::fs::write(&file, "").unwrap();
    sh(&format!("mount --bind {} {}", device.display(), file.display()));
    is_left_alone(&bed, "s1", "granted/raw");
}

#[test]
fn a_disk_that_somebody_holds_for_himself_is_left_alone() {
    use rustix::fs::{Mode, OFlags};
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    // As swap, device mapper and mounts in other mount namespaces do.
    let held = loop {
        match rustix::fs::open(&device, OFlags::RDWR | OFlags::EXCL, Mode::empty()) {
            Ok(held) => break held,
            Err(error) => assert_eq!(error, rustix::io::Errno::BUSY),
        }
    };
    assert_kind(bed.run(vec![find("s1")], "d1"), ErrorKind::FailedPrecondition, "in use");
    drop(held);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
}

#[test]
fn a_disk_that_is_another_volume_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let plan = Plan { steps: vec![find("s1")], summary: String::new() };
    let found = bed.run_plan(&forever(), &plan, "d-2", &bed.path("d2"), None).unwrap();
    bed.record("d-2", "d2", found);
    is_left_alone(&bed, "s1", "volume d-2");
    bed.node().forget(DRIVER, &VolumeId::new("d-2")).unwrap();
    bed.run(stage("s1", "ext4"), "d1").unwrap();
}

/// Nothing shows at once whose a disk is that is staged raw: it is not mounted.
#[test]
fn a_disk_that_two_volumes_stage_raw_at_the_same_time_is_one_of_them() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let plan = Plan { steps: vec![find("s1")], summary: String::new() };
    let stage = |volume: &str| bed.run_plan(&forever(), &plan, volume, &bed.path(volume), None);
    let found = stage("d-2").unwrap();
    let other = std::thread::scope(|scope| {
        let other = scope.spawn(|| stage("d-1").map(|found| found.map(|found| found.path)));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!other.is_finished(), "nobody has said yet whose disk it is");
        bed.record("d-2", "d2", found);
        other.join().unwrap()
    });
    assert_kind(other, ErrorKind::FailedPrecondition, "volume d-2");
}

#[test]
fn a_disk_that_the_node_itself_lives_on_is_left_alone() {
    let Some(mut bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    mount_elsewhere(&bed, &device);
    bed.options.state_directory = bed.root().join("granted/other/state");
    is_left_alone(&bed, "s1", "lies on");
    bed.options.state_directory = bed.root().join("state");
    bed.options.roots.push(bed.root().join("granted/other/kubelet"));
    std::fs::create_dir(bed.root().join("granted/other/kubelet")).unwrap();
    is_left_alone(&bed, "s1", "lies on");
}

#[test]
fn the_operator_may_say_which_devices_can_be_volumes() {
    let Some(mut bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    for (patterns, is_allowed) in [
        (vec!["/dev/vd*".to_owned()], false),
        (vec!["/dev/loop".to_owned()], false),
        (vec!["/dev/vd*".to_owned(), "/dev/loop*".to_owned()], true),
        (vec![device.display().to_string()], true),
    ] {
        bed.options.devices = patterns;
        assert_eq!(bed.run(vec![find("s1")], "d1").is_ok(), is_allowed);
    }
}

#[test]
fn a_disk_with_a_serial_is_used_only_by_a_plan_that_names_it() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    let by_link = || vec![find_by(vec![DeviceMatch::ById("virtio-s1".into())], 0)];
    assert_kind(bed.run(by_link(), "d1"), ErrorKind::FailedPrecondition, "reports the serial");
}

#[test]
fn the_volumes_own_disk_is_used_again_also_while_pods_show_parts_of_it() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    bed.record("d-1", "staged", None);
    bed.run_staged(vec![bind(false)], "pods/a/mount", Some("staged")).unwrap();
    // As kubelet does for a `subPath`.
    std::fs::create_dir(bed.path("staged/part")).unwrap();
    std::fs::create_dir_all(bed.path("pods/a/volume-subpaths/0")).unwrap();
    sh(&format!(
        "mount --bind {} {}",
        bed.path("staged/part").display(),
        bed.path("pods/a/volume-subpaths/0").display()
    ));
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    bed.run(vec![find("s1"), grow("ext4")], "pods/a/mount").unwrap();
}

/// With its own mount there and on record.
fn is_left_alone_beside_its_own_mount(bed: &Bed, words: &str) {
    let before = bed.mounts();
    for steps in [stage("s1", "ext4"), vec![find("s1"), grow("ext4")], vec![find("s1")]] {
        assert_kind(bed.run(steps, "staged"), ErrorKind::FailedPrecondition, words);
    }
    assert_eq!(bed.mounts(), before);
}

fn staged() -> Option<(Bed, PathBuf)> {
    let bed = Bed::new()?;
    let device = bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    bed.record("d-1", "staged", None);
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    Some((bed, device))
}

#[test]
fn a_mount_elsewhere_beside_the_volumes_own_one_is_another_use() {
    let Some((bed, device)) = staged() else { return };
    let elsewhere = bed.root().join("granted/other");
    std::fs::create_dir(&elsewhere).unwrap();
    sh(&format!("mount {} {}", device.display(), elsewhere.display()));
    is_left_alone_beside_its_own_mount(&bed, "granted/other");
    sh(&format!("umount {}", elsewhere.display()));
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    // Nor is another volume's path under kubelet's root.
    std::fs::create_dir(bed.path("d2")).unwrap();
    bed.record("d-2", "d2", None);
    sh(&format!("mount {} {}", device.display(), bed.path("d2").display()));
    is_left_alone_beside_its_own_mount(&bed, "kubelet/d2");
}

#[test]
fn a_second_path_to_kubelets_directory_shows_no_other_use() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    // As where kubelet's root is a mount of a directory of another disk.
    let (kubelet, original) = (bed.path(""), bed.root().join("granted/original"));
    sh(&format!(
        "mkdir {1}; mount --bind {1} {1}; mount --make-shared {1}; mount --bind {1} {0}",
        kubelet.display(),
        original.display()
    ));
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    bed.record("d-1", "staged", None);
    assert!(bed.mounts().iter().any(|line| line.contains("granted/original/staged")));
    bed.run(stage("s1", "ext4"), "staged").unwrap();
}

#[test]
fn a_holder_beside_the_volumes_own_mount_is_another_use() {
    let Some((bed, device)) = staged() else { return };
    // What the kernel would show of device mapper on this disk.
    let number = said(&sh(&format!("cat /sys/class/block/{}/dev", name(&device))));
    let (devices, shown) = (bed.root().join("sys/dev"), bed.root().join("sys/shown"));
    std::fs::remove_file(&devices).unwrap();
    sh(&format!(
        "mkdir -p {devices}/block {shown}; for one in /sys/dev/block/*; do ln -s $one \
         {devices}/block/; done; ln -sfn {shown}/{name} {devices}/block/{number}; mkdir -p \
         {shown}/{name}/holders/dm-7; echo {number} > {shown}/{name}/dev; echo 253:7 > \
         {shown}/{name}/holders/dm-7/dev",
        devices = devices.display(),
        shown = shown.display(),
        name = name(&device),
    ));
    is_left_alone_beside_its_own_mount(&bed, "dm-7");
    std::fs::remove_dir_all(shown.join(name(&device)).join("holders")).unwrap();
    bed.run(vec![find("s1")], "staged").unwrap();
}

#[test]
fn a_disk_that_the_node_swaps_to_is_left_alone_also_where_it_is_shown_raw() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    let steps = || -> Vec<Step> { vec![find("s1"), block(false)] };
    bed.run(steps(), "raw").unwrap();
    bed.record("d-1", "raw", None);
    bed.run(steps(), "raw").unwrap();
    let swap = Swap::on(&device);
    assert_kind(bed.run(steps(), "raw"), ErrorKind::FailedPrecondition, "swaps to");
    assert_kind(bed.run(steps(), "d1"), ErrorKind::FailedPrecondition, "swaps to");
    drop(swap);
    bed.run(steps(), "raw").unwrap();
    sh(&format!("umount {}", bed.path("raw").display()));
    let _swap = Swap::on(&device);
    assert_kind(bed.run(steps(), "raw"), ErrorKind::FailedPrecondition, "in use");
}

/// Ended when this is dropped: the device could not be taken away otherwise.
struct Swap(PathBuf);

impl Swap {
    fn on(device: &Path) -> Self {
        sh(&format!("mkswap {0}; swapon {0}", device.display()));
        Self(device.to_owned())
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        let _ = std::process::Command::new("swapoff").arg(&self.0).output();
    }
}

fn name(device: &Path) -> String {
    device.file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_raw_disk_is_published_again_while_its_first_workload_holds_it() {
    use rustix::fs::{Mode, OFlags};
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    let steps = || -> Vec<Step> { vec![find("s1"), block(false)] };
    bed.run(steps(), "pods/a/dev").unwrap();
    let mut record = bed.record("d-1", "staged", None);
    record.targets = vec![PublishRecord {
        target_path: bed.path("pods/a/dev"),
        capability: record.capability.clone(),
        read_only: false,
        plan: None,
        complete: true,
    }];
    bed.node().save(&record).unwrap();
    let _held = rustix::fs::open(&device, OFlags::RDWR | OFlags::EXCL, Mode::empty()).unwrap();
    bed.run(steps(), "pods/b/dev").unwrap();
    let plan = Plan { steps: steps(), summary: String::new() };
    let other = bed.run_plan(&forever(), &plan, "d-2", &bed.path("pods/c/dev"), None);
    assert!(other.unwrap_err().message.contains("pods/a/dev"));
}

#[test]
fn where_the_list_of_devices_cannot_be_seen_no_mount_is_taken_for_dead() {
    let Some(mut bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    let is_dead = |bed: &Bed| bed.node().mounted(&bed.path("d1")).unwrap().unwrap().is_dead;
    assert!(!is_dead(&bed));
    for sysfs in ["nothing", "masked"] {
        bed.options.sysfs = bed.root().join(sysfs);
        assert!(!is_dead(&bed), "{sysfs}");
        std::fs::create_dir_all(bed.root().join("masked/dev/block")).unwrap();
    }
    std::os::unix::fs::symlink("x", bed.root().join("masked/dev/block/1:1")).unwrap();
    assert!(is_dead(&bed), "the list can be seen, and the device is not in it");
}
