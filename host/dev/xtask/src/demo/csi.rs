//! A disk's life over CSI: on one node, and on another after the backend was replaced.

use anyhow::{Result, ensure};
use wharf_testing::player::{CsiVolume, VolumeClass};

use super::scene::Scene;

/// The smallest disk of its category, and what it grows to.
pub const SMALL: u64 = 20 << 30;
/// What a disk grows to.
pub const LARGE: u64 = 40 << 30;

/// Of the class that is used here.
pub const CATEGORY: &str = "cloud_essd";

/// A volume and what is on it.
pub struct Written {
    /// The volume.
    pub volume: CsiVolume,
    /// The digest of its data.
    pub digest: String,
}

/// Created, attached, formatted, mounted, written to, expanded while in use; left detached.
pub fn first_life(scene: &Scene) -> Result<Written> {
    let (csi, node) = (scene.csi(), scene.node(0)?);
    let mut volume = csi.provision(
        "pvc-demo",
        SMALL,
        &VolumeClass::file_system(scene.fs_type(), &[("type", CATEGORY)]),
    )?;
    csi.attach(&mut volume, node)?;
    csi.stage(&volume, node)?;
    let target = csi.publish(&volume, node, "pod-1", false)?;
    let digest = scene.write(&target)?;
    let before = scene.size(&target)?;
    csi.expand_controller(&mut volume, LARGE)?;
    csi.expand_node(&volume, node, "pod-1", LARGE)?;
    let after = scene.size(&target)?;
    ensure!(after > before, "the file system did not grow");
    scene.read(&target, &digest)?;
    scene.note("the pod moves to node-2: first it leaves node-1");
    csi.unpublish(&volume, node, "pod-1")?;
    csi.unstage(&volume, node)?;
    csi.detach(&volume, node)?;
    Ok(Written { volume, digest })
}

/// On the other node, where it is attached already, to its end.
pub fn second_life(scene: &Scene, disk: Written) -> Result<()> {
    let (csi, node) = (scene.csi(), scene.node(1)?);
    let Written { volume, digest } = disk;
    csi.stage(&volume, node)?;
    let target = csi.publish(&volume, node, "pod-2", false)?;
    scene.read(&target, &digest)?;
    csi.end_pod(&volume, node, "pod-2")?;
    Ok(csi.delete(&volume)?)
}
