//! A server that stops while its volumes are made, mounted, used, taken away and deleted: every call
//! ends by its deadline and names it, another server's volumes do not notice, and all is well when
//! it is back.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use wharf_testing::player::{CsiVolume, FlexVolume, PlayError, Retry, VolumeClass};
use wharf_testing::tests;

use super::cluster::{Cluster, GIB, Share, cluster, names, read, write};

tests![every_call_ends_by_its_deadline_and_other_volumes_keep_their_latency,];

/// What a sidecar or a kubelet gives a call here.
const SHORT: Duration = Duration::from_secs(10);
/// How long the host waits for a server that answers nothing before it takes a mount away.
const PATIENCE: Duration = Duration::from_secs(30);
/// What one address of a server gets for a mount.
const MOUNTING: Duration = Duration::from_secs(60);
/// What all of it may take longer on busy processors.
const SLACK: Duration = Duration::from_secs(15);

/// What a call came to, and how long it took.
type Ended = (Result<(), PlayError>, Duration);

fn timed(call: impl FnOnce() -> Result<(), PlayError>) -> Ended {
    let begun = Instant::now();
    (call(), begun.elapsed())
}

fn assert_names(server: &str, within: Duration, what: &str, ended: Ended) {
    let (result, took) = ended;
    println!("{what}: {took:?}");
    let Err(error) = result else { panic!("{what} succeeds without its server") };
    let error = error.to_string();
    assert!(error.contains(server), "{what}: {error}");
    assert!(took < within + SLACK, "{what}: {took:?}");
}

impl Cluster {
    fn on(&self, share: &Share, name: &str) -> CsiVolume {
        let mut volume = self.fixed(name, &format!("/{name}"), &[]);
        volume.context.insert("server".to_owned(), share.server.clone());
        volume
    }
}

fn every_call_ends_by_its_deadline_and_other_volumes_keep_their_latency() {
    let cluster = cluster();
    let (dead, alive) = (&cluster.share, &cluster.other);
    let csi = cluster.csi.clone().with_retry(Retry::never()).with_timeout(SHORT);
    let patient = cluster.csi.clone().with_retry(Retry::never());
    let (flex, node, flex_node) = (&cluster.flex, &cluster.nodes[0], &cluster.flex_nodes[1]);
    let class = |name: &str| {
        let server = format!("{}:/k8s", dead.server);
        (name.to_owned(), VolumeClass::share(&[("server", &server), ("archiveOnDelete", "false")]))
    };
    let share_of = |name: &str| {
        let path = format!("/{name}");
        FlexVolume::new(name, "", &[("server", &dead.server), ("path", &path)])
    };
    // There before the server stops.
    let used = cluster.on(dead, "pv-used");
    write(&csi.publish(&used, node, "pod", false).unwrap(), "written");
    let flex_used = share_of("pv-flex-used");
    flex.mount(&flex_used, flex_node, "pod").unwrap();
    let (name, deleted_class) = class("pvc-deleted");
    let deleted = cluster.csi.provision(&name, GIB, &deleted_class).unwrap();
    write(&dead.at("/k8s/pvc-deleted"), "written");
    let life = || {
        let volume = cluster.on(alive, "pv-alive");
        let (result, took) = timed(|| {
            let target = csi.publish(&volume, node, "other", false)?;
            write(&target, "alive");
            csi.stats(&volume, node, "other")?;
            csi.unpublish(&volume, node, "other")
        });
        result.unwrap();
        took
    };
    let before = (0..3).map(|_| life()).max().unwrap();
    cluster.servers().of(&dead.server).stop();
    let new = cluster.on(dead, "pv-new");
    let (is_over, mut during) = (AtomicBool::new(false), Duration::ZERO);
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| {
            std::thread::scope(|scope| {
                let publish =
                    scope.spawn(|| timed(|| csi.publish(&new, node, "new", false).map(drop)));
                let create = scope.spawn(|| {
                    let (name, class) = class("pvc-new");
                    timed(|| csi.provision(&name, GIB, &class).map(drop))
                });
                let delete = scope.spawn(|| timed(|| csi.delete(&deleted)));
                let stats = scope.spawn(|| timed(|| csi.stats(&used, node, "pod").map(drop)));
                let mount = scope.spawn(|| {
                    timed(|| flex.mount(&share_of("pv-flex"), flex_node, "new").map(drop))
                });
                let unmount = scope.spawn(|| timed(|| flex.unmount(&flex_used, flex_node, "pod")));
                let named = |within, what: &str, ended| {
                    assert_names(&dead.server, within, what, ended);
                };
                named(SHORT, "NodePublishVolume", publish.join().unwrap());
                named(SHORT, "CreateVolume", create.join().unwrap());
                named(SHORT, "DeleteVolume", delete.join().unwrap());
                named(SHORT, "NodeGetVolumeStats", stats.join().unwrap());
                let (unpublished, took) = timed(|| patient.unpublish(&used, node, "pod"));
                println!("NodeUnpublishVolume: {took:?}");
                unpublished.unwrap();
                assert!(took < PATIENCE * 2 + SLACK, "{took:?}");
                let (unmounted, took) = unmount.join().unwrap();
                println!("unmount: {took:?}");
                unmounted.unwrap();
                assert!(took < PATIENCE * 2 + SLACK, "{took:?}");
                named(MOUNTING, "mount", mount.join().unwrap());
            });
            is_over.store(true, Ordering::SeqCst);
        });
        while !is_over.load(Ordering::SeqCst) && !calls.is_finished() {
            during = during.max(life());
        }
    });
    println!("a volume of another server: {before:?}, with a dead one beside it {during:?}");
    assert!(during < before * 5 + Duration::from_secs(1), "{before:?} {during:?}");
    let left = cluster.bed.mounts();
    assert!(left.is_empty(), "{left:?}");

    cluster.servers().of(&dead.server).go_on();
    // Nothing was lost, and what did not come about comes about now.
    assert_eq!(read(&dead.at("/pv-used")), "written");
    let target = cluster.csi.publish(&used, node, "pod", false).unwrap();
    assert_eq!(read(&target), "written");
    cluster.csi.unpublish(&used, node, "pod").unwrap();
    cluster.csi.unpublish(&new, node, "new").unwrap();
    flex.mount(&share_of("pv-flex"), flex_node, "new").unwrap();
    flex.unmount(&share_of("pv-flex"), flex_node, "new").unwrap();
    cluster.csi.delete(&deleted).unwrap();
    assert_eq!(gone(&dead.at("/k8s")), Vec::<String>::new());
    let (name, class) = class("pvc-new");
    let new = cluster.csi.provision(&name, GIB, &class).unwrap();
    assert_eq!(names(&dead.at("/k8s")), ["pvc-new"]);
    cluster.csi.delete(&new).unwrap();
    cluster.assert_as_before();
}

/// What is left of deleted volumes.
fn gone(directory: &Path) -> Vec<String> {
    names(directory).into_iter().filter(|name| name.contains("deleted")).collect()
}
