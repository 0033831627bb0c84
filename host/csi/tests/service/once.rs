//! Every call five times: what was done once stays done once.

use wharf_csi::proto;
use wharf_csi::proto::volume_capability::access_mode::Mode;

use crate::rig::*;
use tonic::Code;

const TIMES: usize = 5;

/// The same request, five times; the answers are equal.
macro_rules! five_times {
    ($client:ident.$rpc:ident($request:expr)) => {{
        let first = $client.$rpc($request).await.unwrap().into_inner();
        for _ in 1..TIMES {
            assert_eq!($client.$rpc($request).await.unwrap().into_inner(), first);
        }
        first
    }};
}

async fn whole_life(rounds: u32) {
    let rig = Rig::start().await;
    rig.backend.take_rounds(rounds);
    let (mut controller, mut node) = (rig.controller().await, rig.node().await);

    let id = five_times!(controller.create_volume(create("pvc-1"))).volume.unwrap().volume_id;
    assert_eq!(rig.backend.volumes().len(), 1);
    let context =
        five_times!(controller.controller_publish_volume(attach(&id, "node-1"))).publish_context;
    assert_eq!(context, map(&[("fake/serial", &id)]));
    assert_eq!(rig.backend.volumes()[0].attached_to.len(), 1);

    five_times!(node.node_stage_volume(stage(&id)));
    five_times!(node.node_publish_volume(publish(&id, "pod-1")));
    five_times!(node.node_publish_volume(publish(&id, "pod-2")));
    assert_eq!(rig.node.mounts().len(), 3);
    assert_eq!(rig.node.calls().iter().filter(|call| **call == "format").count(), 1);

    assert_eq!(
        five_times!(controller.controller_expand_volume(expand(&id, 3))).capacity_bytes,
        3 * GIB
    );
    assert_eq!(five_times!(node.node_expand_volume(grow(&id, "pod-1", 3))).capacity_bytes, 3 * GIB);

    five_times!(node.node_unpublish_volume(unpublish(&id, "pod-1")));
    five_times!(node.node_unpublish_volume(unpublish(&id, "pod-2")));
    five_times!(node.node_unstage_volume(unstage(&id)));
    assert!(rig.node.mounts().is_empty());
    assert!(rig.node.all_records().is_empty());

    five_times!(controller.controller_unpublish_volume(detach(&id, "node-1")));
    five_times!(controller.delete_volume(delete(&id)));
    assert!(rig.backend.volumes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_may_be_repeated() {
    whole_life(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_may_be_repeated_where_the_cloud_takes_its_time() {
    whole_life(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn teardown_of_what_never_was_is_done_already() {
    let rig = Rig::start().await;
    let (mut controller, mut node) = (rig.controller().await, rig.node().await);
    five_times!(node.node_unpublish_volume(unpublish("vol-0", "pod-1")));
    five_times!(node.node_unstage_volume(unstage("vol-0")));
    five_times!(controller.controller_unpublish_volume(detach("vol-0", "node-1")));
    five_times!(controller.delete_volume(delete("vol-0")));
}

#[tokio::test(flavor = "multi_thread")]
async fn unstage_and_unpublish_ask_no_backend_anything() {
    let rig = Rig::start().await;
    let mut node = rig.node().await;
    let id = rig.volume("vol-7");
    node.node_stage_volume(stage(&id)).await.unwrap();
    node.node_publish_volume(publish(&id, "pod-1")).await.unwrap();
    let before = rig.backend.calls();
    five_times!(node.node_unpublish_volume(unpublish(&id, "pod-1")));
    five_times!(node.node_unstage_volume(unstage(&id)));
    assert_eq!(rig.backend.calls(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detach_without_a_node_is_from_every_node() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let id = rig.volume("vol-7");
    let shared = |node| proto::ControllerPublishVolumeRequest {
        volume_capability: Some(capability(Mode::MultiNodeReaderOnly)),
        ..attach(&id, node)
    };
    for node in ["node-1", "node-2"] {
        controller.controller_publish_volume(shared(node)).await.unwrap();
    }
    controller.controller_unpublish_volume(detach(&id, "")).await.unwrap();
    assert!(rig.backend.volumes()[0].attached_to.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_call_that_differs_is_refused_with_the_code_of_the_specification() {
    let rig = Rig::start().await;
    let (mut controller, mut node) = (rig.controller().await, rig.node().await);
    controller.create_volume(create("pvc-1")).await.unwrap();
    let larger = proto::CreateVolumeRequest { capacity_range: gib(2), ..create("pvc-1") };
    assert_eq!(controller.create_volume(larger).await.unwrap_err().code(), Code::AlreadyExists);

    let id = rig.volume("vol-7");
    assert_eq!(
        controller.controller_publish_volume(attach("vol-0", "node-1")).await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        controller.controller_publish_volume(attach(&id, "node-9")).await.unwrap_err().code(),
        Code::NotFound
    );
    controller.controller_publish_volume(attach(&id, "node-1")).await.unwrap();
    let held = controller.controller_publish_volume(attach(&id, "node-2")).await.unwrap_err();
    assert_eq!(held.code(), Code::FailedPrecondition);
    assert!(held.message().contains("node-1"), "the holder is named: {}", held.message());
    assert_eq!(
        controller.delete_volume(delete(&id)).await.unwrap_err().code(),
        Code::FailedPrecondition
    );

    assert_eq!(
        node.node_publish_volume(publish(&id, "pod-1")).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    node.node_stage_volume(stage(&id)).await.unwrap();
    node.node_publish_volume(publish(&id, "pod-1")).await.unwrap();
    let read_only = proto::NodePublishVolumeRequest { readonly: true, ..publish(&id, "pod-1") };
    assert_eq!(node.node_publish_volume(read_only).await.unwrap_err().code(), Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_for_one_workload_has_no_second_target() {
    let rig = Rig::start().await;
    let mut node = rig.node().await;
    let id = rig.volume("vol-7");
    let alone = Some(capability(Mode::SingleNodeSingleWriter));
    node.node_stage_volume(proto::NodeStageVolumeRequest {
        volume_capability: alone.clone(),
        ..stage(&id)
    })
    .await
    .unwrap();
    let one = |pod| proto::NodePublishVolumeRequest {
        volume_capability: alone.clone(),
        ..publish(&id, pod)
    };
    node.node_publish_volume(one("pod-1")).await.unwrap();
    assert_eq!(
        node.node_publish_volume(one("pod-2")).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    assert!(!is_mounted(&rig, &target(&id, "pod-2")));
}
