//! A disk's life over FlexVolume, on two nodes. FlexVolume has no provisioner: the disk is created
//! and deleted by the CSI driver of the same cloud.

use anyhow::{Result, ensure};
use wharf_testing::bed::Machine;
use wharf_testing::player::flex::Sizes;
use wharf_testing::player::{FlexNode, FlexVolume, VolumeClass};

use super::csi::{CATEGORY, LARGE, SMALL};
use super::scene::Scene;

/// From the installation of the driver to the deleted disk.
pub fn life(scene: &Scene) -> Result<()> {
    let (bed, csi, flex) = (scene.bed(), scene.csi(), scene.flex());
    for machine in bed.nodes().iter().chain([bed.manager()]) {
        let ran = scene.run(
            machine,
            &["flexvolume", "install", "--dir", &machine.plugins().display().to_string()],
        )?;
        ensure!(ran.code == Some(0), "`wharf flexvolume install` failed: {}", ran.stderr);
    }
    let manager = bed.manager().flex_node();
    let nodes: Vec<FlexNode> = bed.nodes().iter().map(Machine::flex_node).collect();
    let disk = csi.provision(
        "pvc-flexvolume",
        SMALL,
        &VolumeClass::file_system(scene.fs_type(), &[("type", CATEGORY)]),
    )?;
    let volume = FlexVolume::new("pv-demo", scene.fs_type(), &[("volumeId", &disk.handle)]);
    let mut written = None;
    for (node, pod) in nodes.iter().zip(["pod-3", "pod-4"]) {
        let (device, target) = flex.start_pod(&volume, &manager, node, pod)?;
        match &written {
            None => {
                written = Some(scene.write(&target)?);
                let before = scene.size(&target)?;
                flex.expand_fs(&volume, node, &device, pod, Sizes { new: LARGE, old: SMALL })?;
                ensure!(scene.size(&target)? > before, "the file system did not grow");
            }
            Some(digest) => scene.read(&target, digest)?,
        }
        flex.end_pod(&volume, &manager, node, pod)?;
    }
    Ok(csi.delete(&disk)?)
}
