//! A bucket, mounted by `s3fs` over CSI on two nodes and over FlexVolume beside it, and its helper
//! killed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use wharf_testing::bed::Machine;
use wharf_testing::configuration::Served;
use wharf_testing::player::{Access, CsiNode, CsiVolume, FlexVolume, VolumeClass};
use wharf_testing::snapshot::SHARED_BUCKET;

use super::scene::{Scene, served};

/// Seconds at most; a machine that is busy with other things takes its time.
const HEALED: Duration = Duration::from_secs(30);

/// What both volumes pass to `s3fs`: the region has an address and no names of buckets.
const OPTIONS: &str = "-o use_path_request_style -o stat_cache_expire=0";

/// From an administrator's PersistentVolume to nothing.
pub fn life(scene: &Scene) -> Result<()> {
    let oss = served("oss")?;
    scene.bed().region().make_bucket(SHARED_BUCKET)?;
    scene.note(&format!(
        "a PersistentVolume for bucket `{SHARED_BUCKET}`, ReadWriteMany; its keys are in the \
         secret that `nodePublishSecretRef` names"
    ));
    let digest = over_csi(scene, oss)?;
    over_flexvolume(scene, oss, &digest)
}

fn over_csi(scene: &Scene, oss: &Served) -> Result<String> {
    let csi = scene.csi_of(oss.driver);
    let register = |machine: &Machine| {
        csi.register(machine.name(), &machine.socket_of(oss.driver), &machine.kubelet())
    };
    let nodes: Vec<CsiNode> = scene.bed().nodes().iter().map(register).collect::<Result<_, _>>()?;
    let (one, two) = match &nodes[..] {
        [one, two, ..] => (one, two),
        _ => anyhow::bail!("a bucket is shown on two nodes"),
    };
    let mut volume = volume(scene);
    let here = csi.start_pod(&mut volume, one, "pod-5")?;
    let digest = scene.write(&here)?;
    let there = csi.start_pod(&mut volume, two, "pod-6")?;
    scene.read(&there, &digest)?;
    heal(scene, &here, &digest)?;
    csi.end_pod(&volume, two, "pod-6")?;
    csi.end_pod(&volume, one, "pod-5")?;
    Ok(digest)
}

/// Kills node-1's helper, and has the pod read its data again.
fn heal(scene: &Scene, pod: &Path, digest: &str) -> Result<()> {
    let machine = scene.bed().node(0);
    let killed = machine.kill_helpers();
    let begun = Instant::now();
    scene.note(&format!("node-1# kill -9 {}: the bucket's helper is dead", killed.join(" ")));
    while std::fs::metadata(pod.join("data")).is_err() {
        scene.check()?;
        ensure!(begun.elapsed() < HEALED, "the mount was not healed within {HEALED:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    let took = begun.elapsed().as_millis();
    scene.note(&format!("{took} ms later the same pod has its files again"));
    scene.read(pod, digest)?;
    scene.run(machine, &["mounts", "list"]).map(drop)
}

fn over_flexvolume(scene: &Scene, oss: &Served, digest: &str) -> Result<()> {
    scene.note("the same bucket over FlexVolume: no attach, a mount for the pod");
    let flex = scene.flex_of(oss.flexvolume);
    let csi = volume(scene);
    let options: Vec<_> =
        csi.context.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut volume = FlexVolume::new("pv-bucket", "", &options);
    let secret = csi.publish_secret.into_iter();
    volume.secret = secret.map(|(key, value)| (key, value.into_bytes())).collect();
    let node = scene.bed().node(0).flex_node();
    let target = flex.mount(&volume, &node, "pod-7")?;
    scene.read(&target, digest)?;
    Ok(flex.unmount(&volume, &node, "pod-7")?)
}

/// As an administrator writes it.
fn volume(scene: &Scene) -> CsiVolume {
    let region = scene.bed().region().description();
    let class = VolumeClass { access: Access::ManyNodes, ..VolumeClass::file_system("", &[]) };
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let mut volume = CsiVolume::of_handle("pv-bucket", "pv-bucket", 1 << 30, class);
    volume.context = [
        ("bucket", SHARED_BUCKET),
        ("url", region.endpoints.oss.as_str()),
        ("fuseType", "s3fs"),
        ("otherOpts", OPTIONS),
    ]
    .map(owned)
    .into();
    volume.publish_secret = [
        ("akId", region.admin.access_key_id.as_str()),
        ("akSecret", region.admin.access_key_secret.as_str()),
    ]
    .map(owned)
    .into();
    volume
}
