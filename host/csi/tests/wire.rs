//! The proto file against the specification's facts: names, numbers, methods and the fields that
//! must never be logged.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside of a test function"
)]

use std::collections::BTreeMap;
use std::path::Path;

use prost_reflect::{DescriptorPool, EnumDescriptor, MessageDescriptor};

/// CSI 1.12: messages with fields. All others are empty.
const FIELDS: &[(&str, &str)] = &[
    ("BlockMetadata", "byte_offset:1 size_bytes:2"),
    ("CapacityRange", "required_bytes:1 limit_bytes:2"),
    ("ControllerExpandVolumeRequest", "volume_id:1 capacity_range:2 secrets:3 volume_capability:4"),
    ("ControllerExpandVolumeResponse", "capacity_bytes:1 node_expansion_required:2"),
    ("ControllerGetCapabilitiesResponse", "capabilities:1"),
    ("ControllerGetVolumeRequest", "volume_id:1"),
    ("ControllerGetVolumeResponse", "volume:1 status:2"),
    ("ControllerGetVolumeResponse.VolumeStatus", "published_node_ids:1 volume_condition:2"),
    ("ControllerModifyVolumeRequest", "volume_id:1 secrets:2 mutable_parameters:3"),
    (
        "ControllerPublishVolumeRequest",
        "volume_id:1 node_id:2 volume_capability:3 readonly:4 secrets:5 volume_context:6",
    ),
    ("ControllerPublishVolumeResponse", "publish_context:1"),
    ("ControllerServiceCapability", "rpc:1"),
    ("ControllerServiceCapability.RPC", "type:1"),
    ("ControllerUnpublishVolumeRequest", "volume_id:1 node_id:2 secrets:3"),
    ("CreateSnapshotRequest", "source_volume_id:1 name:2 secrets:3 parameters:4"),
    ("CreateSnapshotResponse", "snapshot:1"),
    ("CreateVolumeGroupSnapshotRequest", "name:1 source_volume_ids:2 secrets:3 parameters:4"),
    ("CreateVolumeGroupSnapshotResponse", "group_snapshot:1"),
    (
        "CreateVolumeRequest",
        "name:1 capacity_range:2 volume_capabilities:3 parameters:4 secrets:5 \
         volume_content_source:6 accessibility_requirements:7 mutable_parameters:8",
    ),
    ("CreateVolumeResponse", "volume:1"),
    ("DeleteSnapshotRequest", "snapshot_id:1 secrets:2"),
    ("DeleteVolumeGroupSnapshotRequest", "group_snapshot_id:1 snapshot_ids:2 secrets:3"),
    ("DeleteVolumeRequest", "volume_id:1 secrets:2"),
    ("GetCapacityRequest", "volume_capabilities:1 parameters:2 accessible_topology:3"),
    ("GetCapacityResponse", "available_capacity:1 maximum_volume_size:2 minimum_volume_size:3"),
    ("GetMetadataAllocatedRequest", "snapshot_id:1 starting_offset:2 max_results:3 secrets:4"),
    (
        "GetMetadataAllocatedResponse",
        "block_metadata_type:1 volume_capacity_bytes:2 block_metadata:3",
    ),
    (
        "GetMetadataDeltaRequest",
        "base_snapshot_id:1 target_snapshot_id:2 starting_offset:3 max_results:4 secrets:5",
    ),
    ("GetMetadataDeltaResponse", "block_metadata_type:1 volume_capacity_bytes:2 block_metadata:3"),
    ("GetPluginCapabilitiesResponse", "capabilities:1"),
    ("GetPluginInfoResponse", "name:1 vendor_version:2 manifest:3"),
    ("GetSnapshotRequest", "snapshot_id:1 secrets:2"),
    ("GetSnapshotResponse", "snapshot:1"),
    ("GetVolumeGroupSnapshotRequest", "group_snapshot_id:1 snapshot_ids:2 secrets:3"),
    ("GetVolumeGroupSnapshotResponse", "group_snapshot:1"),
    ("GroupControllerGetCapabilitiesResponse", "capabilities:1"),
    ("GroupControllerServiceCapability", "rpc:1"),
    ("GroupControllerServiceCapability.RPC", "type:1"),
    (
        "ListSnapshotsRequest",
        "max_entries:1 starting_token:2 source_volume_id:3 snapshot_id:4 secrets:5",
    ),
    ("ListSnapshotsResponse", "entries:1 next_token:2"),
    ("ListSnapshotsResponse.Entry", "snapshot:1"),
    ("ListVolumesRequest", "max_entries:1 starting_token:2"),
    ("ListVolumesResponse", "entries:1 next_token:2"),
    ("ListVolumesResponse.Entry", "volume:1 status:2"),
    ("ListVolumesResponse.VolumeStatus", "published_node_ids:1 volume_condition:2"),
    (
        "NodeExpandVolumeRequest",
        "volume_id:1 volume_path:2 capacity_range:3 staging_target_path:4 volume_capability:5 \
         secrets:6",
    ),
    ("NodeExpandVolumeResponse", "capacity_bytes:1"),
    ("NodeGetCapabilitiesResponse", "capabilities:1"),
    ("NodeGetInfoResponse", "node_id:1 max_volumes_per_node:2 accessible_topology:3"),
    ("NodeGetVolumeStatsRequest", "volume_id:1 volume_path:2 staging_target_path:3"),
    ("NodeGetVolumeStatsResponse", "usage:1 volume_condition:2"),
    (
        "NodePublishVolumeRequest",
        "volume_id:1 publish_context:2 staging_target_path:3 target_path:4 volume_capability:5 \
         readonly:6 secrets:7 volume_context:8",
    ),
    ("NodeServiceCapability", "rpc:1"),
    ("NodeServiceCapability.RPC", "type:1"),
    (
        "NodeStageVolumeRequest",
        "volume_id:1 publish_context:2 staging_target_path:3 volume_capability:4 secrets:5 \
         volume_context:6",
    ),
    ("NodeUnpublishVolumeRequest", "volume_id:1 target_path:2"),
    ("NodeUnstageVolumeRequest", "volume_id:1 staging_target_path:2"),
    ("PluginCapability", "service:1 volume_expansion:2"),
    ("PluginCapability.Service", "type:1"),
    ("PluginCapability.VolumeExpansion", "type:1"),
    ("ProbeResponse", "ready:1"),
    (
        "Snapshot",
        "size_bytes:1 snapshot_id:2 source_volume_id:3 creation_time:4 ready_to_use:5 \
         group_snapshot_id:6",
    ),
    ("Topology", "segments:1"),
    ("TopologyRequirement", "requisite:1 preferred:2"),
    (
        "ValidateVolumeCapabilitiesRequest",
        "volume_id:1 volume_context:2 volume_capabilities:3 parameters:4 secrets:5 \
         mutable_parameters:6",
    ),
    ("ValidateVolumeCapabilitiesResponse", "confirmed:1 message:2"),
    (
        "ValidateVolumeCapabilitiesResponse.Confirmed",
        "volume_context:1 volume_capabilities:2 parameters:3 mutable_parameters:4",
    ),
    (
        "Volume",
        "capacity_bytes:1 volume_id:2 volume_context:3 content_source:4 accessible_topology:5",
    ),
    ("VolumeCapability", "block:1 mount:2 access_mode:3"),
    ("VolumeCapability.AccessMode", "mode:1"),
    ("VolumeCapability.MountVolume", "fs_type:1 mount_flags:2 volume_mount_group:3"),
    ("VolumeCondition", "abnormal:1 message:2"),
    ("VolumeContentSource", "snapshot:1 volume:2"),
    ("VolumeContentSource.SnapshotSource", "snapshot_id:1"),
    ("VolumeContentSource.VolumeSource", "volume_id:1"),
    ("VolumeGroupSnapshot", "group_snapshot_id:1 snapshots:2 creation_time:3 ready_to_use:4"),
    ("VolumeUsage", "available:1 total:2 used:3 unit:4"),
];
/// Messages without fields.
const EMPTY: &[&str] = &[
    "ControllerGetCapabilitiesRequest",
    "ControllerModifyVolumeResponse",
    "ControllerUnpublishVolumeResponse",
    "DeleteSnapshotResponse",
    "DeleteVolumeGroupSnapshotResponse",
    "DeleteVolumeResponse",
    "GetPluginCapabilitiesRequest",
    "GetPluginInfoRequest",
    "GroupControllerGetCapabilitiesRequest",
    "NodeGetCapabilitiesRequest",
    "NodeGetInfoRequest",
    "NodePublishVolumeResponse",
    "NodeStageVolumeResponse",
    "NodeUnpublishVolumeResponse",
    "NodeUnstageVolumeResponse",
    "ProbeRequest",
    "VolumeCapability.BlockVolume",
];
const ENUMS: &[(&str, &str)] = &[
    ("BlockMetadataType", "UNKNOWN:0 FIXED_LENGTH:1 VARIABLE_LENGTH:2"),
    (
        "ControllerServiceCapability.RPC.Type",
        "UNKNOWN:0 CREATE_DELETE_VOLUME:1 PUBLISH_UNPUBLISH_VOLUME:2 LIST_VOLUMES:3 \
         GET_CAPACITY:4 CREATE_DELETE_SNAPSHOT:5 LIST_SNAPSHOTS:6 CLONE_VOLUME:7 \
         PUBLISH_READONLY:8 EXPAND_VOLUME:9 LIST_VOLUMES_PUBLISHED_NODES:10 VOLUME_CONDITION:11 \
         GET_VOLUME:12 SINGLE_NODE_MULTI_WRITER:13 MODIFY_VOLUME:14 GET_SNAPSHOT:15",
    ),
    (
        "GroupControllerServiceCapability.RPC.Type",
        "UNKNOWN:0 CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT:1",
    ),
    (
        "NodeServiceCapability.RPC.Type",
        "UNKNOWN:0 STAGE_UNSTAGE_VOLUME:1 GET_VOLUME_STATS:2 EXPAND_VOLUME:3 VOLUME_CONDITION:4 \
         SINGLE_NODE_MULTI_WRITER:5 VOLUME_MOUNT_GROUP:6",
    ),
    (
        "PluginCapability.Service.Type",
        "UNKNOWN:0 CONTROLLER_SERVICE:1 VOLUME_ACCESSIBILITY_CONSTRAINTS:2 \
         GROUP_CONTROLLER_SERVICE:3 SNAPSHOT_METADATA_SERVICE:4",
    ),
    ("PluginCapability.VolumeExpansion.Type", "UNKNOWN:0 ONLINE:1 OFFLINE:2"),
    (
        "VolumeCapability.AccessMode.Mode",
        "UNKNOWN:0 SINGLE_NODE_WRITER:1 SINGLE_NODE_READER_ONLY:2 MULTI_NODE_READER_ONLY:3 \
         MULTI_NODE_SINGLE_WRITER:4 MULTI_NODE_MULTI_WRITER:5 SINGLE_NODE_SINGLE_WRITER:6 \
         SINGLE_NODE_MULTI_WRITER:7",
    ),
    ("VolumeUsage.Unit", "UNKNOWN:0 BYTES:1 INODES:2"),
];
/// Every method takes `<Method>Request` and answers `<Method>Response`.
const METHODS: &[(&str, &str)] = &[
    (
        "Controller",
        "ControllerExpandVolume ControllerGetCapabilities ControllerGetVolume \
         ControllerModifyVolume ControllerPublishVolume ControllerUnpublishVolume CreateSnapshot \
         CreateVolume DeleteSnapshot DeleteVolume GetCapacity GetSnapshot ListSnapshots \
         ListVolumes ValidateVolumeCapabilities",
    ),
    (
        "GroupController",
        "CreateVolumeGroupSnapshot DeleteVolumeGroupSnapshot GetVolumeGroupSnapshot \
         GroupControllerGetCapabilities",
    ),
    ("Identity", "GetPluginCapabilities GetPluginInfo Probe"),
    (
        "Node",
        "NodeExpandVolume NodeGetCapabilities NodeGetInfo NodeGetVolumeStats NodePublishVolume \
         NodeStageVolume NodeUnpublishVolume NodeUnstageVolume",
    ),
    ("SnapshotMetadata", "GetMetadataAllocated GetMetadataDelta"),
];
const STREAMS: &[&str] = &["GetMetadataAllocated", "GetMetadataDelta"];
/// Messages whose `secrets` must never be logged; CSI marks no other field.
const SECRETS: &[&str] = &[
    "ControllerExpandVolumeRequest",
    "ControllerModifyVolumeRequest",
    "ControllerPublishVolumeRequest",
    "ControllerUnpublishVolumeRequest",
    "CreateSnapshotRequest",
    "CreateVolumeGroupSnapshotRequest",
    "CreateVolumeRequest",
    "DeleteSnapshotRequest",
    "DeleteVolumeGroupSnapshotRequest",
    "DeleteVolumeRequest",
    "GetMetadataAllocatedRequest",
    "GetMetadataDeltaRequest",
    "GetSnapshotRequest",
    "GetVolumeGroupSnapshotRequest",
    "ListSnapshotsRequest",
    "NodeExpandVolumeRequest",
    "NodePublishVolumeRequest",
    "NodeStageVolumeRequest",
    "ValidateVolumeCapabilitiesRequest",
];

