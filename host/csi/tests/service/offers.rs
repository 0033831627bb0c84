//! What the backend says that it can do is what the driver offers, and no more.

use tonic::Code;
use tonic::transport::Channel;
use wharf_core::Error;
use wharf_csi::proto;
use wharf_csi::proto::group_controller_client::GroupControllerClient;
use wharf_csi::proto::identity_client::IdentityClient;
use wharf_csi::proto::{controller_service_capability, node_service_capability, plugin_capability};
use wharf_testing::fakes::Seen;

use crate::rig::*;

async fn plugin_offers(rig: &Rig) -> Vec<String> {
    use plugin_capability::Type;
    let answer = rig
        .identity()
        .await
        .get_plugin_capabilities(proto::GetPluginCapabilitiesRequest {})
        .await
        .unwrap()
        .into_inner();
    let name = |offer: proto::PluginCapability| match offer.r#type.unwrap() {
        Type::Service(service) => service.r#type().as_str_name().to_owned(),
        Type::VolumeExpansion(expansion) => expansion.r#type().as_str_name().to_owned(),
    };
    answer.capabilities.into_iter().map(name).collect()
}

async fn controller_offers(rig: &Rig) -> Vec<String> {
    use controller_service_capability::Type;
    let answer = rig
        .controller()
        .await
        .controller_get_capabilities(proto::ControllerGetCapabilitiesRequest {})
        .await
        .unwrap()
        .into_inner();
    let name = |offer: proto::ControllerServiceCapability| {
        let Type::Rpc(rpc) = offer.r#type.unwrap();
        rpc.r#type().as_str_name().to_owned()
    };
    answer.capabilities.into_iter().map(name).collect()
}

