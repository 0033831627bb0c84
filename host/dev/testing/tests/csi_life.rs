//! A volume's life over CSI: the real binary and the real disk backend, on real devices with real
//! file systems.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test's own helpers meet fails the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::Command;

use wharf_cloudsim::Quotas;
use wharf_csi::proto::list_volumes_response::Entry;
use wharf_testing::bed::{Bed, BedOptions};
use wharf_testing::player::{Access, CsiNode, CsiPlayer, CsiVolume, PlayError, Retry, VolumeClass};
use wharf_testing::requirement;
use wharf_testing::snapshot::Snapshot;

const GIB: u64 = 1 << 30;
const CLASS: &[(&str, &str)] = &[("type", "cloud_auto")];

struct Cluster {
    csi: CsiPlayer,
    nodes: Vec<CsiNode>,
    bed: Bed,
}

fn cluster(test: &str) -> Option<Cluster> {
    cluster_with(test, &BedOptions::default())
}

fn cluster_with(test: &str, options: &BedOptions) -> Option<Cluster> {
    if !requirement::machine(test) {
        return None;
    }
    let bed = Bed::make(options).unwrap();
    bed.serve().unwrap();
    let csi = bed.csi();
    let nodes = bed
        .nodes()
        .iter()
        .map(|node| csi.register(node.name(), &node.socket(), &node.kubelet()).unwrap())
        .collect();
    Some(Cluster { csi, nodes, bed })
}

impl Cluster {
    /// Nothing of any volume is left, anywhere.
    fn assert_empty(&self) {
        let left = Snapshot::of(&self.bed, &[]);
        assert!(left.is_empty(), "left behind:\n{left}");
    }
}

fn write(directory: &Path, text: &str) {
    fs::write(directory.join("data"), text).unwrap();
}

fn read(directory: &Path) -> String {
    fs::read_to_string(directory.join("data")).unwrap()
}

