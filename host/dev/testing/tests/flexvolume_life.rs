//! A volume's life over FlexVolume: the installed driver, executed as kubelet and
//! kube-controller-manager execute it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test's own helpers meet fails the test"
)]

use std::fs;
use std::path::Path;
use std::process::Command;

use wharf_testing::bed::{Bed, BedOptions, FLEX_DRIVER};
use wharf_testing::player::flex::Sizes;
use wharf_testing::player::{
    CsiPlayer, CsiVolume, FlexNode, FlexPlayer, FlexVolume, Part, PlayError, VolumeClass,
};
use wharf_testing::requirement;
use wharf_testing::snapshot::Snapshot;

const GIB: u64 = 1 << 30;
const CLASS: &[(&str, &str)] = &[("type", "cloud_auto")];

struct Cluster {
    flex: FlexPlayer,
    /// FlexVolume has no provisioner: disks come from the CSI driver of the same cloud.
    csi: CsiPlayer,
    manager: FlexNode,
    nodes: Vec<FlexNode>,
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
    bed.install_flexvolume().unwrap();
    bed.manager().serve("controller", bed.parts()).unwrap();
    let nodes = bed.nodes().iter().map(wharf_testing::bed::Machine::flex_node).collect();
    Some(Cluster {
        flex: bed.flex(),
        csi: bed.csi(),
        manager: bed.manager().flex_node(),
        nodes,
        bed,
    })
}

impl Cluster {
    fn disk(&self, name: &str) -> CsiVolume {
        self.csi.provision(name, GIB, &VolumeClass::file_system("ext4", CLASS)).unwrap()
    }

    fn assert_empty(&self) {
        let left = Snapshot::of(&self.bed, &[]);
        assert!(left.is_empty(), "left behind:\n{left}");
    }
}

