//! Whether a volume works: what the node finds out, and what the backend says.

use tonic::Code;
use tonic::transport::Channel;
use wharf_core::types::{Condition, NodeId, Volume, VolumeId};
use wharf_csi::proto;
use wharf_csi::proto::node_client::NodeClient;

use crate::rig::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_that_does_not_answer_is_told_by_its_condition_and_without_figures() {
    let rig = Rig::start().await;
    let mut node = rig.node().await;
    rig.volume("vol-1");
    node.node_stage_volume(stage("vol-1")).await.unwrap();
    node.node_publish_volume(publish("vol-1", "pod-1")).await.unwrap();
    let condition = async |node: &mut NodeClient<Channel>| {
        let said = node.node_get_volume_stats(look("vol-1", "pod-1")).await.unwrap().into_inner();
        let condition = said.volume_condition.unwrap();
        (condition.abnormal, condition.message, said.usage.len())
    };
    assert_eq!(condition(&mut node).await, (false, "it answers".to_owned(), 2));
    rig.node.fall_silent("the server is gone");
    assert_eq!(condition(&mut node).await, (true, "the server is gone".to_owned(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_backend_says_of_a_volume_reaches_lists_and_look_ups() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    rig.volume("vol-1");
    rig.backend.adopt(Volume {
        id: VolumeId::new("vol-2"),
        capacity_bytes: 1 << 30,
        context: vec![],
        topology: vec![],
        source: None,
        attached_to: vec![NodeId::new("node-1")],
        condition: Some(Condition::abnormal("its zone is down")),
    });
    let listed = controller.list_volumes(proto::ListVolumesRequest::default()).await.unwrap();
    let listed: Vec<_> = listed
        .into_inner()
        .entries
        .into_iter()
        .map(|entry| entry.status.unwrap().volume_condition)
        .collect();
    let broken = proto::VolumeCondition { abnormal: true, message: "its zone is down".into() };
    assert_eq!(listed, [None, Some(broken.clone())]);
    let got = controller.controller_get_volume(get("vol-2")).await.unwrap().into_inner();
    let status = got.status.unwrap();
    assert_eq!(got.volume.unwrap().capacity_bytes, 1 << 30);
    assert_eq!(status.published_node_ids, ["node-1"]);
    assert_eq!(status.volume_condition, Some(broken));
    let sound = controller.controller_get_volume(get("vol-1")).await.unwrap().into_inner();
    assert_eq!(sound.status.unwrap().volume_condition, None);
    for (volume, code) in [("vol-0", Code::NotFound), ("", Code::InvalidArgument)] {
        assert_eq!(controller.controller_get_volume(get(volume)).await.unwrap_err().code(), code);
    }
}
