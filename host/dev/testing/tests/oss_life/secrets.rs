//! Keys of a volume's secret are nowhere but in the helper's own files and in the memory of those
//! who sign with them: the component `auth` and the helper.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use serde_json::Value;
use wharf_testing::bed::Bed;
use wharf_testing::canaries::Canaries;
use wharf_testing::player::{Access, Event, Happening, Retry};

use super::cluster::{Cluster, kill, until, write};
use super::tokens::with_identity;

/// What may hold keys: the machine's own, and the files of a helper.
const MAY_HOLD_KEYS: &[&str] = &["keys", ".credential-1", ".credential-2"];

#[test]
fn keys_of_a_volume_are_in_no_argument_list_log_state_environment_or_error() {
    const TEST: &str = "keys_of_a_volume_are_in_no_argument_list_log_state_environment_or_error";
    let Some(cluster) = Cluster::telling_all(TEST) else { return };
    let keys = &cluster.bed.region().description().admin;
    let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&keys.access_key_secret);
    let wrong = format!("{}-wrong", keys.access_key_secret);
    let canaries = Canaries::new([keys.access_key_secret.clone(), encoded]);
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let shown = canaries.shown_during(|| live(&cluster, &canaries, &wrong, &said));
    assert!(shown.is_empty(), "in argument lists or environments: {shown:?}");
    let said = said.lock().unwrap();
    assert!(said.len() >= 3, "refusals are heard: {said:?}");
    assert!(!said.iter().any(|words| canaries.are_in(words)), "{said:?}");
    let mut searched = 0;
    for machine in cluster.bed.nodes().iter().chain([cluster.bed.manager()]) {
        searched += canaries.search_files(machine.directory(), MAY_HOLD_KEYS);
    }
    assert!(searched > 20, "only {searched} files were searched");
}

/// A life over both front ends: refused with a wrong key, mounted, healed, taken away.
fn live(cluster: &Cluster, canaries: &Canaries, wrong: &str, said: &Arc<Mutex<Vec<String>>>) {
    let heard = Arc::clone(said);
    let audience = Arc::new(move |event: &Event| {
        if let Happening::Failed { why, .. } = &event.happening {
            heard.lock().unwrap().push(why.clone());
        }
    });
    let csi = cluster.csi.clone().with_audience(audience.clone());
    let flex = cluster.flex.clone().with_retry(Retry::never()).with_audience(audience);
    let (node, flex_node) = (&cluster.nodes[0], &cluster.flex_nodes[0]);
    let mut refused = cluster.volume("pv-refused", Access::ManyNodes, &[]);
    refused.publish_secret.insert("akSecret".to_owned(), wrong.to_owned());
    csi.attach(&mut refused, node).unwrap();
    csi.stage(&refused, node).unwrap();
    csi.publish(&refused, node, "pod", false).unwrap_err();
    // A secret whose keys are called otherwise is none.
    let odd: BTreeMap<_, _> = [("password".to_owned(), wrong.to_owned())].into();
    refused.publish_secret = odd;
    csi.unstage(&refused, node).unwrap();
    let mut flex_refused = cluster.flex_volume("pv-flex-refused", &[]);
    flex_refused.secret.insert("akSecret".to_owned(), wrong.as_bytes().to_vec());
    flex.mount(&flex_refused, flex_node, "pod").unwrap_err();
    // Keys among the attributes are refused, and not repeated.
    let plain = cluster.volume("pv-plain", Access::ManyNodes, &[("akSecret", wrong)]);
    csi.stage(&plain, node).unwrap_err();

    let mut volume = cluster.volume("pv-secret", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "x");
    kill(cluster.helper(0));
    until("it is healed", || fs::read(target.join("data")).is_ok());
    let mount = cluster.serving(0);
    let name = mount["name"].as_str().unwrap();
    for arguments in [
        vec!["mounts", "list"],
        vec!["mounts", "list", "--output", "json"],
        vec!["mounts", "logs", name],
    ] {
        let ran = cluster.bed.node(0).run(cluster.bed.parts(), &arguments).unwrap();
        said.lock().unwrap().push(format!("{}{}", ran.stdout, ran.stderr));
    }
    // The helper's own files are there as long as it is, for root alone, and nowhere on a disk.
    let machine = cluster.bed.node(0);
    let keys = machine.helper_mounts().join(name).join("credential/passwd");
    assert!(canaries.are_in(&fs::read_to_string(&keys).unwrap()));
    check_pages(cluster, canaries);
    // Records, sockets, logs and what is mounted, while all of it is there.
    assert!(canaries.search_files(machine.directory(), MAY_HOLD_KEYS) > 10);
    assert!(machine.state().join("mounts").join(format!("{name}.json")).exists());
    check_processes(cluster, canaries);
    csi.end_pod(&volume, node, "pod").unwrap();
    until("the keys are gone with the mount", || !keys.exists());
    let flex_volume = cluster.flex_volume("pv-flex-secret", &[]);
    flex.mount(&flex_volume, flex_node, "pod").unwrap();
    flex.unmount(&flex_volume, flex_node, "pod").unwrap();
    csi.detach(&refused, node).unwrap();
    cluster.assert_empty();
}

/// What everybody may read: the metrics of a node, and what the cloud was asked.
fn check_pages(cluster: &Cluster, canaries: &Canaries) {
    let (status, metrics) = cluster.bed.node(0).page("/metrics").unwrap();
    assert!(status == 200 && metrics.contains("wharf_helper_mounts"), "{status}: {metrics}");
    assert!(!canaries.are_in(&metrics), "{metrics}");
    let journal = cluster.bed.region().journal();
    assert!(journal.iter().any(|entry| entry.listener == "oss"), "{journal:?}");
    let journal = serde_json::to_string(&journal).unwrap();
    assert!(!canaries.are_in(&journal), "{journal}");
}

