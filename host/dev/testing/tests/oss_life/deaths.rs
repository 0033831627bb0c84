//! Deaths: of the server, of a helper, of the supervisor.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use wharf_testing::player::Access;

use super::cluster::{Cluster, holds, kill, read, until, write};

#[test]
fn a_reader_does_not_notice_that_the_server_is_killed() {
    let Some(cluster) = Cluster::of("a_reader_does_not_notice_that_the_server_is_killed") else {
        return;
    };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
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
        for _ in 0..3 {
            let before = reads.load(Ordering::SeqCst);
            cluster.bed.node(0).kill_server().unwrap();
            until("it is read on", || {
                reads.load(Ordering::SeqCst) > before + 3 || reader.is_finished()
            });
        }
        is_over.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
    assert_eq!(cluster.helper(0), helper, "the helper lives on");
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
    }
    csi.unpublish(&volume, node, "pod-b").unwrap();
    csi.end_pod(&volume, node, "pod-a").unwrap();
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
    kill(machine.supervisor_pid().unwrap());
    kill(helper);
    until("both are gone", || machine.supervisor_pid().is_none() && machine.helpers().is_empty());
    csi.end_pod(&volume, node, "pod").unwrap();
    // What they had is taken away by the next supervisor.
    let mut other = cluster.volume("pv-other", Access::ManyNodes, &[]);
    csi.start_pod(&mut other, node, "pod-2").unwrap();
    csi.end_pod(&other, node, "pod-2").unwrap();
    cluster.assert_empty();
}
