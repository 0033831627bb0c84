//! Canaries: the region's keys and a FlexVolume secret. Everything that Wharf writes, prints, says
//! or executes is searched for them.

use std::sync::{Arc, Mutex};

use wharf_cloudsim::{Fault, FaultRule};
use wharf_testing::canaries::Canaries;
use wharf_testing::player::{Event, FlexVolume, Happening, VolumeClass};

use super::cluster::{Cluster, GIB};

const CLASS: &[(&str, &str)] = &[("type", "cloud_auto")];
const FLEX_SECRET: &str = "canary-of-a-flexvolume-secret";
const FLEX_SECRET_BASE64: &str = "Y2FuYXJ5LW9mLWEtZmxleHZvbHVtZS1zZWNyZXQ";

pub fn search() {
    let Some(cluster) = Cluster::of("invariant_4") else { return };
    let instances = &cluster.bed.region().description().instances;
    let keys = instances.iter().map(|instance| instance.keys.access_key_secret.clone());
    let canaries = Canaries::new(keys.chain([FLEX_SECRET.into(), FLEX_SECRET_BASE64.into()]));
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = canaries.shown_during(|| live(&cluster, &said));
    assert!(seen.is_empty(), "in argument lists or environments: {seen:?}");
    for words in said.lock().unwrap().iter() {
        assert!(!canaries.are_in(words), "{words}");
    }
    let mut searched = 0;
    for machine in cluster.bed.nodes().iter().chain([cluster.bed.manager()]) {
        // Without the operator's own key files.
        searched += canaries.search_files(machine.directory(), &["keys"]);
        let shown = machine.run(cluster.bed.parts(), &["backend", "show", "disk"]).unwrap();
        assert!(!canaries.are_in(&shown.stdout) && !canaries.are_in(&shown.stderr));
    }
    // Logs, state, stores: a search that finds no file finds no secret either.
    assert!(searched > 20, "only {searched} files were searched");
}

/// Refusals of the cloud for every verb, an answer that makes no sense, and then success, over both
/// front ends.
fn live(cluster: &Cluster, said: &Arc<Mutex<Vec<String>>>) {
    let heard = Arc::clone(said);
    let audience = Arc::new(move |event: &Event| {
        if let Happening::Failed { why, .. } = &event.happening {
            heard.lock().unwrap().push(why.clone());
        }
    });
    let csi = cluster.csi.once().clone().with_audience(audience.clone());
    let flex = cluster.flex.clone().with_audience(audience);
    let node = &cluster.nodes[0];
    let class = VolumeClass::file_system("ext4", CLASS);
    let mut volume = cluster.csi.provision("pvc-secret", GIB, &class).unwrap();
    let mut pv = FlexVolume::new("pv-secret", "ext4", &[("volumeId", &volume.handle)]);
    pv.secret.insert("password".to_owned(), FLEX_SECRET.as_bytes().to_vec());
    let (manager, flex_node) = (cluster.bed.manager().flex_node(), cluster.bed.node(0).flex_node());
    for (name, fault) in [
        ("signature", Fault::fail(400, "SignatureDoesNotMatch")),
        ("forbidden", Fault::fail(403, "Forbidden.RAM")),
        ("key", Fault::fail(404, "InvalidAccessKeyId.NotFound")),
    ] {
        cluster.bed.region().set_faults(vec![FaultRule::new("*", fault)]);
        csi.provision(&format!("pvc-{name}"), GIB, &class).unwrap_err();
        csi.attach(&mut volume, node).unwrap_err();
        csi.expand_controller(&mut volume, 2 * GIB).unwrap_err();
        csi.detach(&volume, node).unwrap_err();
        csi.delete(&volume).unwrap_err();
        flex.attach(&pv, &manager, &flex_node).unwrap_err();
    }
    // What makes no sense is asked for again until the caller's patience is over.
    cluster.bed.region().set_faults(vec![FaultRule::new("*", Fault::GarbageAnswer)]);
    csi.attach(&mut volume, node).unwrap_err();
    cluster.bed.region().set_faults(Vec::new());
    assert!(said.lock().unwrap().len() > 3 * 6, "refusals are heard");
    cluster.csi.start_pod(&mut volume, node, "pod").unwrap();
    cluster.csi.end_pod(&volume, node, "pod").unwrap();
    let device = flex.attach(&pv, &manager, &flex_node).unwrap();
    let device = flex.wait_for_attach(&pv, &flex_node, &device).unwrap();
    // Not staged yet: `mount`, which has the secret, fails and says why.
    let _ = flex.mount(&pv, &flex_node, "pod");
    flex.mount_device(&pv, &flex_node, &device).unwrap();
    flex.mount(&pv, &flex_node, "pod").unwrap();
    flex.end_pod(&pv, &manager, &flex_node, "pod").unwrap();
    cluster.csi.delete(&volume).unwrap();
}
