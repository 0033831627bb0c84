//! Deaths: of the server, of a helper, of the supervisor.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use wharf_cloudsim::{Fault, FaultRule};
use wharf_testing::player::{Access, Retry};

use super::cluster::{Cluster, OPTIONS, holds, kill, read, signal, until, write};

#[test]
fn a_reader_does_not_notice_that_the_server_is_killed_or_updated() {
    const TEST: &str = "a_reader_does_not_notice_that_the_server_is_killed_or_updated";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let parts = cluster.bed.parts();
    let update = || {
        // The backend first, while the server runs; then the server, as a DaemonSet is updated.
        machine.install(parts, "oss", &parts.component("oss")).unwrap();
        machine.stop();
        machine.serve("node", parts).unwrap();
    };
    let mut volume = cluster.volume("pv-read", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "steady");
    let helper = cluster.helper(0);
    let (is_over, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                assert_eq!(read(&target, "data"), "steady");
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        let kill = || machine.kill_server().unwrap();
        for disturb in [&kill as &dyn Fn(), &update, &kill] {
            let before = reads.load(Ordering::SeqCst);
            disturb();
            until("it is read on", || {
                reads.load(Ordering::SeqCst) > before + 3 || reader.is_finished()
            });
        }
        is_over.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    assert_eq!(cluster.helper(0), helper, "the helper lives on");
    // The new server knows the volume.
    csi.publish(&volume, node, "pod-2", false).unwrap();
    csi.unpublish(&volume, node, "pod-2").unwrap();
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn every_place_is_readable_again_after_a_helper_was_killed() {
    let Some(cluster) = Cluster::of("every_place_is_readable_again_after_a_helper_was_killed")
    else {
        return;
    };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume = cluster.volume("pv-heal", Access::ManyNodes, &[]);
    let one = csi.start_pod(&mut volume, node, "pod-a").unwrap();
    let two = csi.publish(&volume, node, "pod-b", true).unwrap();
    write(&one, "data", "kept");
    let metric = |name: &str| {
        let (_, text) = cluster.bed.node(0).page("/metrics").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse::<f64>().ok())
    };
    const RESTARTS: &str = "wharf_helper_restarts_total{helper=\"s3fs\"}";
    const HEALED: &str = "wharf_helper_healed_places_total{helper=\"s3fs\"}";
    const SERVING: &str = "wharf_helper_mounts{helper=\"s3fs\",state=\"serving\"}";
    const KILLED: &str = "wharf_helper_last_exits{helper=\"s3fs\",reason=\"killed\"}";
    assert_eq!(
        (metric(RESTARTS), metric(HEALED), metric(SERVING)),
        (Some(0.0), Some(0.0), Some(1.0))
    );
    for deaths in 1..=3 {
        let helper = cluster.helper(0);
        kill(helper);
        until("both pods read again", || {
            holds(&one, "data", "kept") && holds(&two, "data", "kept")
        });
        assert!(std::fs::write(two.join("data"), "x").is_err(), "read-only stays read-only");
        write(&one, "data", "kept");
        let serving = cluster.serving(0);
        assert_ne!(serving["pid"], helper);
        assert_eq!(
            (serving["restarts"].as_u64(), serving["unhealed"].as_array().unwrap().len()),
            (Some(deaths), 0)
        );
        assert_eq!((metric(RESTARTS), metric(KILLED)), (Some(deaths as f64), Some(1.0)));
        assert_eq!(metric(HEALED), serving["healed"].as_f64());
    }
    csi.unpublish(&volume, node, "pod-b").unwrap();
    csi.end_pod(&volume, node, "pod-a").unwrap();
    cluster.assert_empty();
}

/// Writes a file and has it stored: what answers without an error is in the bucket.
fn store(target: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let mut file = File::create(target.join(name))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[test]
fn what_was_stored_before_a_helper_was_killed_is_there_and_writing_goes_on() {
    const TEST: &str = "what_was_stored_before_a_helper_was_killed_is_there_and_writing_goes_on";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume = cluster.volume("pv-write", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write_across_deaths(&cluster, &target);
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

/// Writes while the helper of the first node is killed three times; what was stored is there.
pub fn write_across_deaths(cluster: &Cluster, target: &Path) {
    let text = |n: usize| format!("{n}: {}", "content ".repeat(500));
    let (is_over, stored) = (AtomicBool::new(false), AtomicUsize::new(0));
    let names = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut names = Vec::new();
            for n in 0.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let name = format!("file-{n}");
                // A pod that tries again.
                if store(target, &name, &text(n)).is_ok() {
                    names.push((name, text(n)));
                    stored.fetch_add(1, Ordering::SeqCst);
                }
            }
            names
        });
        let is_written_on = |before: usize| {
            until("it is written on", || {
                stored.load(Ordering::SeqCst) > before + 5 || writer.is_finished()
            });
        };
        for _ in 0..3 {
            is_written_on(stored.load(Ordering::SeqCst));
            kill(cluster.helper(0));
        }
        is_written_on(stored.load(Ordering::SeqCst));
        is_over.store(true, Ordering::SeqCst);
        writer.join().unwrap()
    });
    assert!(names.len() > 20);
    for (name, text) in &names {
        assert!(holds(target, name, text), "{name} is not what was stored");
    }
}

