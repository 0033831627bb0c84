//! A helper is killed, and whoever looked at its files finds them again at the same paths.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::Signal;
use wharf_node::supervisor::Condition;

use crate::bed::{Bed, Container, PATIENCE, all_command_lines, holds, kill, sh, signal, until};
use crate::process::OLDER_KERNEL;

#[test]
fn every_place_shows_the_files_again_after_the_helper_was_killed() {
    let Some(bed) = Bed::new() else { return };
    heal_everywhere(&bed);
}

#[test]
fn an_older_kernel_that_lays_no_mount_beneath_another_one_shows_them_too() {
    let Some(bed) = Bed::new() else { return };
    bed.kill_supervisor();
    bed.start_by(&["env", &format!("{OLDER_KERNEL}=1")]);
    heal_everywhere(&bed);
}

fn heal_everywhere(bed: &Bed) {
    let spec = bed.spec("stage");
    bed.mount(&spec).unwrap();
    let (stage, pod, part) = (&spec.target, bed.target("pod"), bed.target("part"));
    sh(&format!(
        "mount --bind {0} {1}; mount -o bind,ro {0}/sub {2}",
        stage.display(),
        pod.display(),
        part.display()
    ));
    let inside = bed.path("containers");
    let containers: Vec<_> = (0..3)
        .map(|_| {
            Container::new(
                bed,
                &format!(
                    "mount -t tmpfs box {0}; mkdir {0}/whole {0}/part {0}/one; mount --bind {1} \
                 {0}/whole; mount -o bind,ro {1}/sub {0}/part; touch {0}/one/file; mount --bind \
                 {1}/file {0}/one/file; mount -o remount,bind,strictatime,noexec {0}/one/file",
                    inside.display(),
                    pod.display()
                ),
            )
        })
        .collect();
    let see = |is_alive: bool| {
        let check = |path: &Path, text: &str| holds(path, text) == is_alive;
        let here = [(stage.join("file"), "hello"), (pod.join("file"), "hello")];
        let here = here.into_iter().chain([(part.join("inner"), "inner")]);
        let there = containers.iter().flat_map(|container| {
            [("whole/file", "hello"), ("part/inner", "inner"), ("one/file", "hello")]
                .map(|(path, text)| (container.path(&inside.join(path)), text))
        });
        here.chain(there).all(|(path, text)| check(&path, text))
    };
    assert!(see(true));
    let tables = || -> Vec<Vec<String>> {
        let table = |text: String| -> Vec<String> {
            let fuse = text.lines().filter(|line| line.contains(" - fuse "));
            let ours = fuse.filter(|line| line.contains(bed.path("").to_str().unwrap()));
            // Root, mount point and options; ids and device numbers are new each time.
            let columns =
                |line: &str| line.split(' ').skip(3).take(3).collect::<Vec<_>>().join(" ");
            let mut lines: Vec<_> = ours.map(columns).collect();
            lines.sort();
            lines
        };
        let there = containers.iter().map(|container| table(container.mountinfo()));
        there.chain([table(crate::bed::mountinfo())]).collect()
    };
    let before = tables();
    let has = |flags: &str| before.iter().flatten().any(|place| place.ends_with(flags));
    assert!(has(" ro,relatime") && has(" rw,nosuid,nodev,relatime") && has("nodev,noexec"));
    for round in 1..=5 {
        kill(bed.pid(&spec));
        let began = Instant::now();
        until("all is readable again", || see(true));
        eprintln!("round {round}: healed after {:?}", began.elapsed());
        until("the mount is at rest", || bed.status(&spec).restarts == round);
        // Three here; and in each container these three, which it has copies of, and its own three.
        // More where another process was just given copies of all mounts.
        until("all places are counted", || bed.status(&spec).healed >= round * (3 + 3 * 6));
        assert_eq!(tables(), before, "the same places, parts and flags");
    }
    let cannot_write = |root: &Path| std::fs::write(root.join("new"), "x").is_err();
    assert!(cannot_write(&part) && cannot_write(&containers[0].path(&inside.join("part"))));
    drop(containers);
    sh(&format!("umount {} {} {}", part.display(), pod.display(), stage.display()));
    bed.assert_clean();
}

