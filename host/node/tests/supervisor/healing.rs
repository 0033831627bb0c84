//! A helper is killed, and whoever looked at its files finds them again at the same paths.

use std::path::Path;
use std::time::Instant;

use crate::bed::{Bed, Container, holds, kill, sh, until};

#[test]
fn every_place_shows_the_files_again_after_the_helper_was_killed() {
    let Some(bed) = Bed::new() else { return };
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
                &bed,
                &format!(
                    "mount -t tmpfs box {0}; mkdir {0}/whole {0}/part {0}/one; mount --bind {1} \
                 {0}/whole; mount -o bind,ro {1}/sub {0}/part; touch {0}/one/file; mount --bind \
                 {1}/file {0}/one/file",
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
            let fuse = text.lines().filter(|line| line.contains("fuse.bindfs"));
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
    for round in 1..=5 {
        kill(bed.pid(&spec));
        let began = Instant::now();
        until("all is readable again", || see(true));
        eprintln!("round {round}: healed after {:?}", began.elapsed());
        until("the mount is at rest", || bed.status(&spec).restarts == round);
        // Three here; and in each container these three, which it has copies of, and its own three.
        until("all places are counted", || bed.status(&spec).healed == round * (3 + 3 * 6));
        assert_eq!(tables(), before, "the same places, parts and flags");
    }
    let cannot_write = |root: &Path| std::fs::write(root.join("new"), "x").is_err();
    assert!(cannot_write(&part) && cannot_write(&containers[0].path(&inside.join("part"))));
    drop(containers);
    sh(&format!("umount {} {} {}", part.display(), pod.display(), stage.display()));
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
    until("the other is reported", || !bed.status(&spec).unhealed.is_empty());
    let status = bed.status(&spec);
    assert!(status.unhealed.iter().all(|place| place.contains("stage/sub")), "{status:?}");
    assert!(container.mountinfo().contains("tmpfs cache"));
    drop(container);
    sh(&format!("umount {stage}"));
    bed.assert_clean();
}

#[test]
fn somebody_elses_file_system_with_a_number_that_is_used_again_is_left_alone() {
    let Some(bed) = Bed::new() else { return };
    let spec = bed.spec("stage");
    bed.mount(&spec).unwrap();
    let (mine, other) = (bed.pid(&spec), bed.target("other"));
    bed.kill_supervisor();
    // The record now names a device that belongs to a living helper of nobody's.
    sh(&format!("umount {}", spec.target.display()));
    until("the helper ended by itself", || bed.processes().is_empty());
    sh(&format!("bindfs {} {}", bed.path("data").display(), other.display()));
    let record = std::fs::read_dir(bed.path("state/mounts")).unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(record.path()).unwrap();
    let number = |target: &Path| -> String {
        let table = crate::bed::mountinfo();
        let line = table.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap();
        line.split(' ').nth(2).unwrap().split_once(':').unwrap().1.to_owned()
    };
    let old = text.split("\"serving\"").nth(1).unwrap().split(|c: char| !c.is_ascii_digit());
    let old: Vec<_> = old.filter(|part| !part.is_empty()).take(2).collect();
    std::fs::write(record.path(), text.replace(old[1], &number(&other))).unwrap();
    bed.start();
    until("the record is forgotten", || {
        std::fs::read_dir(bed.path("state/mounts")).unwrap().next().is_none()
    });
    assert!(holds(&other.join("file"), "hello"), "{mine}");
    sh(&format!("umount {}", other.display()));
    bed.assert_clean();
}
