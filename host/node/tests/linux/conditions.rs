//! Whether a volume works, of file systems that do, that found errors, that were shut down or made
//! read-only, and of disks that are gone or hang.

use std::os::unix::fs::symlink;
use std::path::Path;

use wharf_core::ports::{Node, Stats};

use crate::bed::{Bed, eventually, find, forever, mount, sh, stage};

const FILE_SYSTEMS: [(&str, u64); 2] = [("ext4", 64), ("xfs", 400)];

/// A bed whose sysfs has the file systems too.
fn bed() -> Option<Bed> {
    let bed = Bed::new()?;
    symlink("/sys/fs", bed.root().join("sys/fs")).unwrap();
    Some(bed)
}

fn look(bed: &Bed, path: &str) -> Stats {
    bed.node().stats(&forever(), &bed.path(path)).unwrap()
}

fn assert_abnormal(stats: &Stats, words: &str) {
    let message = &stats.condition.message;
    assert!(stats.condition.abnormal && message.contains(words), "{stats:?}");
}

fn shut_down(path: &Path) {
    let shut = sh(&format!("xfs_io -x -c shutdown {}", path.display()));
    assert!(shut.status.success(), "{shut:?}");
}

#[test]
fn a_file_system_that_works_is_normal_also_where_it_is_only_read() {
    let Some(bed) = bed() else { return };
    for (fs_type, mebibytes) in FILE_SYSTEMS {
        bed.disk(fs_type, mebibytes);
        bed.run(stage(fs_type, fs_type), fs_type).unwrap();
        let stats = look(&bed, fs_type);
        assert!(!stats.condition.abnormal && stats.usage.is_some(), "{stats:?}");
        sh(&format!("umount {}", bed.path(fs_type).display()));
        bed.run(vec![find(fs_type), mount(fs_type, &[], true)], fs_type).unwrap();
        let stats = look(&bed, fs_type);
        assert!(!stats.condition.abnormal && stats.usage.is_some(), "{stats:?}");
    }
}

#[test]
fn a_file_system_that_was_shut_down_is_abnormal() {
    let Some(bed) = bed() else { return };
    for (fs_type, mebibytes) in FILE_SYSTEMS {
        bed.disk(fs_type, mebibytes);
        bed.run(stage(fs_type, fs_type), fs_type).unwrap();
        shut_down(&bed.path(fs_type));
        assert_abnormal(&look(&bed, fs_type), fs_type);
    }
}

#[test]
fn errors_that_ext4_finds_in_itself_are_told_and_what_they_lead_to() {
    let Some(bed) = bed() else { return };
    for (errors, words) in [("continue", "1 errors"), ("remount-ro", "read-only")] {
        let device = bed.disk(errors, 64);
        let mut steps = stage(errors, "ext4");
        steps.truncate(3);
        steps.push(mount("ext4", &[&format!("errors={errors}")], false));
        bed.run(steps, errors).unwrap();
        let name = device.file_name().unwrap().to_str().unwrap();
        std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "x").unwrap();
        // The kernel counts an error a moment after it has found it.
        eventually("the error is counted", || look(&bed, errors).condition.abnormal);
        let stats = look(&bed, errors);
        assert_abnormal(&stats, words);
        assert!(stats.usage.is_some(), "it still tells its space: {stats:?}");
    }
}

#[test]
fn a_disk_that_is_gone_is_abnormal_mounted_or_raw() {
    let Some(mut bed) = bed() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    bed.disk("s2", 64);
    bed.run(vec![find("s2"), crate::bed::block(false)], "raw").unwrap();
    assert!(!look(&bed, "raw").condition.abnormal);
    // The kernel's list of devices can be seen, and neither is in it.
    bed.options.sysfs = bed.root().join("masked");
    std::fs::create_dir_all(bed.root().join("masked/dev/block")).unwrap();
    symlink("x", bed.root().join("masked/dev/block/1:1")).unwrap();
    for path in ["d1", "raw"] {
        let stats = look(&bed, path);
        assert_abnormal(&stats, "taken away");
        assert_eq!(stats.usage, None);
    }
}
