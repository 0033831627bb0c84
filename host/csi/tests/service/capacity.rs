//! How much is left: what is asked reaches the backend, and what it answers reaches the caller.

use tonic::Code;
use wharf_core::types::{AccessMode, AccessType, Capability};
use wharf_core::verbs::{Available, CapacityRequest};
use wharf_csi::proto;
use wharf_testing::fakes::Seen;

use crate::rig::{Rig, map, writer};

const GIB: i64 = 1 << 30;
const LEFT: u64 = 500 << 30;

fn left(bytes: u64, smallest: Option<u64>, largest: Option<u64>) -> Available {
    Available { bytes, minimum_volume_bytes: smallest, maximum_volume_bytes: largest }
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_of_volumes_come_with_what_is_left_where_the_backend_knows_them() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    for (available, expected) in [
        (left(LEFT, Some(20 << 30), Some(LEFT)), (500 * GIB, Some(20 * GIB), Some(500 * GIB))),
        (left(LEFT, None, None), (500 * GIB, None, None)),
        (left(0, None, None), (0, None, None)),
    ] {
        rig.backend.leave(available);
        for _ in 0..2 {
            let answer = controller.get_capacity(proto::GetCapacityRequest::default()).await;
            let it = answer.unwrap().into_inner();
            let told = (it.available_capacity, it.minimum_volume_size, it.maximum_volume_size);
            assert_eq!(told, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn class_place_and_use_reach_the_backend_and_what_is_not_said_is_not_made_up() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    let zone = map(&[("topology.fake.example/zone", "zone-b")]);
    let whole = proto::GetCapacityRequest {
        volume_capabilities: vec![writer()],
        parameters: map(&[("type", "fast")]),
        accessible_topology: Some(proto::Topology { segments: zone.clone() }),
    };
    let anywhere = proto::GetCapacityRequest {
        accessible_topology: Some(proto::Topology::default()),
        ..Default::default()
    };
    for message in [whole, anywhere] {
        controller.get_capacity(message).await.unwrap();
    }
    let access = AccessType::Mount { fs_type: "ext4".into(), flags: vec![], group: None };
    let capability = Capability { access, mode: AccessMode::SingleNodeWriter };
    let seen = [
        CapacityRequest {
            capabilities: vec![capability],
            parameters: vec![("type".into(), "fast".into())],
            topology: Some(zone.into_iter().collect()),
        },
        CapacityRequest { capabilities: vec![], parameters: vec![], topology: None },
    ];
    assert_eq!(rig.backend.seen(), seen.map(Seen::Capacity));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_csi_cannot_say_and_what_no_caller_may_ask_is_refused() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    rig.backend.leave(left(u64::MAX, None, None));
    let refused = controller.get_capacity(proto::GetCapacityRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Internal);
    let huge = map(&[("k", &"v".repeat(1 << 20))]);
    for message in [
        proto::GetCapacityRequest { parameters: huge.clone(), ..Default::default() },
        proto::GetCapacityRequest {
            accessible_topology: Some(proto::Topology { segments: huge }),
            ..Default::default()
        },
        proto::GetCapacityRequest {
            volume_capabilities: vec![proto::VolumeCapability::default()],
            ..Default::default()
        },
    ] {
        let refused = controller.get_capacity(message).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
}
