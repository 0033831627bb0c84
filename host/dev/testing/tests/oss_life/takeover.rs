//! Mounts of earlier drivers, which know nothing of Wharf: they stay usable, and go as they would
//! have gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use wharf_testing::bed::{Helper, helpers_below, mounts_below};
use wharf_testing::player::{Access, Retry};

use super::cluster::{Cluster, OPTIONS, holds, kill, read, until, write};

/// What the earlier plugin keeps the keys of all its mounts in.
const SHARED_KEYS: &str = "/etc/passwd-ossfs";

/// A helper that was started by hand, as the earlier drivers start `ossfs`: it goes into the
/// background and is nobody's child. Its keys lie where no test changes the machine's own.
fn mount_by_hand(cluster: &Cluster, at: &Path) -> PathBuf {
    let region = cluster.bed.region().description();
    let keys = cluster.bed.directory().join("passwd-ossfs");
    let text = format!("{}:{}\n", region.admin.access_key_id, region.admin.access_key_secret);
    fs::write(&keys, text).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&keys, private).unwrap();
    fs::create_dir_all(at).unwrap();
    let status = Command::new("s3fs")
        .arg("shared")
        .arg(at)
        .arg(format!("-ourl={}", region.endpoints.oss))
        .args(OPTIONS.split_whitespace())
        .arg(format!("-oallow_other,passwd_file={}", keys.display()))
        .status()
        .unwrap();
    assert!(status.success());
    keys
}

/// The helper that mounts there.
fn helper_at(at: &Path) -> Option<Helper> {
    helpers_below(at).into_iter().next()
}

#[test]
fn a_mount_of_the_earlier_plugin_stays_usable_and_is_unmounted() {
    const TEST: &str = "a_mount_of_the_earlier_plugin_stays_usable_and_is_unmounted";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (flex, node) = (&cluster.flex, &cluster.flex_nodes[0]);
    let shared_keys = fs::read(SHARED_KEYS).ok();
    let volume = cluster.flex_volume("pv-old", &[]);
    let target = volume.pod_mount(node, flex.driver(), "pod");
    let keys = mount_by_hand(&cluster, &target);
    let before = fs::read(&keys).unwrap();
    write(&target, "data", "kept");
    let helper = helper_at(&target).unwrap();
    // kubelet asks again, and another pod of the volume comes and goes.
    assert_eq!(flex.mount(&volume, node, "pod").unwrap(), target);
    let other = flex.mount(&volume, node, "pod-2").unwrap();
    assert_eq!(read(&other, "data"), "kept");
    flex.unmount(&volume, node, "pod-2").unwrap();
    assert_eq!(read(&target, "data"), "kept");
    assert_eq!(mounts_below(&target).len(), 1, "nothing was mounted over it");
    assert_eq!(helper_at(&target).as_ref(), Some(&helper));
    flex.unmount(&volume, node, "pod").unwrap();
    until("its helper has ended", || helper_at(&target).is_none());
    assert!(!target.exists());
    assert_eq!(fs::read(&keys).unwrap(), before);
    assert_eq!(fs::read(SHARED_KEYS).ok(), shared_keys);
    cluster.assert_empty();
}