/// Fills the private directory of a node's only helper, its log included: what is cut of that makes
/// no room then.
fn fill(cluster: &Cluster, n: usize) -> PathBuf {
    let serving = cluster.serving(n);
    let private = cluster.bed.node(n).helper_mounts().join(serving["name"].as_str().unwrap());
    std::fs::write(private.join("log"), "").unwrap();
    let path = private.join("filler");
    let mut filler = File::create(&path).unwrap();
    while filler.write_all(&[7; 4096]).is_ok() {}
    path
}

#[test]
fn a_helper_whose_directory_is_full_is_healed_and_its_mount_goes_with_everything() {
    const TEST: &str =
        "a_helper_whose_directory_is_full_is_healed_and_its_mount_goes_with_everything";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let (flex, flex_node) = (&cluster.flex, &cluster.flex_nodes[1]);
    let mut volume = cluster.volume("pv-full", Access::ManyNodes, &[]);
    let flex_volume = cluster.flex_volume("pv-flex-full", &[]);
    let targets = [
        csi.start_pod(&mut volume, node, "pod").unwrap(),
        flex.mount(&flex_volume, flex_node, "pod").unwrap(),
    ];
    write(&targets[0], "data", "kept");
    let fillers = [0, 1].map(|n| fill(&cluster, n));
    for n in 0..2 {
        kill(cluster.helper(n));
    }
    until("both are healed", || targets.iter().all(|target| holds(target, "data", "kept")));
    // New keys have no place: that is said, and the helper goes on with those that it has.
    let helper = cluster.helper(0);
    let other = cluster.bed.region().description().instances[0].keys.clone();
    volume.publish_secret = [
        ("akId".to_owned(), other.access_key_id),
        ("akSecret".to_owned(), other.access_key_secret),
    ]
    .into();
    let csi_once = csi.clone().with_retry(Retry::never());
    let refused = csi_once.publish(&volume, node, "pod", false).unwrap_err().to_string();
    assert!(refused.contains("credential files") && refused.contains("No space"), "{refused}");
    assert_eq!(cluster.helper(0), helper);
    write(&targets[0], "data", "more");
    std::fs::remove_file(&fillers[0]).unwrap();
    csi.publish(&volume, node, "pod", false).unwrap();
    assert_ne!(cluster.helper(0), helper, "the new keys are in use");
    assert_eq!(read(&targets[0], "data"), "more");
    csi.end_pod(&volume, node, "pod").unwrap();
    flex.unmount(&flex_volume, flex_node, "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn a_healthy_a_slow_and_a_hanging_helper_are_told_apart() {
    const TEST: &str = "a_healthy_a_slow_and_a_hanging_helper_are_told_apart";
    const FILES: usize = 16;
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node, region) = (&cluster.csi, &cluster.nodes[0], cluster.bed.region());
    // One request of a pod at a time, and nothing remembered.
    let options = format!("{OPTIONS} -o entry_timeout=0 -o attr_timeout=0 -s");
    let options = [("otherOpts", options.as_str())];
    let mut volume = cluster.volume("pv-told", Access::ManyNodes, &options);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    let file = |n: usize| format!("file-{n}");
    (0..FILES).for_each(|n| write(&target, &file(n), "x"));
    let told = || csi.condition(&volume, node, "pod").unwrap();
    let healthy = told();
    assert!(!healthy.abnormal && healthy.message == "it answers", "{healthy:?}");
    signal(cluster.helper(0), Signal::SIGSTOP);
    let hanging = told();
    signal(cluster.helper(0), Signal::SIGCONT);
    assert!(hanging.abnormal && hanging.message.contains("it hangs"), "{hanging:?}");
    until("it answers again", || told().message == "it answers");
    // Longer, one after the other, than anybody waits for figures.
    region.set_faults(vec![FaultRule::new("*", Fault::Delay { ms: 500 })]);
    region.clear_journal();
    let slow = std::thread::scope(|scope| {
        for n in 0..FILES {
            let path = target.join(file(n));
            scope.spawn(move || std::fs::metadata(path).unwrap());
        }
        until("the bucket is asked", || !region.journal().is_empty());
        let slow = told();
        region.set_faults(Vec::new());
        slow
    });
    assert!(!slow.abnormal && slow.message.contains("is slow"), "{slow:?}");
    until("it is healthy again", || told().message == "it answers");
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn a_shipped_helper_is_held_to_its_memory() {
    let Some(cluster) = Cluster::of("a_shipped_helper_is_held_to_its_memory") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume = cluster.volume("pv-memory", Access::ManyNodes, &[]);
    csi.start_pod(&mut volume, node, "pod").unwrap();
    let (helper, name) = (cluster.helper(0), cluster.serving(0)["name"].clone());
    let group = format!("/wharf-mounts/{}", name.as_str().unwrap());
    // As the profile of `s3fs` has it.
    let bound = (1024_u64 << 20).to_string();
    let read = |path: String| std::fs::read_to_string(path).unwrap_or_default();
    let is_held = || {
        let of = |line: &str| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let (hierarchy, file) = match controllers {
                "memory" => ("/memory", "memory.limit_in_bytes"),
                "" => ("", "memory.max"),
                _ => return None,
            };
            path.ends_with(&group).then(|| read(format!("/sys/fs/cgroup{hierarchy}{path}/{file}")))
        };
        let by_group = read(format!("/proc/{helper}/cgroup"))
            .lines()
            .filter_map(of)
            .any(|limit| limit.trim() == bound);
        // Where no group can hold it.
        let by_limit = read(format!("/proc/{helper}/limits")).lines().any(|line| {
            line.starts_with("Max data size") && line.split_whitespace().nth(3) == Some(&bound)
        });
        by_group || by_limit
    };
    until("the helper is held to its memory", is_held);
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn a_supervisor_that_was_killed_is_followed_by_one_that_knows_its_helpers() {
    const TEST: &str = "a_supervisor_that_was_killed_is_followed_by_one_that_knows_its_helpers";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let mut volume = cluster.volume("pv-adopt", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "kept");
    let helper = cluster.helper(0);
    kill(machine.supervisor_pid().unwrap());
    until("the supervisor is gone", || machine.supervisor_pid().is_none());
    assert_eq!(read(&target, "data"), "kept");
    // Whatever needs the supervisor next starts it.
    let mut other = cluster.volume("pv-other", Access::ManyNodes, &[]);
    csi.start_pod(&mut other, node, "pod-2").unwrap();
    let known = cluster.mounts_of(0);
    assert_eq!(known.len(), 2);
    assert!(
        known.iter().any(|mount| mount["pid"] == helper && mount["restarts"] == 0),
        "{known:?}"
    );
    kill(helper);
    until("the adopted helper's mount is healed", || holds(&target, "data", "kept"));
    csi.end_pod(&other, node, "pod-2").unwrap();
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn a_volume_is_taken_away_although_its_helper_and_the_supervisor_are_dead() {
    const TEST: &str = "a_volume_is_taken_away_although_its_helper_and_the_supervisor_are_dead";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let mut volume = cluster.volume("pv-dead", Access::ManyNodes, &[]);
    csi.start_pod(&mut volume, node, "pod").unwrap();
    let helper = cluster.helper(0);
    assert!(!csi.condition(&volume, node, "pod").unwrap().abnormal);
    kill(machine.supervisor_pid().unwrap());
    kill(helper);
    until("both are gone", || machine.supervisor_pid().is_none() && machine.helpers().is_empty());
    let condition = csi.condition(&volume, node, "pod").unwrap();
    assert!(condition.abnormal && condition.message.contains("wharf mounts"), "{condition:?}");
    csi.end_pod(&volume, node, "pod").unwrap();
    // What they had is taken away by the next supervisor.
    let mut other = cluster.volume("pv-other", Access::ManyNodes, &[]);
    csi.start_pod(&mut other, node, "pod-2").unwrap();
    csi.end_pod(&other, node, "pod-2").unwrap();
    cluster.assert_empty();
}

#[test]
fn a_mount_whose_helper_does_not_come_back_is_found_by_the_doctor_until_it_does() {
    const TEST: &str =
        "a_mount_whose_helper_does_not_come_back_is_found_by_the_doctor_until_it_does";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node, region) = (&cluster.csi, &cluster.nodes[0], cluster.bed.region());
    let findings = || {
        let arguments = ["doctor", "--only", "mounts", "--output", "json"];
        let ran = cluster.bed.node(0).run(cluster.bed.parts(), &arguments).unwrap();
        let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        told["findings"].as_array().unwrap().clone()
    };
    let mut volume = cluster.volume("pv-sick", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "kept");
    assert!(findings().is_empty());
    let helper = cluster.helper(0);
    // It asks for its bucket before it serves, and nobody answers.
    region.set_faults(vec![FaultRule::new("*", Fault::DropRequest)]);
    kill(helper);
    until("the doctor finds it", || {
        findings().iter().any(|finding| {
            let said = |part: &str| finding[part].as_str().unwrap_or_default().to_owned();
            said("problem").contains("is not healthy: its helper has ended")
                && said("mend").contains("wharf mounts logs ")
        })
    });
    region.set_faults(Vec::new());
    until("it is read again, and the doctor finds nothing", || {
        holds(&target, "data", "kept") && findings().is_empty()
    });
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}
