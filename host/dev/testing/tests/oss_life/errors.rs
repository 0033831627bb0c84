//! What goes wrong, and what is said of it: which volume, why, and what to do.

use std::fs;
use std::time::{Duration, Instant};

use wharf_cloudsim::{Fault, FaultRule};
use wharf_testing::player::{Access, CsiVolume, FlexVolume, PlayError, Retry};

use super::cluster::{Cluster, holds, kill, until, write};

/// The refusal of a volume's first pod.
fn refusal(cluster: &Cluster, volume: &mut CsiVolume) -> String {
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    csi.attach(volume, node).unwrap();
    let refused = csi.stage(volume, node).and_then(|()| csi.publish(volume, node, "pod", false));
    let refused = refused.unwrap_err();
    assert!(matches!(refused, PlayError::Refused { .. }), "{refused}");
    csi.unpublish(volume, node, "pod").unwrap();
    csi.unstage(volume, node).unwrap();
    csi.detach(volume, node).unwrap();
    cluster.assert_empty();
    refused.to_string()
}

/// The same over FlexVolume.
fn flex_refusal(cluster: &Cluster, volume: &FlexVolume) -> String {
    let (flex, node) = (cluster.flex.clone().with_retry(Retry::never()), &cluster.flex_nodes[0]);
    let refused = flex.mount(volume, node, "pod").unwrap_err();
    assert!(matches!(refused, PlayError::Refused { .. }), "{refused}");
    flex.unmount(volume, node, "pod").unwrap();
    cluster.assert_empty();
    refused.to_string()
}

fn assert_says(refusal: &str, words: &[&str]) {
    for word in words {
        assert!(refusal.contains(word), "no `{word}` in: {refusal}");
    }
}

#[test]
fn a_wrong_key_and_a_missing_bucket_are_told_apart() {
    let Some(cluster) = Cluster::of("a_wrong_key_and_a_missing_bucket_are_told_apart") else {
        return;
    };
    let volume = |name: &str, more: &[(&str, &str)]| cluster.volume(name, Access::ManyNodes, more);
    let mut wrong_key = volume("pv-wrong-key", &[]);
    wrong_key.publish_secret.insert("akSecret".to_owned(), "not-the-key".to_owned());
    let said = refusal(&cluster, &mut wrong_key);
    assert_says(&said, &["pv-wrong-key", "s3fs", "`shared`", "nvalid credentials", "key"]);
    let said = refusal(&cluster, &mut volume("pv-no-bucket", &[("bucket", "nowhere")]));
    assert_says(&said, &["pv-no-bucket", "s3fs", "bucket", "nowhere"]);
    let mut wrong_key = cluster.flex_volume("pv-flex-wrong-key", &[]);
    wrong_key.secret.insert("akSecret".to_owned(), b"not-the-key".to_vec());
    assert_says(&flex_refusal(&cluster, &wrong_key), &["s3fs", "`shared`", "nvalid credentials"]);
    let no_bucket = cluster.flex_volume("pv-flex-no-bucket", &[("bucket", "nowhere")]);
    assert_says(&flex_refusal(&cluster, &no_bucket), &["s3fs", "bucket", "nowhere"]);
}

