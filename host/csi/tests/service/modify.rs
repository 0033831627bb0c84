//! VolumeAttributesClass: what is named is changed, and nothing else.

use tonic::{Code, Response, Status};
use wharf_csi::proto;

use crate::rig::{Rig, map};

fn code<T>(answer: Result<Response<T>, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

fn to(volume: &str, parameters: &[(&str, &str)]) -> proto::ControllerModifyVolumeRequest {
    proto::ControllerModifyVolumeRequest {
        volume_id: volume.into(),
        mutable_parameters: map(parameters),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_gets_what_its_class_names() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    rig.volume("vol-1");
    rig.backend.take_rounds(2);
    for _ in 0..2 {
        let message = to("vol-1", &[("iops", "200")]);
        controller.controller_modify_volume(message).await.unwrap();
    }
    let has = rig.backend.mutable_parameters("vol-1");
    assert_eq!(has, [("iops".to_owned(), "200".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_refused_and_changes_nothing() {
    let rig = Rig::start().await;
    let mut controller = rig.controller().await;
    rig.volume("vol-1");
    for (message, expected) in [
        (to("vol-1", &[("iops", "1"), ("colour", "red")]), Code::InvalidArgument),
        (to("vol-1", &[]), Code::InvalidArgument),
        (to("", &[("iops", "1")]), Code::InvalidArgument),
        (to("vol-0", &[("iops", "1")]), Code::NotFound),
    ] {
        assert_eq!(code(controller.controller_modify_volume(message).await), expected);
    }
    assert!(rig.backend.mutable_parameters("vol-1").is_empty());
    rig.backend.offer(&["create"]);
    let refused = controller.controller_modify_volume(to("vol-1", &[("iops", "1")])).await;
    assert_eq!(code(refused), Code::Unimplemented);
}
