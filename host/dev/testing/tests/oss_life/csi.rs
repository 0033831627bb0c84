//! Static volumes over CSI.

use std::io::ErrorKind;

use wharf_testing::player::Access;

use super::cluster::{Cluster, read, write};

#[test]
fn what_one_pod_writes_another_on_another_node_reads() {
    let Some(cluster) = Cluster::of("what_one_pod_writes_another_on_another_node_reads") else {
        return;
    };
    let (csi, nodes) = (&cluster.csi, &cluster.nodes);
    let mut volume = cluster.volume("pv-oss", Access::ManyNodes, &[]);
    let one = csi.start_pod(&mut volume, &nodes[0], "pod-a").unwrap();
    let two = csi.start_pod(&mut volume, &nodes[1], "pod-b").unwrap();
    let is_fuse = |at: &std::path::Path| {
        let mounts = cluster.bed.mounts();
        mounts.iter().any(|mount| mount.at == at && mount.fs_type.starts_with("fuse"))
    };
    assert!(is_fuse(&one) && is_fuse(&two));
    write(&one, "data", "from node 1");
    assert_eq!(read(&two, "data"), "from node 1");
    let object = cluster.bed.region().object("shared", "data").unwrap();
    assert_eq!(object.as_deref(), Some(&b"from node 1"[..]));
    write(&two, "other", "from node 2");
    assert_eq!(read(&one, "other"), "from node 2");
    // A second pod of a node shares its helper, and only reads.
    let reader = csi.publish(&volume, &nodes[0], "pod-c", true).unwrap();
    assert_eq!(read(&reader, "data"), "from node 1");
    let refused = std::fs::write(reader.join("data"), "x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(cluster.bed.node(0).helpers().len(), 1);
    let usage = csi.stats(&volume, &nodes[0], "pod-a").unwrap();
    assert!(usage.total > 0 && usage.available > 0, "{usage:?}");
    csi.unpublish(&volume, &nodes[0], "pod-a").unwrap();
    assert_eq!(read(&reader, "data"), "from node 1");
    csi.end_pod(&volume, &nodes[0], "pod-c").unwrap();
    csi.end_pod(&volume, &nodes[1], "pod-b").unwrap();
    cluster.assert_empty();
}

#[test]
fn every_call_may_be_repeated_wherever_the_secret_comes_from() {
    let Some(cluster) = Cluster::of("every_call_may_be_repeated_wherever_the_secret_comes_from")
    else {
        return;
    };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let keys = cluster.keys();
    for (name, staging, publishing) in [
        ("pv-both", keys.clone(), keys.clone()),
        ("pv-stage", keys.clone(), Default::default()),
        ("pv-publish", Default::default(), keys.clone()),
    ] {
        let mut volume = cluster.volume(name, Access::ManyNodes, &[]);
        (volume.stage_secret, volume.publish_secret) = (staging, publishing);
        for _ in 0..2 {
            csi.attach(&mut volume, node).unwrap();
        }
        for _ in 0..2 {
            csi.stage(&volume, node).unwrap();
        }
        for _ in 0..2 {
            csi.publish(&volume, node, "pod", false).unwrap();
        }
        let target = volume.target(node, "pod");
        write(&target, name, "kept");
        csi.stage(&volume, node).unwrap();
        let again = csi.publish(&volume, node, "pod-2", false).unwrap();
        assert_eq!(read(&again, name), "kept", "{name}");
        assert_eq!(cluster.bed.node(0).helpers().len(), 1);
        for _ in 0..2 {
            csi.unpublish(&volume, node, "pod-2").unwrap();
            csi.unpublish(&volume, node, "pod").unwrap();
        }
        for _ in 0..2 {
            csi.unstage(&volume, node).unwrap();
        }
        for _ in 0..2 {
            csi.detach(&volume, node).unwrap();
        }
        cluster.assert_empty();
    }
}

#[test]
fn a_volume_of_its_own_secret_is_never_mounted_with_other_keys_of_the_node() {
    const TEST: &str = "a_volume_of_its_own_secret_is_never_mounted_with_other_keys_of_the_node";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume = cluster.volume("pv-own", Access::ManyNodes, &[]);
    csi.start_pod(&mut volume, node, "pod").unwrap();
    let used = |key: &str| {
        let journal = cluster.bed.region().journal();
        journal.iter().any(|entry| entry.listener == "oss" && entry.caller.as_deref() == Some(key))
    };
    let region = cluster.bed.region().description();
    assert!(used(&region.admin.access_key_id));
    assert!(region.instances.iter().all(|instance| !used(&instance.keys.access_key_id)));
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn a_secret_that_changed_reaches_the_helper_with_the_next_publish_and_no_pod_notices() {
    const TEST: &str =
        "a_secret_that_changed_reaches_the_helper_with_the_next_publish_and_no_pod_notices";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume = cluster.volume("pv-keys", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "kept");
    let before = cluster.helper(0);
    // As it was: the helper goes on.
    csi.publish(&volume, node, "pod", false).unwrap();
    assert_eq!(cluster.helper(0), before);
    let region = cluster.bed.region();
    let other = region.description().instances[0].keys.clone();
    let uses = || {
        let journal = region.journal();
        journal
            .iter()
            .filter(|entry| entry.caller.as_deref() == Some(&*other.access_key_id))
            .any(|entry| entry.listener == "oss" && entry.status == 200)
    };
    assert!(!uses());
    volume.publish_secret = [
        ("akId".to_owned(), other.access_key_id.clone()),
        ("akSecret".to_owned(), other.access_key_secret.clone()),
    ]
    .into();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..200 {
                assert_eq!(read(&target, "data"), "kept");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        csi.publish(&volume, node, "pod", false).unwrap();
        reader.join().unwrap();
    });
    write(&target, "more", "by the new keys");
    assert!(uses() && cluster.helper(0) != before);
    assert_eq!(read(&target, "data"), "kept");
    // A call without a secret changes nothing.
    let now = cluster.helper(0);
    volume.publish_secret.clear();
    csi.publish(&volume, node, "pod", false).unwrap();
    assert_eq!(cluster.helper(0), now);
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn a_volume_for_reading_and_a_path_of_a_bucket_are_what_they_say() {
    let Some(cluster) =
        Cluster::of("a_volume_for_reading_and_a_path_of_a_bucket_are_what_they_say")
    else {
        return;
    };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    cluster.bed.region().put_object("shared", "models/", b"").unwrap();
    cluster.bed.region().put_object("shared", "models/a", b"weights").unwrap();
    let path = [("path", "/models")];
    let mut volume = cluster.volume("pv-ro", Access::ManyNodesToRead, &path);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    assert_eq!(read(&target, "a"), "weights");
    for place in [target.join("b"), volume.staging(node, csi.driver()).join("b")] {
        let refused = std::fs::write(place, "x").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    }
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}