fn pool() -> DescriptorPool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut compiler = protox::Compiler::new([folder.as_path()]).unwrap();
    compiler.open_file("csi.proto").unwrap();
    compiler.descriptor_pool()
}

fn ours<T>(all: impl Iterator<Item = T>, name: impl Fn(&T) -> String) -> BTreeMap<String, T> {
    all.filter_map(|item| {
        name(&item).strip_prefix("csi.v1.").map(str::to_owned).map(|name| (name, item))
    })
    .collect()
}

fn messages(pool: &DescriptorPool) -> BTreeMap<String, MessageDescriptor> {
    let all = pool.all_messages().filter(|message| !message.is_map_entry());
    ours(all, |message| message.full_name().to_owned())
}

fn fields(message: &MessageDescriptor) -> String {
    let mut fields: Vec<_> =
        message.fields().map(|field| (field.number(), field.name().to_owned())).collect();
    fields.sort_unstable();
    fields.iter().map(|(number, name)| format!("{name}:{number}")).collect::<Vec<_>>().join(" ")
}

fn values(of: &EnumDescriptor) -> String {
    of.values()
        .map(|value| format!("{}:{}", value.name(), value.number()))
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_message_has_the_fields_and_numbers_of_csi() {
    let pool = pool();
    let found: BTreeMap<_, _> =
        messages(&pool).iter().map(|(name, message)| (name.clone(), fields(message))).collect();
    let with_fields =
        FIELDS.iter().map(|(name, fields)| ((*name).to_owned(), (*fields).to_owned()));
    let expected: BTreeMap<_, _> =
        with_fields.chain(EMPTY.iter().map(|name| ((*name).to_owned(), String::new()))).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_enum_has_the_values_of_csi() {
    let pool = pool();
    let found: BTreeMap<_, _> = ours(pool.all_enums(), |of| of.full_name().to_owned())
        .iter()
        .map(|(name, of)| (name.clone(), values(of)))
        .collect();
    let expected: BTreeMap<_, _> =
        ENUMS.iter().map(|(name, values)| ((*name).to_owned(), (*values).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_service_has_the_methods_of_csi() {
    let pool = pool();
    for service in pool.services() {
        let mut names: Vec<_> = service.methods().map(|method| method.name().to_owned()).collect();
        names.sort_unstable();
        let expected =
            METHODS.iter().find(|(name, _)| *name == service.name()).map(|(_, methods)| *methods);
        assert_eq!(Some(names.join(" ").as_str()), expected, "{}", service.name());
        for method in service.methods() {
            assert_eq!(method.input().name(), format!("{}Request", method.name()));
            assert_eq!(method.output().name(), format!("{}Response", method.name()));
            assert_eq!(
                (method.is_client_streaming(), method.is_server_streaming()),
                (false, STREAMS.contains(&method.name()))
            );
        }
    }
    assert_eq!(pool.services().count(), METHODS.len());
}

#[test]
fn exactly_the_fields_that_csi_calls_secret_are_marked_and_their_messages_cannot_be_printed() {
    let pool = pool();
    let secret = pool.get_extension_by_name("csi.v1.csi_secret").unwrap();
    assert_eq!(secret.number(), 1059);
    let is_marked = |field: &prost_reflect::FieldDescriptor| {
        field.options().get_extension(&secret).as_bool() == Some(true)
    };
    let marked: Vec<_> = messages(&pool)
        .into_iter()
        .flat_map(|(name, message)| {
            message
                .fields()
                .filter(is_marked)
                .map(|field| format!("{name}.{}", field.name()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(marked, SECRETS.iter().map(|name| format!("{name}.secrets")).collect::<Vec<_>>());
    let build = include_str!("../build.rs");
    for name in SECRETS {
        assert!(
            build.contains(&format!("\".csi.v1.{name}\"")),
            "{name} could be formatted: it is missing from build.rs"
        );
    }
}
