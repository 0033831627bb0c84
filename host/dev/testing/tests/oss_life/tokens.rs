//! Temporary keys: the next ones reach a running helper before those that it has expire.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wharf_testing::bed::Bed;
use wharf_testing::player::Access;

use super::cluster::{Cluster, PROVIDER, read, until, write};
use super::programs::with_stand_ins;

/// The first keys' life, of which the last quarter is when the next ones are asked for.
const FIRST_LIFE: u64 = 12;
/// They are taken for so long after it, until the test moves the region's time: how soon this
/// machine comes to renew them is not what is tested.
const GRACE: u64 = 120;

/// The account that a workload's identity assumes, and the stand-ins as helpers.
pub fn with_identity(bed: &Bed, config: String) -> String {
    let token = bed.directory().join("identity");
    std::fs::write(&token, bed.region().oidc_token(0, "system:serviceaccount:a:b").unwrap())
        .unwrap();
    let role = format!("acs:ram::{}:role/Reader", bed.region().description().account);
    let account = format!(
        "\n[account.oss-rrsa]\ncomponent = \"auth\"\nendpoints = [\"sts\"]\nsource = [{{ kind = \
         \"oidc\", role-arn = {role:?}, oidc-provider-arn = {PROVIDER:?}, token = {{ file = \
         {token:?} }} }}]\n"
    );
    let config = with_stand_ins(config) + &account;
    config.replace("\"oss-sts\"]", "\"oss-sts\", \"oss-rrsa\"]")
}