#[test]
fn a_volume_that_the_earlier_csi_driver_mounted_at_its_staging_path_is_staged_as_it_is() {
    const TEST: &str =
        "a_volume_that_the_earlier_csi_driver_mounted_at_its_staging_path_is_staged_as_it_is";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node) = (&cluster.csi, &cluster.nodes[0]);
    let mut volume = cluster.volume("pv-old", Access::ManyNodes, &[]);
    volume.stage_secret = cluster.keys();
    let (staging, target) = (volume.staging(node, csi.driver()), volume.target(node, "pod"));
    // Releases 1.2 to 1.5 mount there when they publish, and show that to each pod.
    mount_by_hand(&cluster, &staging);
    fs::create_dir_all(&target).unwrap();
    mount(Some(&staging), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    write(&target, "data", "kept");
    let helper = helper_at(&staging).unwrap();
    // Kubelet was started again: it stages and publishes whatever it finds in use.
    for _ in 0..2 {
        csi.stage(&volume, node).unwrap();
        csi.publish(&volume, node, "pod", false).unwrap();
    }
    csi.publish(&volume, node, "pod-2", false).unwrap();
    assert_eq!(read(&volume.target(node, "pod-2"), "data"), "kept");
    assert!(cluster.mounts_of(0).is_empty(), "no helper was started");
    assert_eq!(mounts_below(&staging).len(), 1, "nothing was mounted over it");
    assert_eq!(helper_at(&staging).as_ref(), Some(&helper));
    let log = fs::read_to_string(cluster.bed.node(0).server_log()).unwrap();
    assert!(log.contains("an earlier driver's mount is left as it is"), "{log}");
    // Another volume that somebody mounted there is not this one.
    let mut other = cluster.volume("pv-other", Access::ManyNodes, &[("path", "/part")]);
    other.stage_secret = cluster.keys();
    let taken = other.staging(node, csi.driver());
    mount_by_hand(&cluster, &taken);
    let refused = csi.clone().with_retry(Retry::never()).stage(&other, node).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("its process shows `shared` there"), "{refused}");
    assert_eq!(mounts_below(&taken).len(), 1);
    nix::mount::umount(&taken).unwrap();
    for pod in ["pod", "pod-2"] {
        csi.unpublish(&volume, node, pod).unwrap();
    }
    csi.unstage(&volume, node).unwrap();
    until("the earlier helpers have ended", || {
        helper_at(&staging).is_none() && helper_at(&taken).is_none()
    });
    fs::remove_dir_all(taken.parent().unwrap()).unwrap();
    cluster.assert_empty();
}

#[test]
fn a_mount_of_the_earlier_csi_driver_stays_usable_and_is_unmounted() {
    const TEST: &str = "a_mount_of_the_earlier_csi_driver_stays_usable_and_is_unmounted";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let volume = cluster.volume("pv-old", Access::ManyNodes, &[]);
    // It mounts beside kubelet's directories, and shows that to each pod.
    let own = machine.directory().join("run/fuse.ossfs/0123/globalmount");
    let target = volume.target(node, "pod");
    mount_by_hand(&cluster, &own);
    for directory in [&volume.staging(node, csi.driver()), &target] {
        fs::create_dir_all(directory).unwrap();
    }
    mount(Some(&own), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    write(&target, "data", "kept");
    let helper = helper_at(&own).unwrap();
    // What kubelet repeats (`requiresRepublish`) finds the pod's mount, and starts nothing.
    csi.publish(&volume, node, "pod", false).unwrap();
    assert!(mounts_below(&volume.staging(node, csi.driver())).is_empty());
    // Another pod comes. Kubelet takes the volume for staged, so it only publishes.
    csi.publish(&volume, node, "pod-2", false).unwrap();
    let other = volume.target(node, "pod-2");
    assert_eq!(read(&other, "data"), "kept");
    write(&other, "more", "seen by both");
    until("the first pod sees it", || holds(&target, "more", "seen by both"));
    // This one is healed.
    let ended = machine.kill_helpers();
    assert_eq!(ended.len(), 1);
    until("the other pod has its files again", || holds(&other, "data", "kept"));
    // Kubelet was started again: it stages and publishes whatever it finds in use.
    csi.stage(&volume, node).unwrap();
    for pod in ["pod", "pod-2"] {
        csi.publish(&volume, node, pod, false).unwrap();
    }
    assert_eq!(mounts_below(&target).len(), 1, "nothing was mounted over it");
    assert_eq!(helper_at(&own).as_ref(), Some(&helper));
    // A mount of an earlier helper that is dead is told, with what to do.
    kill(helper.pid);
    let refused = csi.clone().with_retry(Retry::never()).publish(&volume, node, "pod", false);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("delete the pod"), "{refused}");
    for pod in ["pod", "pod-2"] {
        csi.unpublish(&volume, node, pod).unwrap();
    }
    csi.unstage(&volume, node).unwrap();
    assert!(mounts_below(&target).is_empty());
    // The driver's own mount is its own business.
    assert_eq!(mounts_below(&own).len(), 1);
    nix::mount::umount(&own).unwrap();
    until("the earlier helper has ended", || helper_at(&own).is_none());
    cluster.assert_empty();
}