fn size_of_file_system(path: &Path) -> u64 {
    let output = Command::new("stat").args(["-f", "-c", "%b %S"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split_whitespace()
        .map(|number| number.parse::<u64>().unwrap())
        .product()
}

#[test]
fn nodes_say_which_instance_they_are() {
    let Some(cluster) = cluster("nodes_say_which_instance_they_are") else { return };
    for (node, machine) in cluster.nodes.iter().zip(cluster.bed.nodes()) {
        assert_eq!(node.id, machine.id());
        assert!(node.max_volumes > 0, "{node:?}");
        assert!(node.topology.values().any(|zone| zone == "cn-wharf-1a"), "{node:?}");
    }
}

#[test]
fn a_disk_is_made_in_a_zone_that_has_a_node_and_reached_from_there_alone() {
    const TEST: &str = "a_disk_is_made_in_a_zone_that_has_a_node_and_reached_from_there_alone";
    let Some(cluster) = cluster_with(
        TEST,
        &BedOptions { zones: vec!["cn-wharf-1a", "cn-wharf-1b"], ..BedOptions::default() },
    ) else {
        return;
    };
    let (csi, nodes) = (&cluster.csi, &cluster.nodes);
    let class = VolumeClass::file_system("ext4", CLASS);
    // Bound at once, and bound to where the first pod is to run.
    let anywhere = csi.provision("pvc-anywhere", GIB, &class).unwrap();
    let there = nodes
        .iter()
        .map(|node| VolumeClass { topology: vec![node.topology.clone()], ..class.clone() });
    let there: Vec<_> = there
        .enumerate()
        .map(|(n, class)| csi.provision(&format!("pvc-{n}"), GIB, &class).unwrap())
        .collect();
    let zone_of = |handle: &str| {
        cluster.bed.region().disks().into_iter().find(|disk| disk.id == handle).unwrap().zone
    };
    assert_eq!(
        [zone_of(&there[0].handle), zone_of(&there[1].handle)],
        ["cn-wharf-1a", "cn-wharf-1b"]
    );
    for mut volume in there.into_iter().chain([anywhere]) {
        let zone = zone_of(&volume.handle);
        let told: Vec<&str> =
            volume.topology.iter().flat_map(|place| place.values()).map(String::as_str).collect();
        assert_eq!(told, [zone.as_str()], "{:?}", volume.topology);
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            nodes.iter().partition(|node| node.topology.values().any(|place| *place == zone));
        assert!(volume.is_reachable_from(here[0]) && !volume.is_reachable_from(elsewhere[0]));
        csi.start_pod(&mut volume, here[0], "pod").unwrap();
        csi.end_pod(&volume, here[0], "pod").unwrap();
        csi.delete(&volume).unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn data_written_on_one_node_is_read_on_another_with_ext4_and_xfs() {
    let Some(cluster) = cluster("data_written_on_one_node_is_read_on_another_with_ext4_and_xfs")
    else {
        return;
    };
    let (csi, one, two) = (&cluster.csi, &cluster.nodes[0], &cluster.nodes[1]);
    for fs_type in ["ext4", "xfs"] {
        let mut volume = csi
            .provision(&format!("pvc-{fs_type}"), GIB, &VolumeClass::file_system(fs_type, CLASS))
            .unwrap();
        let target = csi.start_pod(&mut volume, one, "pod-a").unwrap();
        write(&target, fs_type);
        let mounts = cluster.bed.mounts();
        assert!(
            mounts.iter().any(|mount| mount.at == target && mount.fs_type == fs_type),
            "{mounts:?}"
        );
        csi.end_pod(&volume, one, "pod-a").unwrap();
        let target = csi.start_pod(&mut volume, two, "pod-b").unwrap();
        assert_eq!(read(&target), fs_type);
        csi.end_pod(&volume, two, "pod-b").unwrap();
        csi.delete(&volume).unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn every_call_may_be_repeated() {
    let Some(cluster) = cluster("every_call_may_be_repeated") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let class = VolumeClass::file_system("ext4", CLASS);
    let mut volume = csi.provision("pvc-twice", GIB, &class).unwrap();
    assert_eq!(csi.provision("pvc-twice", GIB, &class).unwrap().handle, volume.handle);
    for _ in 0..2 {
        csi.start_pod(&mut volume, node, "pod").unwrap();
    }
    write(&volume.target(node, "pod"), "kept");
    csi.start_pod(&mut volume, node, "pod").unwrap();
    assert_eq!(read(&volume.target(node, "pod")), "kept");
    for _ in 0..2 {
        csi.unpublish(&volume, node, "pod").unwrap();
    }
    for _ in 0..2 {
        csi.unstage(&volume, node).unwrap();
    }
    for _ in 0..2 {
        csi.detach(&volume, node).unwrap();
    }
    for _ in 0..2 {
        csi.delete(&volume).unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn an_ext4_volume_grows_while_a_pod_uses_it() {
    if !requirement::may_grow_mounted_ext4() {
        requirement::say(requirement::NO_MOUNTED_EXT4);
        return;
    }
    grows_while_a_pod_uses_it("an_ext4_volume_grows_while_a_pod_uses_it", "ext4");
}

#[test]
fn an_xfs_volume_grows_while_a_pod_uses_it() {
    grows_while_a_pod_uses_it("an_xfs_volume_grows_while_a_pod_uses_it", "xfs");
}

fn grows_while_a_pod_uses_it(test: &str, fs_type: &str) {
    let Some(cluster) = cluster(test) else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume =
        csi.provision("pvc-used", GIB, &VolumeClass::file_system(fs_type, CLASS)).unwrap();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "before");
    assert!(csi.expand_controller(&mut volume, 2 * GIB).unwrap());
    for _ in 0..2 {
        assert_eq!(csi.expand_node(&volume, node, "pod", 2 * GIB).unwrap(), 2 * GIB);
    }
    assert!(size_of_file_system(&target) > 3 * GIB / 2);
    assert_eq!(read(&target), "before");
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_volume_that_grew_while_it_was_detached_is_large_once_it_is_staged() {
    let Some(cluster) =
        cluster("a_volume_that_grew_while_it_was_detached_is_large_once_it_is_staged")
    else {
        return;
    };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    for fs_type in ["ext4", "xfs"] {
        let mut volume = csi
            .provision(&format!("pvc-{fs_type}"), GIB, &VolumeClass::file_system(fs_type, CLASS))
            .unwrap();
        let target = csi.start_pod(&mut volume, node, "pod").unwrap();
        write(&target, "before");
        csi.end_pod(&volume, node, "pod").unwrap();
        csi.expand_controller(&mut volume, 2 * GIB).unwrap();
        let target = csi.start_pod(&mut volume, node, "pod").unwrap();
        assert!(size_of_file_system(&target) > 3 * GIB / 2, "{fs_type}");
        // kubelet asks all the same, once a pod uses it.
        assert_eq!(csi.expand_node(&volume, node, "pod", 2 * GIB).unwrap(), 2 * GIB);
        assert_eq!(read(&target), "before");
        csi.end_pod(&volume, node, "pod").unwrap();
        csi.delete(&volume).unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn growth_that_the_machine_forbids_is_refused_with_the_capability_that_is_missing() {
    const TEST: &str =
        "growth_that_the_machine_forbids_is_refused_with_the_capability_that_is_missing";
    if requirement::may_grow_mounted_ext4() {
        return;
    }
    let Some(cluster) = cluster(TEST) else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume =
        csi.provision("pvc-forbidden", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "before");
    csi.expand_controller(&mut volume, 2 * GIB).unwrap();
    let refused = csi.expand_node(&volume, node, "pod", 2 * GIB).unwrap_err();
    assert!(refused.to_string().contains("CAP_SYS_RESOURCE"), "{refused}");
    assert_eq!(read(&target), "before");
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_volume_in_use_gets_what_its_attributes_class_names() {
    let Some(cluster) = cluster("a_volume_in_use_gets_what_its_attributes_class_names") else {
        return;
    };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let class = VolumeClass::file_system("xfs", &[("type", "cloud_essd")]);
    let mut volume = csi.provision("pvc-class", 20 * GIB, &class).unwrap();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "before");
    let auto = [
        ("type", "cloud_auto"),
        ("provisionedIops", "100"),
        ("burstingEnabled", "true"),
        ("diskTags/team", "a"),
        ("csi.storage.k8s.io/pvc/name", "claim"),
    ];
    csi.modify(&volume, &auto).unwrap();
    // What is so already asks the cloud for nothing but the tags.
    let before = cluster.bed.region().journal().len();
    csi.modify(&volume, &auto).unwrap();
    let again = cluster.bed.region().journal().split_off(before);
    assert!(again.iter().all(|entry| !entry.action.starts_with("ModifyDisk")), "{again:?}");
    let disks = cluster.bed.region().disks();
    let disk = disks.iter().find(|disk| disk.id == volume.handle).unwrap();
    assert_eq!((disk.category.as_str(), disk.tags["team"].as_str()), ("cloud_auto", "a"));
    let refused = csi.modify(&volume, &[("diskTags/team", "b"), ("colour", "red")]).unwrap_err();
    assert!(refused.to_string().contains("colour"), "{refused}");
    let disks = cluster.bed.region().disks();
    let disk = disks.iter().find(|disk| disk.id == volume.handle).unwrap();
    assert_eq!(disk.tags["team"], "a");
    assert_eq!(read(&target), "before");
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_raw_device_is_handed_to_a_pod_and_moves_with_its_bytes() {
    let Some(cluster) = cluster("a_raw_device_is_handed_to_a_pod_and_moves_with_its_bytes") else {
        return;
    };
    let csi = &cluster.csi;
    let mut volume = csi.provision("pvc-raw", GIB, &VolumeClass::raw(CLASS)).unwrap();
    for (node, pod) in cluster.nodes.iter().zip(["a", "b"]) {
        let target = csi.start_pod(&mut volume, node, pod).unwrap();
        assert!(
            fs::metadata(&target).unwrap().file_type().is_block_device(),
            "{}",
            target.display()
        );
        let mut bytes = vec![0; 4096];
        let device = fs::File::options().read(true).write(true).open(&target).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&device, &mut bytes, 0).unwrap();
        assert_eq!(bytes.starts_with(b"raw"), pod == "b");
        std::os::unix::fs::FileExt::write_all_at(&device, b"raw", 0).unwrap();
        device.sync_all().unwrap();
        drop(device);
        csi.end_pod(&volume, node, pod).unwrap();
    }
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn two_pods_on_one_node_share_a_volume_and_leave_one_by_one() {
    let Some(cluster) = cluster("two_pods_on_one_node_share_a_volume_and_leave_one_by_one") else {
        return;
    };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume =
        csi.provision("pvc-shared", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    let first = csi.start_pod(&mut volume, node, "first").unwrap();
    let second = csi.publish(&volume, node, "second", true).unwrap();
    write(&first, "shared");
    assert_eq!(read(&second), "shared");
    let refused = fs::write(second.join("data"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    csi.unpublish(&volume, node, "first").unwrap();
    assert_eq!(read(&second), "shared");
    // While the second pod is there, nothing takes the volume from under it.
    let early = csi.clone().with_retry(Retry::never()).unstage(&volume, node).unwrap_err();
    assert!(
        matches!(&early, PlayError::Refused { code, .. } if code == "FailedPrecondition"),
        "{early}"
    );
    assert_eq!(read(&second), "shared");
    csi.unpublish(&volume, node, "second").unwrap();
    csi.unstage(&volume, node).unwrap();
    csi.detach(&volume, node).unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_volume_for_one_pod_is_not_given_to_a_second() {
    let Some(cluster) = cluster("a_volume_for_one_pod_is_not_given_to_a_second") else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let class = VolumeClass { access: Access::OnePod, ..VolumeClass::file_system("ext4", CLASS) };
    let mut volume = csi.provision("pvc-one", GIB, &class).unwrap();
    csi.start_pod(&mut volume, node, "first").unwrap();
    let refused = csi.publish(&volume, node, "second", false).unwrap_err();
    assert!(
        matches!(&refused, PlayError::Refused { code, .. } if code == "FailedPrecondition"),
        "{refused}"
    );
    csi.end_pod(&volume, node, "first").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

/// The attacher publishes again what it does not find, or finds without its node.
#[test]
fn three_thousand_disks_are_listed_once_each_and_attached_ones_with_their_node() {
    const TEST: &str =
        "three_thousand_disks_are_listed_once_each_and_attached_ones_with_their_node";
    let Some(cluster) = cluster(TEST) else { return };
    let (csi, region) = (&cluster.csi, cluster.bed.region());
    region.set_quotas(Quotas { disks: 3_001, ..Quotas::default() });
    let asked = [("ZoneId", "cn-wharf-1a"), ("DiskCategory", "cloud_auto"), ("Size", "1")];
    let mut all = region.make_disks(3_000, &asked).unwrap();
    let class = VolumeClass::file_system("ext4", CLASS);
    // Written by hand: no driver ever tagged that disk.
    let by_hand = CsiVolume::of_handle("pv-by-hand", &all[1_700], GIB, class.clone());
    let own = csi.provision("pvc-own", GIB, &class).unwrap();
    all.push(own.handle.clone());
    let mut attached = BTreeMap::new();
    for (mut volume, node) in [by_hand, own].into_iter().zip(&cluster.nodes) {
        csi.attach(&mut volume, node).unwrap();
        attached.insert(volume.handle, vec![node.id.clone()]);
    }
    let pages = csi.list().unwrap();
    assert_eq!(pages.len(), 31, "a page has 100, and the last one has the rest");
    let entries: Vec<_> = pages.into_iter().flat_map(|page| page.entries).collect();
    let mut listed: Vec<_> = entries.iter().map(id_of).collect();
    listed.sort_unstable();
    all.sort_unstable();
    assert_eq!(listed, all);
    let nodes_of = |entry: &Entry| entry.status.clone().unwrap_or_default().published_node_ids;
    let published: BTreeMap<_, _> = entries
        .iter()
        .map(|entry| (id_of(entry).to_owned(), nodes_of(entry)))
        .filter(|(_, nodes)| !nodes.is_empty())
        .collect();
    assert_eq!(published, attached);
}

fn id_of(entry: &Entry) -> &str {
    entry.volume.as_ref().map_or("", |volume| volume.volume_id.as_str())
}

#[test]
fn what_is_mounted_is_unmounted_after_all_state_was_lost() {
    let Some(cluster) = cluster("what_is_mounted_is_unmounted_after_all_state_was_lost") else {
        return;
    };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume =
        csi.provision("pvc-lost", GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "kept");
    fs::remove_dir_all(cluster.bed.node(0).state()).unwrap();
    cluster.bed.node(0).kill_server().unwrap();
    csi.end_pod(&volume, node, "pod").unwrap();
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    assert_eq!(read(&target), "kept");
    csi.end_pod(&volume, node, "pod").unwrap();
    csi.delete(&volume).unwrap();
    cluster.assert_empty();
}

#[test]
fn many_volumes_come_and_go_at_once_on_two_nodes() {
    let Some(cluster) = cluster("many_volumes_come_and_go_at_once_on_two_nodes") else { return };
    std::thread::scope(|scope| {
        for n in 0..12 {
            let (csi, node) = (&cluster.csi, &cluster.nodes[n % 2]);
            scope.spawn(move || {
                let mut volume = csi
                    .provision(&format!("pvc-{n}"), GIB, &VolumeClass::file_system("ext4", CLASS))
                    .unwrap();
                let target = csi.start_pod(&mut volume, node, &format!("pod-{n}")).unwrap();
                write(&target, &n.to_string());
                assert_eq!(read(&target), n.to_string());
                csi.end_pod(&volume, node, &format!("pod-{n}")).unwrap();
                csi.delete(&volume).unwrap();
            });
        }
    });
    cluster.assert_empty();
}