#[test]
fn a_copy_that_was_attached_nowhere_is_healed_once_it_is() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("stage");
    bed.mount(&spec).unwrap();
    // As a container runtime holds it before it has a place for it.
    let copy = open_tree(CWD, &spec.target, OpenTreeFlags::OPEN_TREE_CLONE).unwrap();
    kill(bed.pid(&spec));
    until("the place of the host is repaired", || holds(&spec.target.join("file"), "hello"));
    until("the mount is at rest", || bed.status(&spec).condition == Condition::Serving);
    let late = bed.target("late");
    move_mount(&copy, "", CWD, &late, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
    until("the new place is repaired", || holds(&late.join("file"), "hello"));
    until("nobody is at work", || bed.status(&spec).healed == 2);
    drop(copy);
    sh(&format!("umount {} {}", late.display(), spec.target.display()));
    bed.assert_clean();
}

#[test]
fn a_namespace_that_nobody_was_in_is_healed_once_somebody_is() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("stage");
    bed.mount(&spec).unwrap();
    let container = Container::new(&bed, "true");
    let names = bed.path("namespaces");
    std::fs::create_dir(&names).unwrap();
    // A namespace can be held by a file of a private mount alone.
    sh(&format!(
        "mount -t tmpfs names {0}; mount --make-private {0}; touch {0}/one; mount --bind {1} {0}/one",
        names.display(),
        container.namespace().display()
    ));
    drop(container);
    kill(bed.pid(&spec));
    until("the place of the host is repaired", || holds(&spec.target.join("file"), "hello"));
    until("the mount is at rest", || bed.status(&spec).condition == Condition::Serving);
    let mut somebody = Command::new("nsenter");
    somebody.arg(format!("--mount={}/one", names.display())).args(["sleep", "4242"]);
    let mut somebody = somebody.spawn().unwrap();
    let file = Path::new("/proc").join(somebody.id().to_string()).join("root");
    let file = file.join(spec.target.strip_prefix("/").unwrap()).join("file");
    until("the new place is repaired", || holds(&file, "hello"));
    until("nobody is at work", || bed.status(&spec).healed == 2);
    somebody.kill().unwrap();
    somebody.wait().unwrap();
    sh(&format!("umount {0}/one {0} {1}", names.display(), spec.target.display()));
    bed.assert_clean();
}

#[test]
fn a_mount_inside_of_a_dead_one_is_not_taken_along() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("stage");
    bed.mount(&spec).unwrap();
    let stage = spec.target.display();
    let container =
        Container::new(&bed, &format!("mount -t tmpfs cache {stage}/sub; echo x > {stage}/sub/x"));
    kill(bed.pid(&spec));
    until("the place of the host is repaired", || holds(&spec.target.join("file"), "hello"));
    until("the other alone is reported", || {
        let unhealed = bed.status(&spec).unhealed;
        !unhealed.is_empty() && unhealed.iter().all(|place| place.contains("stage/sub"))
    });
    assert!(container.mountinfo().contains("tmpfs cache"));
    drop(container);
    sh(&format!("umount {stage}"));
    bed.assert_clean();
}

