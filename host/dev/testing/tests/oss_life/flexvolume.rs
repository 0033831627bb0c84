//! Buckets over FlexVolume: a mount for each pod, with the secret that kubelet passes.

use std::io::ErrorKind;

use wharf_testing::player::Part;

use super::cluster::{Cluster, holds, kill, read, until, write};
use super::deaths::write_across_deaths;

#[test]
fn a_bucket_is_mounted_for_a_pod_and_healed_and_taken_away() {
    let Some(cluster) = Cluster::of("a_bucket_is_mounted_for_a_pod_and_healed_and_taken_away")
    else {
        return;
    };
    let (flex, nodes) = (&cluster.flex, &cluster.flex_nodes);
    assert!(!flex.probe(Part::Kubelet, &nodes[0]).unwrap().attach);
    let volume = cluster.flex_volume("pv-flex", &[]);
    let one = flex.mount(&volume, &nodes[0], "pod-a").unwrap();
    let two = flex.mount(&volume, &nodes[1], "pod-b").unwrap();
    write(&one, "data", "by flexvolume");
    assert_eq!(read(&two, "data"), "by flexvolume");
    kill(cluster.helper(0));
    until("it is healed", || holds(&one, "data", "by flexvolume"));
    // A supervisor that is killed is followed by one that the next call-out starts.
    let machine = cluster.bed.node(0);
    kill(machine.supervisor_pid().unwrap());
    until("the supervisor is gone", || machine.supervisor_pid().is_none());
    assert_eq!(read(&one, "data"), "by flexvolume");
    let more = flex.mount(&volume, &nodes[0], "pod-c").unwrap();
    assert_eq!(read(&more, "data"), "by flexvolume");
    let helpers = machine.kill_helpers();
    assert_eq!(helpers.len(), 2);
    until("both are healed", || {
        holds(&one, "data", "by flexvolume") && holds(&more, "data", "by flexvolume")
    });
    flex.unmount(&volume, &nodes[0], "pod-c").unwrap();
    flex.unmount(&volume, &nodes[0], "pod-a").unwrap();
    flex.unmount(&volume, &nodes[1], "pod-b").unwrap();
    cluster.assert_empty();
}

#[test]
fn what_a_pod_stored_before_a_helper_was_killed_is_there_and_writing_goes_on() {
    const TEST: &str = "what_a_pod_stored_before_a_helper_was_killed_is_there_and_writing_goes_on";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let volume = cluster.flex_volume("pv-flex-write", &[]);
    let target = cluster.flex.mount(&volume, &cluster.flex_nodes[0], "pod").unwrap();
    write_across_deaths(&cluster, &target);
    cluster.flex.unmount(&volume, &cluster.flex_nodes[0], "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn volumes_of_the_earlier_plugin_are_read_as_they_were_written() {
    let Some(cluster) = Cluster::of("volumes_of_the_earlier_plugin_are_read_as_they_were_written")
    else {
        return;
    };
    let (flex, node) = (&cluster.flex, &cluster.flex_nodes[0]);
    cluster.bed.region().put_object("shared", "dir/", b"").unwrap();
    cluster.bed.region().put_object("shared", "dir/a", b"inside").unwrap();
    let mut volume = cluster.flex_volume("pv-old", &[]);
    // Keys of options in any case, a path behind the bucket, only reading.
    volume.options.remove("bucket");
    volume.options.insert("Bucket".to_owned(), "shared:/dir".to_owned());
    volume.read_only = true;
    let target = flex.mount(&volume, node, "pod").unwrap();
    assert_eq!(read(&target, "a"), "inside");
    let refused = std::fs::write(target.join("b"), "x").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ReadOnlyFilesystem);
    // The same volume for a second pod of the node is a mount of its own.
    flex.mount(&volume, node, "pod-2").unwrap();
    assert_eq!(cluster.bed.node(0).helpers().len(), 2);
    flex.unmount(&volume, node, "pod").unwrap();
    flex.unmount(&volume, node, "pod-2").unwrap();
    cluster.assert_empty();
}
