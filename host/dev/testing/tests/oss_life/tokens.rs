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

/// The account that a workload's identity assumes, and the stand-ins as helpers.
fn with_identity(bed: &Bed, config: String) -> String {
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
fn reads_go_on_across_the_end_of_temporary_keys() {
    const TEST: &str = "reads_go_on_across_the_end_of_temporary_keys";
    let Some(cluster) = Cluster::of_bed(TEST, "info", with_identity) else { return };
    let (csi, node, region) = (&cluster.csi, &cluster.nodes[0], cluster.bed.region());
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
        region.advance(Duration::from_secs(FIRST_LIFE));
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
