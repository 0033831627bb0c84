//! A step fails, at every position: the node is as it was before the call.

use wharf_core::plan::Step;
use wharf_core::ports::{Node, RemovePath};

use crate::bed::{
    self, Bed, bind, block, directory, find, forever, format, mount, said, set_queue, sh, stage,
};

/// Granted and well-formed, and fails all the same.
fn impossible() -> Step {
    set_queue("no_such_setting", "1")
}

/// Runs `steps` with a failure at each position; then without, twice.
fn leaves_no_trace(bed: &Bed, steps: &[Step], destination: &str, staged: Option<&str>) {
    let look = || (bed.mounts(), bed.tree("kubelet"), bed.tree("granted"));
    let before = look();
    for position in 0..=steps.len() {
        let mut failing = steps.to_vec();
        failing.insert(position, impossible());
        let error = bed.run_staged(failing, destination, staged).unwrap_err();
        assert!(
            error.message.contains(&format!("step {} (set-block-queue)", position + 1)),
            "{error}"
        );
        assert_eq!(look(), before, "failure at {position}: {error}");
    }
    bed.run_staged(steps.to_vec(), destination, staged).unwrap();
    let after = look();
    assert_ne!(after, before);
    // A failure after everything was true already takes nothing away.
    let failing = steps.iter().cloned().chain([impossible()]).collect();
    bed.run_staged(failing, destination, staged).unwrap_err();
    assert_eq!(look(), after);
}

#[test]
fn a_stage_that_fails_anywhere_leaves_no_mount_and_no_directory() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    leaves_no_trace(&bed, &stage("s1", "ext4"), "plugins/d1/globalmount", None);
}

#[test]
fn a_publish_that_fails_anywhere_leaves_no_bind_and_keeps_the_stage() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "staged").unwrap();
    leaves_no_trace(&bed, &[find("s1"), bind(true)], "pods/a/mount", Some("staged"));
}

#[test]
fn a_raw_publish_that_fails_anywhere_leaves_no_file() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    leaves_no_trace(&bed, &[find("s1"), block(true)], "pods/a/dev", None);
}

#[test]
fn directories_that_were_there_before_get_their_owner_and_mode_back() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    std::fs::create_dir(bed.root().join("granted/old")).unwrap();
    std::fs::create_dir_all(bed.path("pods/a")).unwrap();
    let make = |path: &str| bed::make(path, 0o1777, Some(7), Some(8));
    leaves_no_trace(
        &bed,
        &[make("old"), make("new/er"), directory("old"), find("s1")],
        "pods/a",
        None,
    );
}

#[test]
fn queue_settings_get_their_old_value_back() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    let read = || {
        said(&sh(&format!(
            "cat /sys/block/{}/queue/read_ahead_kb",
            device.file_name().unwrap().display()
        )))
    };
    let before = read();
    let set = set_queue("read_ahead_kb", "512");
    bed.run(vec![find("s1"), set.clone(), impossible()], "d1").unwrap_err();
    assert_eq!(read(), before);
    for _ in 0..2 {
        bed.run(vec![find("s1"), set.clone()], "d1").unwrap();
        assert_eq!(read(), "512");
    }
}

#[test]
fn a_setting_that_the_kernel_rounds_is_an_error_and_is_put_back() {
    let Some(bed) = Bed::new() else { return };
    let device = bed.disk("s1", 64);
    let read = || {
        said(&sh(&format!(
            "cat /sys/block/{}/queue/read_ahead_kb",
            device.file_name().unwrap().display()
        )))
    };
    let before = read();
    let error = bed.run(vec![find("s1"), set_queue("read_ahead_kb", "513")], "d1").unwrap_err();
    assert!(error.message.contains("the kernel made it `512`"), "{error}");
    assert_eq!(read(), before);
}

#[test]
fn a_mount_that_the_kernel_refuses_leaves_no_directory() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(vec![find("s1"), format("ext4")], "d1").unwrap();
    let before = bed.tree("kubelet");
    for flags in ["data=journal,delalloc", "commit=never"] {
        let step = mount("ext4", &[flags], false);
        let error = bed.run(vec![find("s1"), step], "a/b/c").unwrap_err();
        assert!(error.message.contains("cannot mount") && error.hint.is_some(), "{error}");
        assert_eq!(bed.tree("kubelet"), before);
    }
}

#[test]
fn content_that_appeared_in_a_new_directory_is_not_deleted_with_it() {
    let Some(bed) = Bed::new() else { return };
    bed.disk("s1", 64);
    bed.run(stage("s1", "ext4"), "d1").unwrap();
    bed.node().unmount(&forever(), &bed.path("d1"), RemovePath::No).unwrap();
    std::fs::write(bed.path("d1/file"), "somebody's").unwrap();
    assert!(
        bed.node()
            .unmount(&forever(), &bed.path("d1"), RemovePath::Yes)
            .unwrap_err()
            .message
            .contains("not empty")
    );
    assert!(bed.path("d1/file").exists());
}