#[test]
fn keys_that_end_are_renewed_where_kubelet_repeats_no_call() {
    const TEST: &str = "keys_that_end_are_renewed_where_kubelet_repeats_no_call";
    let Some(cluster) = Cluster::of_bed(TEST, "info", with_identity) else { return };
    let (csi, flex, region) = (&cluster.csi, &cluster.flex, cluster.bed.region());
    // There the supervisor, which a call-out started, has another process do it.
    cluster.bed.node(1).stop();
    region.set_session_grace_seconds(GRACE);
    region.set_session_seconds(Some(FIRST_LIFE));
    let attributes = |auth| [("fuseType", "ossfs2"), ("authType", auth), ("otherOpts", "")];
    let mut volume = cluster.volume("pv-csi", Access::ManyNodes, &attributes("sts"));
    volume.publish_secret.clear();
    let mut flex_volume = cluster.flex_volume("pv-flex", &attributes("rrsa"));
    flex_volume.secret.clear();
    let targets = [
        csi.start_pod(&mut volume, &cluster.nodes[0], "pod").unwrap(),
        flex.mount(&flex_volume, &cluster.flex_nodes[0], "pod-flex").unwrap(),
        flex.mount(&flex_volume, &cluster.flex_nodes[1], "pod-flex").unwrap(),
    ];
    for (n, target) in targets.iter().enumerate() {
        write(target, &format!("data-{n}"), "kept");
    }
    region.set_session_seconds(None);
    let helpers = |n| -> Vec<_> {
        let pid = |mount: serde_json::Value| {
            assert!(mount["renew-at-ms"].is_u64(), "{mount}");
            (mount["condition"] == "serving").then(|| mount["pid"].as_i64().unwrap())
        };
        cluster.mounts_of(n).into_iter().map(pid).collect()
    };
    let first = [helpers(0), helpers(1)];
    let have_changed = |n: usize, before: &[Option<i64>]| {
        helpers(n).iter().all(|pid| pid.is_some() && !before.contains(pid))
    };
    until("every helper has new keys", || (0..2).all(|n| have_changed(n, &first[n])));
    region.clear_journal();
    region.advance(Duration::from_secs(FIRST_LIFE + GRACE));
    for (n, target) in targets.iter().enumerate() {
        assert_eq!(read(target, &format!("data-{n}")), "kept");
        write(target, &format!("after-{n}"), "more");
    }
    let journal = region.journal();
    let refused = journal.iter().filter(|entry| entry.listener == "oss" && entry.status == 403);
    assert_eq!(refused.count(), 0);
    // By hand, although nothing is due.
    let second = helpers(1);
    let renew = |arguments: &[&str]| {
        let ran = cluster.bed.node(1).run(cluster.bed.parts(), arguments).unwrap();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stdout
    };
    assert_eq!(renew(&["mounts", "renew"]), "");
    assert_eq!(helpers(1), second);
    let renewed = renew(&["mounts", "renew", "--all"]);
    assert_eq!(renewed, format!("renewed: {}\n", targets[2].display()));
    until("the new helper serves", || have_changed(1, &second));
    csi.end_pod(&volume, &cluster.nodes[0], "pod").unwrap();
    for node in &cluster.flex_nodes {
        flex.unmount(&flex_volume, node, "pod-flex").unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn reads_go_on_across_the_end_of_temporary_keys() {
    const TEST: &str = "reads_go_on_across_the_end_of_temporary_keys";
    let Some(cluster) = Cluster::of_bed(TEST, "info", with_identity) else { return };
    let (csi, node, region) = (&cluster.csi, &cluster.nodes[0], cluster.bed.region());
    region.set_session_grace_seconds(GRACE);
    region.set_session_seconds(Some(FIRST_LIFE));
    // One helper that is replaced for new keys, with each kind of them.
    let start = |auth: &str| {
        let attributes = [("fuseType", "ossfs2"), ("authType", auth), ("otherOpts", "")];
        let mut volume = cluster.volume(&format!("pv-{auth}"), Access::ManyNodes, &attributes);
        volume.publish_secret.clear();
        let target = csi.start_pod(&mut volume, node, "pod").unwrap();
        write(&target, auth, "kept");
        (volume, target, auth.to_owned())
    };
    let pods = ["sts", "rrsa"].map(start);
    let writers = |name: &str| -> Vec<String> {
        let journal = region.journal();
        let writes = journal.iter().filter(|entry| {
            let is_of = |key: &str| entry.parameters.get("key").is_some_and(|it| it == key);
            entry.action == "PutObject" && is_of(name)
        });
        writes.filter_map(|entry| entry.caller.clone()).collect()
    };
    region.set_session_seconds(None);
    let is_over = AtomicBool::new(false);
    let read_all = |target: &PathBuf, name: &str| {
        while !is_over.load(Ordering::SeqCst) {
            assert_eq!(read(target, name), "kept");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    std::thread::scope(|scope| {
        let (is_over, read_all) = (&is_over, &read_all);
        let readers: Vec<_> = pods
            .iter()
            .map(|(_, target, auth)| scope.spawn(move || read_all(target, auth)))
            .collect();
        for (volume, target, auth) in &pods {
            let mut tries = 0;
            until("new keys are in use", || {
                // As kubelet repeats it (`requiresRepublish`).
                csi.publish(volume, node, "pod", false).unwrap();
                tries += 1;
                let name = format!("{auth}-{tries}");
                write(target, &name, "more");
                let (first, now) = (writers(auth), writers(&name));
                assert!(first.iter().chain(&now).all(|key| key.starts_with("STS.")));
                now.first() != first.first()
            });
        }
        // One that was replaced answers what it was asked before.
        until("the first helpers have ended", || cluster.bed.node(0).helpers().len() == 2);
        // The first keys have expired, wherever they still were.
        region.clear_journal();
        region.advance(Duration::from_secs(FIRST_LIFE + GRACE));
        for (_, target, _) in &pods {
            write(target, "after", "more");
        }
        is_over.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    let refused: Vec<_> = region
        .journal()
        .into_iter()
        .filter(|entry| entry.listener == "oss" && entry.status == 403)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
    for (volume, ..) in &pods {
        csi.end_pod(volume, node, "pod").unwrap();
    }
    cluster.assert_empty();
}
