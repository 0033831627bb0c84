//! What is refused at the edge reaches neither the backend nor the node.

use std::collections::BTreeMap;

use tonic::{Code, Status};
use wharf_core::{Blame, Error, ErrorKind};
use wharf_csi::proto;

use crate::rig::*;

fn code<T>(answer: Result<T, Status>) -> Code {
    let status = answer.err().expect("it is refused");
    assert!(status.details().is_empty());
    assert!(!status.message().is_empty());
    status.code()
}

fn huge() -> BTreeMap<String, String> {
    map(&[("key", &"v".repeat(1 << 20))])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_refuses_broken_requests_without_asking_the_backend() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let long = "x".repeat(129);
    let creates = [
        create(""),
        create(&long),
        proto::CreateVolumeRequest { volume_capabilities: vec![], ..create("a") },
        proto::CreateVolumeRequest { parameters: huge(), ..create("a") },
        proto::CreateVolumeRequest { capacity_range: gib(-1), ..create("a") },
    ];
    for message in creates {
        assert_eq!(code(controller.create_volume(message).await), Code::InvalidArgument);
    }
    let attaches = [
        attach("", "node-1"),
        attach("vol", ""),
        attach(&long, "node-1"),
        attach("vol", &"n".repeat(257)),
        proto::ControllerPublishVolumeRequest {
            volume_capability: None,
            ..attach("vol", "node-1")
        },
        proto::ControllerPublishVolumeRequest { volume_context: huge(), ..attach("vol", "node-1") },
    ];
    for message in attaches {
        assert_eq!(
            code(controller.controller_publish_volume(message).await),
            Code::InvalidArgument
        );
    }
    assert_eq!(code(controller.delete_volume(delete("")).await), Code::InvalidArgument);
    assert_eq!(
        code(controller.controller_unpublish_volume(detach("", "n")).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(controller.controller_expand_volume(expand("", 1)).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(controller.controller_expand_volume(expand("vol", 0)).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(
            controller
                .validate_volume_capabilities(proto::ValidateVolumeCapabilitiesRequest::default())
                .await
        ),
        Code::InvalidArgument
    );
    assert!(rig.backend.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_refuses_paths_that_are_not_kubelet_s() {
    let rig = Rig::start().await;
    let mut node = rig.node().await;
    for path in [
        "",
        "kubelet/x",
        "/etc",
        "/kubelet",
        "/kubelet/../etc",
        "/kubelet//x",
        "/kubelet/x/",
        "/kubeletx/y",
    ] {
        let path = path.to_owned();
        let staged =
            proto::NodeStageVolumeRequest { staging_target_path: path.clone(), ..stage("v") };
        assert_eq!(
            code(node.node_stage_volume(staged).await),
            Code::InvalidArgument,
            "stage at {path:?}"
        );
        let unstaged =
            proto::NodeUnstageVolumeRequest { staging_target_path: path.clone(), ..unstage("v") };
        assert_eq!(
            code(node.node_unstage_volume(unstaged).await),
            Code::InvalidArgument,
            "unstage at {path:?}"
        );
        let published =
            proto::NodePublishVolumeRequest { target_path: path.clone(), ..publish("v", "p") };
        assert_eq!(
            code(node.node_publish_volume(published).await),
            Code::InvalidArgument,
            "publish at {path:?}"
        );
        let unpublished =
            proto::NodeUnpublishVolumeRequest { target_path: path.clone(), ..unpublish("v", "p") };
        assert_eq!(
            code(node.node_unpublish_volume(unpublished).await),
            Code::InvalidArgument,
            "unpublish at {path:?}"
        );
        if !path.is_empty() {
            let from = proto::NodePublishVolumeRequest {
                staging_target_path: path.clone(),
                ..publish("v", "p")
            };
            assert_eq!(
                code(node.node_publish_volume(from).await),
                Code::InvalidArgument,
                "publish from {path:?}"
            );
            let grown =
                proto::NodeExpandVolumeRequest { volume_path: path.clone(), ..grow("v", "p", 1) };
            assert_eq!(
                code(node.node_expand_volume(grown).await),
                Code::NotFound,
                "expand at {path:?}"
            );
            let looked_at =
                proto::NodeGetVolumeStatsRequest { volume_path: path.clone(), ..look("v", "p") };
            assert_eq!(
                code(node.node_get_volume_stats(looked_at).await),
                Code::NotFound,
                "usage at {path:?}"
            );
        }
    }
    assert!(rig.backend.calls().is_empty());
    assert!(rig.node.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_is_not_on_this_node_cannot_grow_here() {
    let rig = Rig::start().await;
    let mut node = rig.node().await;
    assert_eq!(code(node.node_expand_volume(grow("vol-0", "pod-1", 2)).await), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_of_a_volume_that_is_on_this_node_and_asks_no_backend() {
    let rig = Rig::start().await;
    let mut node = rig.node().await;
    rig.volume("vol-1");
    node.node_stage_volume(stage("vol-1")).await.unwrap();
    node.node_publish_volume(publish("vol-1", "pod-1")).await.unwrap();
    let before = rig.backend.calls();
    let usage =
        node.node_get_volume_stats(look("vol-1", "pod-1")).await.unwrap().into_inner().usage;
    let units: Vec<_> = usage
        .iter()
        .map(|entry| (entry.unit().as_str_name(), entry.total == entry.available + entry.used))
        .collect();
    assert_eq!(units, [("BYTES", true), ("INODES", true)]);
    assert_eq!(usage[0].total, GIB);
    for missing in [look("vol-1", "pod-2"), look("vol-0", "pod-1x")] {
        assert_eq!(code(node.node_get_volume_stats(missing).await), Code::NotFound);
    }
    for broken in [
        look("", "pod-1"),
        proto::NodeGetVolumeStatsRequest { volume_path: String::new(), ..look("vol-1", "pod-1") },
    ] {
        assert_eq!(code(node.node_get_volume_stats(broken).await), Code::InvalidArgument);
    }
    assert_eq!(rig.backend.calls(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_ours_is_aborted_at_once() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let message =
        |token: &str| proto::ListVolumesRequest { max_entries: 1, starting_token: token.into() };
    assert_eq!(code(controller.list_volumes(message("invalid-token")).await), Code::Aborted);
    assert_eq!(rig.backend.calls().iter().filter(|verb| **verb == "list").count(), 1);
    assert_eq!(code(controller.list_volumes(message(&"t".repeat(200))).await), Code::Aborted);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_list_join_up_and_name_the_holders() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    for id in ["vol-1", "vol-2", "vol-3"] {
        rig.volume(id);
    }
    controller.controller_publish_volume(attach("vol-2", "node-1")).await.unwrap();
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let page = controller
            .list_volumes(proto::ListVolumesRequest { max_entries: 2, starting_token: token })
            .await
            .unwrap()
            .into_inner();
        seen.extend(page.entries.into_iter().map(|entry| {
            (entry.volume.unwrap().volume_id, entry.status.unwrap().published_node_ids)
        }));
        token = page.next_token;
        if token.is_empty() {
            break;
        }
    }
    let nobody = Vec::<String>::new();
    assert_eq!(
        seen,
        [
            ("vol-1".into(), nobody.clone()),
            ("vol-2".into(), vec!["node-1".to_owned()]),
            ("vol-3".into(), nobody)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_whose_effect_is_not_known_is_not_final_and_keeps_its_hint() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    rig.volume("vol-1");
    let denied = || {
        Error::new(ErrorKind::PermissionDenied, Blame::User, "DeleteDisk is not allowed")
            .with_hint("grant it to the RAM role")
    };
    rig.backend.fail("delete", denied());
    let status = controller.delete_volume(delete("vol-1")).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().ends_with("DeleteDisk is not allowed; grant it to the RAM role"),
        "{}",
        status.message()
    );
    rig.backend.fail("delete", denied().with_unknown_effect());
    assert_eq!(code(controller.delete_volume(delete("vol-1")).await), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn validation_confirms_in_the_caller_s_own_words() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    rig.volume("vol-1");
    let message = |id: &str| proto::ValidateVolumeCapabilitiesRequest {
        volume_id: id.into(),
        volume_context: map(&[
            ("storage.kubernetes.io/csiProvisionerIdentity", "x"),
            ("kind", "disk"),
        ]),
        volume_capabilities: vec![writer()],
        parameters: map(&[("type", "essd")]),
        ..Default::default()
    };
    let confirmed = controller
        .validate_volume_capabilities(message("vol-1"))
        .await
        .unwrap()
        .into_inner()
        .confirmed
        .unwrap();
    assert!(confirmed.volume_capabilities == message("").volume_capabilities);
    assert_eq!(confirmed.volume_context, message("").volume_context);
    assert_eq!(confirmed.parameters, message("").parameters);
    assert_eq!(
        code(controller.validate_volume_capabilities(message("vol-0")).await),
        Code::NotFound
    );
    rig.backend.offer(&["create"]);
    let with_class = proto::ValidateVolumeCapabilitiesRequest {
        mutable_parameters: map(&[("iops", "1")]),
        ..message("vol-1")
    };
    let unseen = controller.validate_volume_capabilities(with_class).await.unwrap().into_inner();
    assert!(
        unseen.confirmed.is_none() && unseen.message.contains("mutable_parameters"),
        "what nobody looked at is not confirmed"
    );
}