#[test]
fn temporary_keys_and_tokens_are_in_no_argument_list_log_state_metric_or_error() {
    const TEST: &str =
        "temporary_keys_and_tokens_are_in_no_argument_list_log_state_metric_or_error";
    let Some(cluster) = Cluster::of_bed(TEST, "debug", with_identity) else { return };
    let (csi, flex, machine) = (&cluster.csi, &cluster.flex, cluster.bed.node(0));
    let (node, flex_node) = (&cluster.nodes[0], &cluster.flex_nodes[0]);
    let attributes = |auth| [("fuseType", "ossfs2"), ("authType", auth), ("otherOpts", "")];
    let mut volume = cluster.volume("pv-sts", Access::ManyNodes, &attributes("sts"));
    volume.publish_secret.clear();
    let mut flex_volume = cluster.flex_volume("pv-rrsa", &attributes("rrsa"));
    flex_volume.secret.clear();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    flex.mount(&flex_volume, flex_node, "pod").unwrap();
    write(&target, "data", "x");
    let files = || -> Vec<_> {
        let private = |mount: Value| machine.helper_mounts().join(mount["name"].as_str().unwrap());
        let mounts = cluster.mounts_of(0).into_iter().map(private);
        mounts.map(|private| private.join("credential/credential.json")).collect()
    };
    let keys = |file: &PathBuf| {
        let keys: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        ["AccessKeySecret", "SecurityToken"].map(|name| keys[name].as_str().unwrap().to_owned())
    };
    let mut secrets: Vec<_> = files().iter().flat_map(keys).collect();
    assert_eq!(secrets.len(), 4);
    machine.kill_helpers();
    until("it is healed", || fs::read(target.join("data")).is_ok());
    let mut said = String::new();
    for arguments in [
        vec!["mounts", "renew", "--all"],
        vec!["mounts", "list", "--output", "json"],
        vec!["mounts", "logs", target.to_str().unwrap()],
    ] {
        let ran = machine.run(cluster.bed.parts(), &arguments).unwrap();
        said.push_str(&format!("{}{}", ran.stdout, ran.stderr));
    }
    // And those that took their place.
    secrets.extend(files().iter().flat_map(keys));
    let canaries = Canaries::new(secrets);
    assert!(!canaries.are_in(&said), "{said}");
    check_pages(&cluster, &canaries);
    // Of components there are megabytes, which the other test searches.
    let but = [MAY_HOLD_KEYS, &["store"]].concat();
    assert!(canaries.search_files(machine.directory(), &but) > 10);
    for pid in [machine.supervisor_pid().unwrap(), machine.server_pid()] {
        for file in ["cmdline", "environ"] {
            let shown = fs::read(format!("/proc/{pid}/{file}")).unwrap();
            assert!(!canaries.are_in(&String::from_utf8_lossy(&shown)), "{pid}: {file}");
        }
    }
    let files = files();
    csi.end_pod(&volume, node, "pod").unwrap();
    flex.unmount(&flex_volume, flex_node, "pod").unwrap();
    cluster.assert_empty();
    assert!(!files.is_empty() && files.iter().all(|file| !file.exists()));
}

/// The helper, and everybody who handles its keys: none shows them, and none leaves a dump.
fn check_processes(cluster: &Cluster, canaries: &Canaries) {
    let machine = cluster.bed.node(0);
    let helper = cluster.helper(0);
    for pid in [helper, machine.supervisor_pid().unwrap(), machine.server_pid()] {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap();
        for file in ["cmdline", "environ"] {
            assert!(!canaries.are_in(&String::from_utf8_lossy(&read(file))), "{pid}: {file}");
        }
        let limits = String::from_utf8(read("limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        // A limit of zero does not stop a pattern that pipes dumps to a program.
        assert_eq!(core.split_whitespace().nth(4), Some("1"), "{pid}: {core}");
    }
    let environment = fs::read(format!("/proc/{helper}/environ")).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    let names: Vec<_> =
        environment.split_terminator('\0').filter_map(|one| one.split('=').next()).collect();
    assert_eq!(names, ["LC_ALL", "PATH"], "a helper gets nothing else");
}

/// With keys allowed among the attributes, as an operator writes it.
fn with_secret_attributes(_: &Bed, config: String) -> String {
    let section = "backend = \"oss\"\n";
    assert!(config.contains(section), "{config}");
    config.replace(section, &format!("{section}secret-attributes = [\"akId\", \"akSecret\"]\n"))
}

#[test]
fn keys_among_the_attributes_mount_where_that_is_allowed_and_are_written_down_nowhere() {
    const TEST: &str =
        "keys_among_the_attributes_mount_where_that_is_allowed_and_are_written_down_nowhere";
    let Some(cluster) = Cluster::of_bed(TEST, "debug", with_secret_attributes) else { return };
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let keys = &cluster.bed.region().description().admin;
    let canaries = Canaries::new([keys.access_key_id.clone(), keys.access_key_secret.clone()]);
    let attributes =
        [("AKID", keys.access_key_id.as_str()), ("akSecret", keys.access_key_secret.as_str())];
    let mut volume = cluster.volume("pv-plain", Access::ManyNodes, &attributes);
    volume.publish_secret.clear();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "x");
    assert!(canaries.search_files(machine.directory(), MAY_HOLD_KEYS) > 10);
    check_processes(&cluster, &canaries);
    csi.end_pod(&volume, node, "pod").unwrap();
    cluster.assert_empty();
}