async fn node_offers(rig: &Rig) -> Vec<String> {
    use node_service_capability::Type;
    let answer = rig
        .node()
        .await
        .node_get_capabilities(proto::NodeGetCapabilitiesRequest {})
        .await
        .unwrap()
        .into_inner();
    let name = |offer: proto::NodeServiceCapability| {
        let Type::Rpc(rpc) = offer.r#type.unwrap();
        rpc.r#type().as_str_name().to_owned()
    };
    answer.capabilities.into_iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_can_do_everything_is_offered_as_far_as_the_core_goes() {
    let rig = Rig::start().await;
    assert_eq!(
        plugin_offers(&rig).await,
        ["CONTROLLER_SERVICE", "VOLUME_ACCESSIBILITY_CONSTRAINTS", "ONLINE"]
    );
    let controller = [
        "CREATE_DELETE_VOLUME",
        "SINGLE_NODE_MULTI_WRITER",
        "PUBLISH_UNPUBLISH_VOLUME",
        "PUBLISH_READONLY",
        "EXPAND_VOLUME",
        "MODIFY_VOLUME",
        "LIST_VOLUMES",
        "LIST_VOLUMES_PUBLISHED_NODES",
        "GET_CAPACITY",
        "VOLUME_CONDITION",
        "GET_VOLUME",
    ];
    assert_eq!(controller_offers(&rig).await, controller);
    assert_eq!(
        node_offers(&rig).await,
        [
            "GET_VOLUME_STATS",
            "VOLUME_CONDITION",
            "STAGE_UNSTAGE_VOLUME",
            "EXPAND_VOLUME",
            "SINGLE_NODE_MULTI_WRITER",
            "VOLUME_MOUNT_GROUP"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_does_not_say_is_not_offered_and_not_done() {
    let rig = Rig::start().await;
    rig.backend.offer(&["snapshot", "something-new"]);
    assert_eq!(plugin_offers(&rig).await, ["CONTROLLER_SERVICE"]);
    assert!(controller_offers(&rig).await.is_empty());
    let own = ["GET_VOLUME_STATS", "VOLUME_CONDITION"];
    assert_eq!(node_offers(&rig).await, own, "which need no backend");
    let (mut controller, mut node) = (rig.controller().await, rig.node().await);
    let refused = [
        controller.create_volume(create("a")).await.unwrap_err(),
        controller.delete_volume(delete("v")).await.unwrap_err(),
        controller.controller_publish_volume(attach("v", "node-1")).await.unwrap_err(),
        controller.controller_unpublish_volume(detach("v", "node-1")).await.unwrap_err(),
        controller.controller_expand_volume(expand("v", 1)).await.unwrap_err(),
        controller.list_volumes(proto::ListVolumesRequest::default()).await.unwrap_err(),
        controller.get_capacity(proto::GetCapacityRequest::default()).await.unwrap_err(),
        controller.controller_get_volume(get("v")).await.unwrap_err(),
        node.node_stage_volume(stage("v")).await.unwrap_err(),
        node.node_expand_volume(grow("v", "p", 1)).await.unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
    }
    assert!(rig.backend.calls().iter().all(|verb| *verb == "describe"));
}

fn for_group(group: &str) -> Option<proto::VolumeCapability> {
    use proto::volume_capability::AccessType;
    let mut capability = writer();
    if let Some(AccessType::Mount(mount)) = &mut capability.access_type {
        mount.volume_mount_group = group.into();
    }
    Some(capability)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reaches_a_backend_that_takes_one_and_is_refused_by_another() {
    let rig = Rig::start().await;
    rig.volume("v");
    let (mut controller, mut node) = (rig.controller().await, rig.node().await);
    let staged =
        |group| proto::NodeStageVolumeRequest { volume_capability: for_group(group), ..stage("v") };
    let published = |group, pod| proto::NodePublishVolumeRequest {
        volume_capability: for_group(group),
        ..publish("v", pod)
    };
    for _ in 0..2 {
        node.node_stage_volume(staged("2000")).await.unwrap();
        node.node_publish_volume(published("2000", "pod-1")).await.unwrap();
    }
    let groups: Vec<_> = rig.backend.seen().into_iter().filter_map(group_of_plan).collect();
    assert_eq!(groups, ["2000", "2000"], "of the plan to stage and of the one to publish");
    // One mount serves the pods of a node.
    for refused in [
        node.node_stage_volume(staged("3000")).await.unwrap_err(),
        node.node_publish_volume(published("3000", "pod-1")).await.unwrap_err(),
        node.node_publish_volume(published("3000", "pod-2")).await.unwrap_err(),
        node.node_publish_volume(publish("v", "pod-2")).await.unwrap_err(),
    ] {
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
        assert!(refused.message().contains("the group 2000"), "{refused}");
    }
    rig.backend.offer(&["stage", "create", "attach", "expand", "expand-node"]);
    let capability = for_group("2000");
    let of_controller = proto::ControllerPublishVolumeRequest {
        volume_capability: capability.clone(),
        ..attach("v", "node-1")
    };
    let created = proto::CreateVolumeRequest {
        volume_capabilities: capability.clone().into_iter().collect(),
        ..create("a")
    };
    let expanded = proto::ControllerExpandVolumeRequest {
        volume_capability: capability.clone(),
        ..expand("v", 1)
    };
    let validated = proto::ValidateVolumeCapabilitiesRequest {
        volume_id: "v".into(),
        volume_capabilities: capability.into_iter().collect(),
        ..Default::default()
    };
    for refused in [
        node.node_stage_volume(staged("2000")).await.unwrap_err(),
        node.node_publish_volume(published("2000", "pod-2")).await.unwrap_err(),
        controller.controller_publish_volume(of_controller).await.unwrap_err(),
        controller.create_volume(created).await.unwrap_err(),
        controller.controller_expand_volume(expanded).await.unwrap_err(),
        controller.validate_volume_capabilities(validated).await.err().unwrap(),
    ] {
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().contains("volume_mount_group"), "{refused}");
    }
}

fn group_of_plan(seen: Seen) -> Option<String> {
    match seen {
        Seen::PlanStage(request) => request.capability.group().map(str::to_owned),
        Seen::PlanPublish(request) => request.capability.group().map(str::to_owned),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_version_has_no_port_for_is_unimplemented() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let mut groups = GroupControllerClient::new(rig.channel().await);
    let refused = [
        controller.create_snapshot(proto::CreateSnapshotRequest::default()).await.unwrap_err(),
        controller.delete_snapshot(proto::DeleteSnapshotRequest::default()).await.unwrap_err(),
        controller.list_snapshots(proto::ListSnapshotsRequest::default()).await.unwrap_err(),
        controller.get_snapshot(proto::GetSnapshotRequest::default()).await.unwrap_err(),
        groups
            .group_controller_get_capabilities(proto::GroupControllerGetCapabilitiesRequest {})
            .await
            .unwrap_err(),
    ];
    for status in refused {
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_volume_cannot_have_is_refused_before_one_is_made() {
    use proto::volume_content_source::{SnapshotSource, Type};
    let rig = Rig::start().await;
    rig.backend.offer(&["create"]);
    let mut controller = rig.controller().await;
    let source = proto::VolumeContentSource {
        r#type: Some(Type::Snapshot(SnapshotSource { snapshot_id: "s-1".into() })),
    };
    let from_snapshot =
        proto::CreateVolumeRequest { volume_content_source: Some(source), ..create("a") };
    let with_class =
        proto::CreateVolumeRequest { mutable_parameters: map(&[("iops", "1")]), ..create("a") };
    for message in [from_snapshot, with_class] {
        assert_eq!(
            controller.create_volume(message).await.unwrap_err().code(),
            Code::InvalidArgument
        );
    }
    rig.backend.offer(&["create", "attach"]);
    let read_only =
        proto::ControllerPublishVolumeRequest { readonly: true, ..attach("v", "node-1") };
    assert_eq!(
        controller.controller_publish_volume(read_only).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert!(rig.backend.volumes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_says_who_it_is_and_what_is_behind_it() {
    let rig = Rig::start().await;
    let info = rig
        .identity()
        .await
        .get_plugin_info(proto::GetPluginInfoRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((info.name.as_str(), info.vendor_version.as_str()), (NAME, "9.8.7"));
    assert_eq!(info.manifest, map(&[("backend", "fake"), ("backend-version", "1.2.3")]));
    let node =
        rig.node().await.node_get_info(proto::NodeGetInfoRequest {}).await.unwrap().into_inner();
    assert_eq!((node.node_id.as_str(), node.max_volumes_per_node), ("node-1", 16));
    assert_eq!(
        node.accessible_topology.unwrap().segments,
        map(&[("topology.fake.example/zone", "zone-a")])
    );
}

/// Probes until the answer is another one than `false`.
async fn probed(identity: &mut IdentityClient<Channel>) -> Result<Option<bool>, Code> {
    loop {
        match identity.probe(proto::ProbeRequest {}).await {
            Ok(answer) if answer.get_ref().ready == Some(false) => tokio::task::yield_now().await,
            Ok(answer) => return Ok(answer.into_inner().ready),
            Err(status) => return Err(status.code()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_is_ready_once_its_backend_has_answered_and_stays_so() {
    let rig = Rig::start().await;
    let mut identity = rig.identity().await;
    rig.backend.fail("describe", Error::unavailable("still compiling"));
    rig.backend.fail("describe", Error::internal("trap"));
    assert_eq!(probed(&mut identity).await, Err(Code::FailedPrecondition));
    while probed(&mut identity).await != Ok(Some(true)) {}
    rig.backend.fail("describe", Error::internal("trap"));
    assert_eq!(probed(&mut identity).await, Ok(Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_waits_for_no_guest() {
    let rig = Rig::start().await;
    let mut identity = rig.identity().await;
    let hold = rig.backend.hold("describe");
    for _ in 0..3 {
        let answer = identity.probe(proto::ProbeRequest {}).await.unwrap();
        assert_eq!(answer.into_inner().ready, Some(false));
    }
    until_held(&hold, 1).await;
    assert_eq!(rig.backend.calls(), ["describe"], "one asks, the others do not wait");
    hold.release();
    assert_eq!(probed(&mut identity).await, Ok(Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_breaks_takes_no_capability_away() {
    let rig = Rig::start().await;
    let before = node_offers(&rig).await;
    rig.backend.fail("describe", Error::internal("trap"));
    assert_eq!(node_offers(&rig).await, before);
}