#[test]
fn a_network_that_is_gone_is_told_and_one_that_comes_back_is_used_again() {
    const TEST: &str = "a_network_that_is_gone_is_told_and_one_that_comes_back_is_used_again";
    let Some(cluster) = Cluster::of(TEST) else { return };
    // Nobody listens there.
    let nowhere = [("url", "http://127.0.0.1:1")];
    let mut gone = cluster.volume("pv-no-network", Access::ManyNodes, &nowhere);
    assert_says(&refusal(&cluster, &mut gone), &["pv-no-network", "s3fs", "`shared`", "onnect"]);
    let gone = cluster.flex_volume("pv-flex-no-network", &nowhere);
    assert_says(&flex_refusal(&cluster, &gone), &["s3fs", "`shared`", "onnect"]);
    // It goes while a pod has the bucket.
    let (csi, node, region) = (&cluster.csi, &cluster.nodes[0], cluster.bed.region());
    let mut volume = cluster.volume("pv-network", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "kept");
    let helper = cluster.helper(0);
    region.set_faults(vec![FaultRule::new("*", Fault::DropRequest)]);
    assert!(fs::read(target.join("data")).is_err(), "the pod is told");
    assert_eq!(cluster.helper(0), helper, "a helper that waits for its network is left alone");
    // The node's own part goes on: another pod comes and goes.
    csi.publish(&volume, node, "pod-2", false).unwrap();
    csi.unpublish(&volume, node, "pod-2").unwrap();
    region.set_faults(Vec::new());
    until("it is read again", || holds(&target, "data", "kept"));
    assert_eq!(cluster.helper(0), helper);
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

#[test]
fn a_volume_without_a_secret_is_told_where_to_name_it() {
    let only_calls = |config: String| {
        let (head, tail) = config.split_once(r#"source = [{ kind = "call" }, "#).unwrap();
        let (_, tail) = tail.split_once("]\n").unwrap();
        format!("{head}source = [{{ kind = \"call\" }}]\n{tail}")
    };
    const TEST: &str = "a_volume_without_a_secret_is_told_where_to_name_it";
    let Some(cluster) = Cluster::with(TEST, only_calls) else { return };
    let mut volume = cluster.volume("pv-no-secret", Access::ManyNodes, &[]);
    volume.publish_secret.clear();
    let said = refusal(&cluster, &mut volume);
    assert_says(&said, &["pv-no-secret", "oss-keys", "no credential", "nodePublishSecretRef"]);
    let mut half = cluster.volume("pv-half", Access::ManyNodes, &[]);
    half.publish_secret.remove("akSecret");
    assert_says(&refusal(&cluster, &mut half), &["pv-half", "no `akSecret`", "akId"]);
    let flex = cluster.flex_volume("pv-flex", &[]);
    let none = FlexVolume { secret: Default::default(), ..flex };
    assert_says(&flex_refusal(&cluster, &none), &["no credential", "secretRef"]);
}

#[test]
fn a_helper_that_is_not_installed_is_told_with_how_to_install_it() {
    let absent =
        |config: String| config.replace("s3fs = { ", "s3fs = { program = \"no-such-program\", ");
    const TEST: &str = "a_helper_that_is_not_installed_is_told_with_how_to_install_it";
    let Some(cluster) = Cluster::with(TEST, absent) else { return };
    let said = refusal(&cluster, &mut cluster.volume("pv-absent", Access::ManyNodes, &[]));
    assert_says(&said, &["pv-absent", "no-such-program", "not installed", "apt-get install s3fs"]);
    let said = flex_refusal(&cluster, &cluster.flex_volume("pv-flex-absent", &[]));
    assert_says(&said, &["no-such-program", "not installed", "apt-get install s3fs"]);
}

/// A profile whose program is a script, with this many seconds to get ready.
fn scripted(config: &str, script: &str, seconds: u32) -> String {
    let machine = config.lines().find_map(|line| line.strip_prefix("state = \"")).unwrap();
    let path = machine.replace("/state\"", "/helper.sh");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    let profile = format!(
        r#"s3fs = {{ accounts = ["oss-keys"], profile = {{ program = "/bin/sh", install = "-", arguments = ["{path}", "{{source}}", "{{mountpoint}}", "-f", "{{options}}"], credentials = {{ s3fs-passwd = ["-opasswd_file={{credentials}}/passwd"] }}, options = ["*"], start-seconds = {seconds} }} }}"#
    );
    config.replace(r#"s3fs = { accounts = ["oss-keys"] }"#, &profile)
}

#[test]
fn a_helper_that_hangs_at_its_start_ends_by_its_deadline() {
    const TEST: &str = "a_helper_that_hangs_at_its_start_ends_by_its_deadline";
    let hanging = |config: String| scripted(&config, "echo still waiting; exec sleep 4242", 2);
    let Some(cluster) = Cluster::with(TEST, hanging) else { return };
    let (csi, node) = (cluster.csi.clone().with_retry(Retry::never()), &cluster.nodes[0]);
    let mut volume = cluster.volume("pv-hangs", Access::ManyNodes, &[]);
    csi.attach(&mut volume, node).unwrap();
    csi.stage(&volume, node).unwrap();
    let begun = Instant::now();
    let refused = csi.publish(&volume, node, "pod", false).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_says(&refused.to_string(), &["pv-hangs", "not ready", "`shared`", "still waiting"]);
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
    let begun = Instant::now();
    let refused = flex_refusal(&cluster, &cluster.flex_volume("pv-flex-hangs", &[]));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_says(&refused, &["not ready", "`shared`", "still waiting"]);
}

#[test]
fn a_helper_that_ends_at_once_for_ever_is_started_more_and_more_rarely_and_seen() {
    const TEST: &str =
        "a_helper_that_ends_at_once_for_ever_is_started_more_and_more_rarely_and_seen";
    let broken = "[ -e $(dirname $0)/broken ] && echo out of order && exit 3\nexec s3fs \"$@\"";
    let Some(cluster) = Cluster::with(TEST, |config| scripted(&config, broken, 30)) else {
        return;
    };
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let mut volume = cluster.volume("pv-broken", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "kept");
    // Over FlexVolume, on the other node.
    let (flex, flex_node) = (&cluster.flex, &cluster.flex_nodes[1]);
    let flex_volume = cluster.flex_volume("pv-flex-broken", &[]);
    let flex_target = flex.mount(&flex_volume, flex_node, "pod").unwrap();
    let marks = [0, 1].map(|n| cluster.bed.node(n).directory().join("broken"));
    for (n, mark) in marks.iter().enumerate() {
        fs::write(mark, "").unwrap();
        kill(cluster.helper(n));
    }
    until("both were tried three times", || {
        (0..2).all(|n| cluster.mounts_of(n)[0]["restarts"].as_u64() >= Some(3))
    });
    let condition = csi.condition(&volume, node, "pod").unwrap();
    assert!(condition.abnormal, "{condition:?}");
    assert_says(&condition.message, &["its helper is gone", "wharf mounts list"]);
    assert!(fs::read_dir(&flex_target).is_err(), "a pod sees a directory that is not the bucket");
    let begun = Instant::now();
    let ran = machine.run(cluster.bed.parts(), &["mounts", "list"]).unwrap();
    assert_says(&ran.stdout, &["dead, and started again", "of shared", "exit code 3"]);
    let ran = machine.run(cluster.bed.parts(), &["mounts", "logs", &target_of(&cluster)]).unwrap();
    assert_says(&ran.stdout, &["out of order"]);
    // A pod that comes meanwhile is not told that all is well, or waits; it never sees an empty
    // directory.
    if let Ok(other) = csi.clone().with_retry(Retry::never()).publish(&volume, node, "pod-2", false)
    {
        assert!(fs::read_dir(&other).is_err(), "a pod sees a directory that is not the bucket");
    }
    csi.unpublish(&volume, node, "pod-2").unwrap();
    // One, two, four seconds: never a busy loop.
    let restarts = cluster.mounts_of(0)[0]["restarts"].as_u64().unwrap();
    assert!(restarts <= 4 + begun.elapsed().as_secs(), "{restarts} starts");
    for mark in &marks {
        fs::remove_file(mark).unwrap();
    }
    until("both are healed", || {
        holds(&target, "data", "kept") && holds(&flex_target, "data", "kept")
    });
    flex.unmount(&flex_volume, flex_node, "pod").unwrap();
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}

fn target_of(cluster: &Cluster) -> String {
    cluster.mounts_of(0)[0]["target"].as_str().unwrap().to_owned()
}
