//! Checks of csi-sanity that need not run, by the reason that it gives, and why that is right.
//! Everything else that is skipped is a failure. A row goes when its capability comes.

/// A reason that csi-sanity gives for a skip, and why that is right for a driver.
#[derive(Debug)]
pub struct AllowedSkip {
    /// How csi-sanity says it.
    says: &'static str,
    /// Why we agree.
    because: &'static str,
}

const fn allowed(says: &'static str, because: &'static str) -> AllowedSkip {
    AllowedSkip { says, because }
}

/// Of every driver.
const ALL: &[AllowedSkip] = &[
    allowed("Snapshot not supported", "snapshots are not offered yet"),
    allowed("ListSnapshots not supported", "snapshots are not offered yet"),
    allowed("CreateSnapshot not supported", "snapshots are not offered yet"),
    allowed("DeleteSnapshot not supported", "snapshots are not offered yet"),
    allowed("GetSnapshot not supported", "snapshots are not offered yet"),
    allowed("GroupControllerService not supported", "group snapshots are not offered yet"),
    allowed("pending", "csi-sanity has switched this check off itself"),
];

/// Of disks.
pub const DISK: &[AllowedSkip] = &[
    allowed(
        "Volume Cloning not supported",
        "the cloud makes a disk from a snapshot, never from a disk",
    ),
    allowed(
        "ControllerPublishVolume.readonly field not supported",
        "the cloud attaches disks for writing only; read-only is a mount flag",
    ),
    allowed(
        "testnodevolumeattachlimit not enabled",
        "the controller does the same for both access types; the run with mounted volumes has it",
    ),
];

/// Of buckets.
pub const OSS: &[AllowedSkip] = &[
    allowed("Volume Cloning not supported", "a bucket's volume starts from nothing"),
    allowed(
        "ControllerPublishVolume.readonly field not supported",
        "a bucket is attached to nothing; read-only is a mount flag",
    ),
    allowed(
        "testnodevolumeattachlimit not enabled",
        "a node mounts any number of buckets, so there is no limit to reach",
    ),
    allowed("capacity of the volume is unknown", "a bucket has no size: nothing bounds it"),
    allowed("GetCapacity not supported", "nothing bounds what a bucket can hold"),
    allowed("ListVolumes not supported", "buckets that were made elsewhere are volumes too"),
    allowed("ControllerExpandVolume not supported", "a bucket has no size to expand"),
    allowed("NodeExpandVolume not supported", "a bucket has no size to expand"),
    allowed("Modify volume not supported", "a bucket has no attributes that change"),
    allowed("Modify Volume not supported", "a bucket has no attributes that change"),
    allowed("ControllerModifyVolume not supported", "a bucket has no attributes that change"),
];

/// Of shares.
pub const NAS: &[AllowedSkip] = &[
    allowed("Volume Cloning not supported", "the cloud copies no directories"),
    allowed("GetCapacity not supported", "any server of any size may be named"),
    allowed("ListVolumes not supported", "directories of any server cannot be listed"),
    allowed("ControllerPublishVolume not supported", "a share is attached to nothing"),
    allowed("ControllerUnpublishVolume not supported", "a share is attached to nothing"),
    allowed("Controller Publish, UnpublishVolume not supported", "a share is attached to nothing"),
    allowed("NodeStageVolume not supported", "a share is mounted for each pod"),
    allowed("NodeUnstageVolume not supported", "a share is mounted for each pod"),
    allowed("NodeExpandVolume not supported", "a quota is raised by the controller alone"),
    allowed("Modify volume not supported", "a directory has no attributes that change"),
    allowed("Modify Volume not supported", "a directory has no attributes that change"),
    allowed("ControllerModifyVolume not supported", "a directory has no attributes that change"),
];

/// Why such a skip is right.
pub fn reason_to_skip(driver: &[AllowedSkip], says: &str) -> Option<&'static str> {
    let row = ALL.iter().chain(driver).find(|allowed| allowed.says == says);
    row.map(|allowed| allowed.because)
}
