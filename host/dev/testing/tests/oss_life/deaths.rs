//! Deaths: of the server, of a helper, of the supervisor.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wharf_cloudsim::{Fault, FaultRule};
use wharf_testing::player::Access;

use super::cluster::{Cluster, holds, kill, read, until, write};

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
                if store(&target, &name, &text(n)).is_ok() {
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
        assert!(holds(&target, name, text), "{name} is not what was stored");
    }
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
