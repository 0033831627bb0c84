//! Many mounts whose helpers all die at once, looked at from many containers.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use wharf_node::supervisor::{Condition, Spec};

use crate::bed::{Bed, Container, PATIENCE, holds, kill, mountinfo, sh, until};

const MOUNTS: usize = 10;
const CONTAINERS_EACH: usize = 3;
/// So often all helpers are killed. `cargo xtask bench --only buckets` does it a hundred times, and
/// measures; here with `WHARF_TEST_ROUNDS=100`, and nothing else runs.
const ROUNDS: u64 = 5;
/// How soon everything is to be readable again.
const BOUND: Duration = Duration::from_secs(2);

/// A mount, published once on the node, and its containers.
struct Volume {
    spec: Spec,
    pod: PathBuf,
    containers: Vec<(Container, PathBuf)>,
}

impl Volume {
    fn new(bed: &Bed, index: usize) -> Self {
        let spec = bed.spec(&format!("stage-{index}"));
        bed.mount(&spec).unwrap();
        let pod = bed.target(&format!("pod-{index}"));
        let (stage, at) = (spec.target.display(), pod.display());
        sh(&format!("mount --bind {stage} {at}"));
        let containers = (0..CONTAINERS_EACH).map(|_| {
            let root = bed.path("containers");
            // The whole volume, a directory of it to be read only, and a file; as a runtime does
            // it, nothing of the node is left in its namespace.
            let (inside, targets, run) = (root.display(), bed.path("targets"), bed.path("run"));
            let commands = format!(
                "mount -t tmpfs box {inside}; mkdir {inside}/whole {inside}/part; \
                 touch {inside}/one; mount --bind {at} {inside}/whole; \
                 mount -o bind,ro {at}/sub {inside}/part; mount --bind {at}/file {inside}/one; \
                 umount -l {}/* {}/* 2>/dev/null || true",
                targets.display(),
                run.display()
            );
            (Container::new(bed, &commands), root)
        });
        let containers = containers.collect();
        Self { spec, pod, containers }
    }

    /// Each file that is looked at, with what it holds.
    fn files(&self) -> Vec<(PathBuf, &'static str)> {
        let here = [(self.spec.target.join("file"), "hello"), (self.pod.join("file"), "hello")];
        let there = self.containers.iter().flat_map(|(container, root)| {
            [("whole/file", "hello"), ("part/inner", "inner"), ("one", "hello")]
                .map(|(path, text)| (container.path(&root.join(path)), text))
        });
        here.into_iter().chain(there).collect()
    }

    fn is_read_only_where_it_was(&self) -> bool {
        self.containers.iter().all(|(container, root)| {
            std::fs::write(container.path(&root.join("part/new")), "x").is_err()
        })
    }
}

/// Root, mount point and options of each place of the bed, in each namespace.
fn places(bed: &Bed, volumes: &[Volume]) -> Vec<Vec<String>> {
    let root = bed.path("").display().to_string();
    let places = |table: String| {
        let lines = table.lines().filter(|line| line.contains(" - fuse") && line.contains(&root));
        let columns = |line: &str| line.split(' ').skip(3).take(3).collect::<Vec<_>>().join(" ");
        let mut places: Vec<_> = lines.map(columns).collect();
        places.sort();
        places
    };
    let containers = volumes.iter().flat_map(|volume| &volume.containers);
    let there = containers.map(|(container, _)| places(container.mountinfo()));
    there.chain([places(mountinfo())]).collect()
}

#[test]
fn ten_mounts_in_thirty_containers_are_readable_again_within_two_seconds() {
    let Some(bed) = Bed::new() else { return };
    let asked = std::env::var("WHARF_TEST_ROUNDS").ok().map(|rounds| rounds.parse().unwrap());
    let volumes: Vec<_> = (0..MOUNTS).map(|index| Volume::new(&bed, index)).collect();
    let before = places(&bed, &volumes);
    assert_eq!(before.iter().flatten().count(), MOUNTS * (2 + 3 * CONTAINERS_EACH), "{before:?}");
    let files: Vec<_> = volumes.iter().flat_map(Volume::files).collect();
    let can_read_all = || files.iter().all(|(path, text)| holds(path, text));
    assert!(can_read_all());
    let mut times = Vec::new();
    for round in 1..=asked.unwrap_or(ROUNDS) {
        let helpers: Vec<_> = volumes.iter().map(|volume| bed.pid(&volume.spec)).collect();
        let began = Instant::now();
        helpers.into_iter().for_each(kill);
        until("a dead mount is seen", || !can_read_all() || began.elapsed() > BOUND);
        until("all files are readable again", can_read_all);
        times.push(began.elapsed());
        until("every mount is at rest", || {
            let all = bed.client().list().unwrap();
            all.iter().all(|mount| {
                mount.condition == Condition::Serving
                    && mount.restarts == round
                    && mount.unhealed.is_empty()
            })
        });
        assert_eq!(places(&bed, &volumes), before, "the same places, parts and flags");
        assert!(volumes.iter().all(Volume::is_read_only_where_it_was));
    }
    times.sort();
    eprintln!(
        "{} files behind {MOUNTS} mounts, {} kills of all helpers: readable again after {:?} \
         (median), {:?} (longest)",
        files.len(),
        times.len(),
        times[times.len() / 2],
        times.last().unwrap()
    );
    // Other tests run beside the ordinary run, and take what time they like.
    let bound = if asked.is_some() { BOUND } else { PATIENCE };
    assert!(times.last().unwrap() <= &bound, "{times:?}");
    for Volume { spec, pod, containers } in volumes {
        drop(containers);
        sh(&format!("umount {} {}", pod.display(), spec.target.display()));
    }
    bed.assert_clean();
}
