//! Generates the messages, servers and clients of CSI and of kubelet's plugin registration from
//! `proto/`, without a `protoc` on the machine.

use std::error::Error;
use std::path::PathBuf;

/// Messages that carry a `csi_secret` field, or mount flags: a value of such a type cannot be
/// formatted, so it cannot be logged.
const UNPRINTABLE: &[&str] = &[
    ".csi.v1.ValidateVolumeCapabilitiesRequest",
    ".csi.v1.ValidateVolumeCapabilitiesResponse",
    ".csi.v1.CreateVolumeRequest",
    ".csi.v1.DeleteVolumeRequest",
    ".csi.v1.ControllerPublishVolumeRequest",
    ".csi.v1.ControllerUnpublishVolumeRequest",
    ".csi.v1.ControllerExpandVolumeRequest",
    ".csi.v1.ControllerModifyVolumeRequest",
    ".csi.v1.GetCapacityRequest",
    ".csi.v1.CreateSnapshotRequest",
    ".csi.v1.DeleteSnapshotRequest",
    ".csi.v1.ListSnapshotsRequest",
    ".csi.v1.GetSnapshotRequest",
    ".csi.v1.CreateVolumeGroupSnapshotRequest",
    ".csi.v1.DeleteVolumeGroupSnapshotRequest",
    ".csi.v1.GetVolumeGroupSnapshotRequest",
    ".csi.v1.GetMetadataAllocatedRequest",
    ".csi.v1.GetMetadataDeltaRequest",
    ".csi.v1.NodeStageVolumeRequest",
    ".csi.v1.NodePublishVolumeRequest",
    ".csi.v1.NodeExpandVolumeRequest",
    ".csi.v1.VolumeCapability",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let protos = ["csi.proto", "pluginregistration.proto"].map(|name| root.join(name));
    let files = protox::compile(protos, [root])?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .codec_path("crate::codec::SmallBuffers")
        .btree_map(".")
        .skip_debug(UNPRINTABLE)
        .compile_fds(files)?;
    Ok(())
}