fn pv(name: &str, disk: &CsiVolume, fs_type: &str) -> FlexVolume {
    FlexVolume::new(name, fs_type, &[("VolumeId", &disk.handle)])
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
fn the_driver_is_probed_and_says_that_its_volumes_are_attached() {
    let Some(cluster) = cluster("the_driver_is_probed_and_says_that_its_volumes_are_attached")
    else {
        return;
    };
    for node in &cluster.nodes {
        let capabilities = cluster.flex.probe(Part::Kubelet, node).unwrap();
        assert!(capabilities.attach && capabilities.requires_fs_resize);
    }
}

#[test]
fn data_written_on_one_node_is_read_on_another_with_ext4_and_xfs() {
    let Some(cluster) = cluster("data_written_on_one_node_is_read_on_another_with_ext4_and_xfs")
    else {
        return;
    };
    let (flex, manager) = (&cluster.flex, &cluster.manager);
    for fs_type in ["ext4", "xfs"] {
        let disk = cluster.disk(&format!("pvc-{fs_type}"));
        let volume = pv("pv-moves", &disk, fs_type);
        let (_, target) = flex.start_pod(&volume, manager, &cluster.nodes[0], "pod-a").unwrap();
        write(&target, fs_type);
        assert!(
            cluster.bed.mounts().iter().any(|mount| mount.at == target && mount.fs_type == fs_type)
        );
        assert_eq!(flex.is_attached(&volume, manager, &cluster.nodes[0]).unwrap(), Some(true));
        assert_eq!(flex.is_attached(&volume, manager, &cluster.nodes[1]).unwrap(), Some(false));
        flex.end_pod(&volume, manager, &cluster.nodes[0], "pod-a").unwrap();
        let (_, target) = flex.start_pod(&volume, manager, &cluster.nodes[1], "pod-b").unwrap();
        assert_eq!(read(&target), fs_type);
        flex.end_pod(&volume, manager, &cluster.nodes[1], "pod-b").unwrap();
        cluster.csi.delete(&disk).unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn two_pods_on_one_node_share_a_volume_and_leave_one_by_one() {
    let Some(cluster) = cluster("two_pods_on_one_node_share_a_volume_and_leave_one_by_one") else {
        return;
    };
    let (flex, node) = (&cluster.flex, &cluster.nodes[0]);
    let disk = cluster.disk("pvc-shared");
    let volume = pv("pv-shared", &disk, "ext4");
    let (device, first) = flex.start_pod(&volume, &cluster.manager, node, "first").unwrap();
    flex.wait_for_attach(&volume, node, &device).unwrap();
    let second = flex.mount(&volume, node, "second").unwrap();
    write(&first, "shared");
    assert_eq!(read(&second), "shared");
    flex.unmount(&volume, node, "first").unwrap();
    // The older plugin unmounted the node's own mount with the first pod.
    assert_eq!(read(&second), "shared");
    flex.end_pod(&volume, &cluster.manager, node, "second").unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_read_only_claim_cannot_be_written_to() {
    let Some(cluster) = cluster("a_read_only_claim_cannot_be_written_to") else { return };
    let (flex, node) = (&cluster.flex, &cluster.nodes[0]);
    let disk = cluster.disk("pvc-ro");
    let mut volume = pv("pv-ro", &disk, "ext4");
    let (_, target) = flex.start_pod(&volume, &cluster.manager, node, "writer").unwrap();
    write(&target, "written");
    flex.end_pod(&volume, &cluster.manager, node, "writer").unwrap();
    volume.read_only = true;
    let (_, target) = flex.start_pod(&volume, &cluster.manager, node, "reader").unwrap();
    assert_eq!(read(&target), "written");
    assert_eq!(
        fs::write(target.join("data"), "x").unwrap_err().kind(),
        std::io::ErrorKind::ReadOnlyFilesystem
    );
    flex.end_pod(&volume, &cluster.manager, node, "reader").unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn one_pod_only_reads_what_another_on_the_same_node_writes() {
    let Some(cluster) = cluster("one_pod_only_reads_what_another_on_the_same_node_writes") else {
        return;
    };
    let (flex, node) = (&cluster.flex, &cluster.nodes[0]);
    let disk = cluster.disk("pvc-both");
    let mut volume = pv("pv-both", &disk, "ext4");
    let (device, written) = flex.start_pod(&volume, &cluster.manager, node, "writer").unwrap();
    // `readOnly` is said by the pod, not by the PersistentVolume.
    volume.read_only = true;
    flex.wait_for_attach(&volume, node, &device).unwrap();
    let shown = flex.mount(&volume, node, "reader").unwrap();
    write(&written, "written");
    assert_eq!(read(&shown), "written");
    assert_eq!(
        fs::write(shown.join("data"), "x").unwrap_err().kind(),
        std::io::ErrorKind::ReadOnlyFilesystem
    );
    let is_read_only = |path: &Path| {
        let mounts = cluster.bed.mounts();
        mounts
            .iter()
            .filter(|mount| mount.at == path)
            .map(|mount| mount.options.split(',').any(|option| option == "ro"))
            .collect::<Vec<_>>()
    };
    assert_eq!((is_read_only(&shown), is_read_only(&written)), (vec![true], vec![false]));
    flex.unmount(&volume, node, "reader").unwrap();
    flex.end_pod(&volume, &cluster.manager, node, "writer").unwrap();
    cluster.csi.delete(&disk).unwrap();
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
    let (flex, node) = (&cluster.flex, &cluster.nodes[0]);
    let disk = cluster.disk("pvc-used");
    let volume = pv("pv-grows", &disk, fs_type);
    let (device, target) = flex.start_pod(&volume, &cluster.manager, node, "pod").unwrap();
    write(&target, "before");
    for _ in 0..2 {
        flex.expand_fs(&volume, node, &device, "pod", Sizes { new: 2 * GIB, old: GIB }).unwrap();
    }
    assert!(size_of_file_system(&target) > 3 * GIB / 2);
    assert_eq!(cluster.bed.region().disks()[0].size_gib, 2);
    assert_eq!(read(&target), "before");
    flex.end_pod(&volume, &cluster.manager, node, "pod").unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_volume_that_grew_while_it_was_detached_is_large_once_it_is_mounted() {
    let Some(cluster) =
        cluster("a_volume_that_grew_while_it_was_detached_is_large_once_it_is_mounted")
    else {
        return;
    };
    let (flex, node) = (&cluster.flex, &cluster.nodes[0]);
    for fs_type in ["ext4", "xfs"] {
        let mut disk = cluster.disk(&format!("pvc-{fs_type}"));
        let volume = pv("pv-grew", &disk, fs_type);
        let (_, target) = flex.start_pod(&volume, &cluster.manager, node, "pod").unwrap();
        write(&target, "before");
        flex.end_pod(&volume, &cluster.manager, node, "pod").unwrap();
        cluster.csi.expand_controller(&mut disk, 2 * GIB).unwrap();
        let (_, target) = flex.start_pod(&volume, &cluster.manager, node, "pod").unwrap();
        assert!(size_of_file_system(&target) > 3 * GIB / 2, "{fs_type}");
        assert_eq!(read(&target), "before");
        flex.end_pod(&volume, &cluster.manager, node, "pod").unwrap();
        cluster.csi.delete(&disk).unwrap();
    }
    cluster.assert_empty();
}

#[test]
fn kubelet_takes_down_what_it_cannot_describe_any_more() {
    let Some(cluster) = cluster("kubelet_takes_down_what_it_cannot_describe_any_more") else {
        return;
    };
    let (flex, node) = (&cluster.flex, &cluster.nodes[0]);
    let disk = cluster.disk("pvc-lost");
    let volume = pv("pv-lost", &disk, "ext4");
    let (_, target) = flex.start_pod(&volume, &cluster.manager, node, "pod").unwrap();
    write(&target, "kept");
    fs::remove_dir_all(cluster.bed.node(0).state()).unwrap();
    // After a restart kubelet reconstructs a volume without options and without a file system type.
    node.forget();
    let reconstructed = FlexVolume::new("pv-lost", "", &[]);
    flex.end_pod(&reconstructed, &cluster.manager, node, "pod").unwrap();
    let (_, target) = flex.start_pod(&volume, &cluster.manager, node, "pod").unwrap();
    assert_eq!(read(&target), "kept");
    flex.end_pod(&volume, &cluster.manager, node, "pod").unwrap();
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn volumes_of_the_plugin_before_are_detached_by_its_own_files() {
    let options = BedOptions { legacy_state: true, ..BedOptions::default() };
    let Some(cluster) =
        cluster_with("volumes_of_the_plugin_before_are_detached_by_its_own_files", &options)
    else {
        return;
    };
    let mut disk = cluster.disk("pvc-legacy");
    let node = cluster.bed.node(0);
    node.serve("node", cluster.bed.parts()).unwrap();
    let csi_node = cluster.csi.register(node.name(), &node.socket(), &node.kubelet()).unwrap();
    // As the older plugin left it: attached, with `<volume name>.conf`, and nothing that Wharf ever
    // wrote.
    cluster.csi.attach(&mut disk, &csi_node).unwrap();
    fs::write(cluster.bed.manager().legacy().join("pv-legacy.conf"), &disk.handle).unwrap();
    let volume = pv("pv-legacy", &disk, "ext4");
    cluster.flex.detach(&volume, &cluster.manager, &cluster.nodes[0]).unwrap();
    assert_eq!(cluster.bed.region().disks()[0].attached_to, Vec::<String>::new());
    cluster.csi.delete(&disk).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_disk_that_is_no_disk_is_refused_in_words_for_a_person() {
    let Some(cluster) = cluster("a_disk_that_is_no_disk_is_refused_in_words_for_a_person") else {
        return;
    };
    let volume = FlexVolume::new("pv-odd", "ext4", &[("volumeId", "no disk")]);
    let error = cluster.flex.attach(&volume, &cluster.manager, &cluster.nodes[0]).unwrap_err();
    assert!(
        matches!(&error, PlayError::Refused { code, message, .. } if code == "Failure" && message.contains("no disk")),
        "{error}"
    );
    assert_eq!(cluster.flex.driver(), FLEX_DRIVER);
    // The controller does not know what a failed attach came to, and detaches.
    cluster.flex.detach(&volume, &cluster.manager, &cluster.nodes[0]).unwrap();
    cluster.assert_empty();
}