#[test]
fn a_mount_inside_of_a_dead_one_is_put_onto_the_healthy_one_where_the_node_shows_it_too() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("stage");
    bed.mount(&spec).unwrap();
    let (stage, inside, cache) = (spec.target.display(), bed.path("containers"), bed.path("cache"));
    std::fs::create_dir(&cache).unwrap();
    std::fs::write(cache.join("x"), "cached").unwrap();
    // As a pod has it: a bucket, and another volume of the pod on one of its directories.
    let nested = inside.join("sub");
    let (at, on_it) = (inside.display(), nested.display());
    let container = Container::new(
        &bed,
        &format!(
            "mount --bind {stage} {at}; mount --bind {} {on_it}; mount -o remount,bind,ro {on_it}",
            cache.display()
        ),
    );
    for _ in 0..3 {
        kill(bed.pid(&spec));
        until("both are there", || {
            holds(&container.path(&inside).join("file"), "hello")
                && holds(&spec.target.join("file"), "hello")
        });
        assert!(holds(&container.path(&nested).join("x"), "cached"));
        assert!(std::fs::write(container.path(&nested).join("y"), "").is_err());
        assert!(holds(&spec.target.join("sub/inner"), "inner"), "the bucket's own is below");
        until("it is at rest", || bed.status(&spec).condition == Condition::Serving);
        assert!(bed.status(&spec).unhealed.is_empty(), "{:?}", bed.status(&spec));
        assert_eq!(container.mountinfo().matches(&format!(" {on_it} ")).count(), 1);
    }
    drop(container);
    sh(&format!("umount {stage}"));
    bed.assert_clean();
}

#[test]
fn a_part_that_the_kernel_takes_for_deleted_while_the_helper_is_dead_is_healed() {
    let Some(bed) = Bed::new() else { return };
    // The kernel asks for every name each time, and takes no answer for "there is no such name".
    let spec = bed.script("stage", "exec bindfs -f -o entry_timeout=0 $1 $2");
    bed.mount(&spec).unwrap();
    let (directory, file) = (bed.target("directory"), bed.path("targets/one"));
    sh(&format!(
        "touch {2}; mount --bind {0}/sub {1}; mount --bind {0}/file {2}",
        spec.target.display(),
        directory.display(),
        file.display()
    ));
    let (helper, supervisor) = (bed.pid(&spec), bed.supervisor());
    signal(supervisor, Signal::STOP);
    kill(helper);
    for path in ["file", "sub/inner"] {
        assert!(std::fs::read(spec.target.join(path)).is_err());
    }
    let deleted = bed.mounts().iter().filter(|line| line.contains("//deleted")).count();
    signal(supervisor, Signal::CONT);
    assert_eq!(deleted, 2, "{:?}", bed.mounts());
    until("both are healed", || holds(&file, "hello") && holds(&directory.join("inner"), "inner"));
    until("it is at rest", || bed.status(&spec).condition == Condition::Serving);
    sh(&format!("umount {} {} {}", file.display(), directory.display(), spec.target.display()));
    bed.assert_clean();
}

#[test]
fn where_the_supervisor_sees_no_container_what_propagates_is_healed_and_the_reason_is_said_once() {
    let Some(bed) = Bed::new() else { return };
    bed.kill_supervisor();
    let targets = bed.path("targets").display().to_string();
    sh(&format!("mount --bind {targets} {targets}; mount --make-shared {targets}"));
    // As a container without `hostPID`, whose volume has the propagation `Bidirectional`.
    bed.start_by(&[
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--propagation",
        "unchanged",
    ]);
    let spec = bed.spec("stage");
    bed.mount(&spec).unwrap();
    let file = spec.target.join("file");
    assert!(holds(&file, "hello"), "it propagates");
    let container = Container::new(&bed, "true");
    let inside = container.path(&file);
    assert!(holds(&inside, "hello"));
    for round in 1..=2 {
        // The supervisor's number for it is another one.
        let data = bed.path("data").display().to_string();
        let is_helper = |line: &str| line.contains("/bindfs\0") && line.contains(&data);
        let all = all_command_lines();
        all.iter().filter(|(_, line)| is_helper(line)).for_each(|(pid, _)| kill(*pid));
        until("the mount is seen to be dead", || bed.status(&spec).restarts == round);
        until("it is healed", || holds(&file, "hello"));
    }
    assert!(!holds(&inside, "hello"), "nobody reaches the container");
    let said = bed.log().matches("mounts inside containers cannot be repaired").count();
    assert_eq!(said, 1, "{}", bed.log());
    drop(container);
    bed.client().unmount(&spec.target, PATIENCE).unwrap();
    sh(&format!("umount {targets}"));
    bed.assert_clean();
}
