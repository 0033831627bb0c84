//! What the methods take, and what they refuse before anything else happens.

use std::collections::BTreeMap;

use wharf_core::types::{Volume, VolumeId};
use wharf_core::{Effect, ErrorKind};

use super::*;
use crate::proto::volume_capability::access_mode::Mode;
use crate::proto::volume_capability::{AccessMode, AccessType, MountVolume};

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn create_message() -> proto::CreateVolumeRequest {
    let capability = proto::VolumeCapability {
        access_type: Some(AccessType::Mount(MountVolume::default())),
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
    };
    proto::CreateVolumeRequest {
        name: "pvc-1".into(),
        volume_capabilities: vec![capability],
        ..Default::default()
    }
}

fn refusal<T>(result: Result<T, Error>) -> (ErrorKind, String) {
    let error = result.err().expect("it is refused");
    (error.kind, error.message)
}

fn empty<M: Method<Message: Default>>() -> (ErrorKind, String) {
    refusal(M::parse(M::Message::default()))
}

#[test]
fn the_missing_id_is_named_before_anything_else_that_is_wrong() {
    let missing = (ErrorKind::InvalidArgument, "volume_id is missing".to_owned());
    for refused in [
        empty::<DeleteVolume>(),
        empty::<PublishVolume>(),
        empty::<UnpublishVolume>(),
        empty::<ExpandVolume>(),
        empty::<ModifyVolume>(),
        empty::<ValidateCapabilities>(),
        empty::<GetVolume>(),
    ] {
        assert_eq!(refused, missing);
    }
}

#[test]
fn create_keeps_the_provisioner_s_metadata_among_the_parameters() {
    let message = proto::CreateVolumeRequest {
        parameters: map(&[("csi.storage.k8s.io/pvc/name", "data")]),
        ..create_message()
    };
    assert_eq!(
        CreateVolume::parse(message).unwrap().parameters,
        vec![("csi.storage.k8s.io/pvc/name".into(), "data".into())]
    );
}

#[test]
fn create_takes_as_many_parameters_as_a_class_and_a_claim_s_annotations_may_be() {
    let annotations =
        map(&[("kubectl.kubernetes.io/last-applied-configuration", &"v".repeat(256 << 10))]);
    assert!(
        CreateVolume::parse(proto::CreateVolumeRequest {
            parameters: annotations,
            ..create_message()
        })
        .is_ok()
    );
}

#[test]
fn create_refuses_what_is_missing_or_too_large() {
    let huge = map(&[("k", &"v".repeat(1 << 20))]);
    let empty_source = proto::VolumeContentSource { r#type: None };
    let place = proto::Topology { segments: huge.clone() };
    let cases = [
        proto::CreateVolumeRequest { name: String::new(), ..create_message() },
        proto::CreateVolumeRequest { name: "x".repeat(129), ..create_message() },
        proto::CreateVolumeRequest { name: "a\u{7}".into(), ..create_message() },
        proto::CreateVolumeRequest { volume_capabilities: vec![], ..create_message() },
        proto::CreateVolumeRequest { parameters: huge.clone(), ..create_message() },
        proto::CreateVolumeRequest { mutable_parameters: huge, ..create_message() },
        proto::CreateVolumeRequest {
            volume_content_source: Some(empty_source),
            ..create_message()
        },
        proto::CreateVolumeRequest {
            accessibility_requirements: Some(proto::TopologyRequirement {
                requisite: vec![place],
                preferred: vec![],
            }),
            ..create_message()
        },
    ];
    for (index, message) in cases.into_iter().enumerate() {
        assert_eq!(
            refusal(CreateVolume::parse(message)).0,
            ErrorKind::InvalidArgument,
            "case {index}"
        );
    }
    assert!(
        CreateVolume::parse(proto::CreateVolumeRequest {
            name: "盘".repeat(42),
            ..create_message()
        })
        .is_ok()
    );
}

#[test]
fn no_node_means_every_node_and_a_node_s_id_may_be_longer_than_other_ids() {
    let message = |node: String| proto::ControllerUnpublishVolumeRequest {
        volume_id: "v".into(),
        node_id: node,
        ..Default::default()
    };
    assert_eq!(UnpublishVolume::parse(message(String::new())).unwrap().node, None);
    assert!(UnpublishVolume::parse(message("n".repeat(256))).unwrap().node.is_some());
    assert!(UnpublishVolume::parse(message("n".repeat(257))).is_err());
}

#[test]
fn a_token_that_nobody_here_made_is_aborted_and_a_negative_page_is_invalid() {
    let message = |max_entries, token: &str| proto::ListVolumesRequest {
        max_entries,
        starting_token: token.into(),
    };
    assert_eq!(ListVolumes::parse(message(0, "")), Ok((0, None)));
    assert_eq!(refusal(ListVolumes::parse(message(0, &"t".repeat(129)))).0, ErrorKind::Aborted);
    assert_eq!(refusal(ListVolumes::parse(message(-1, ""))).0, ErrorKind::InvalidArgument);
}

#[test]
fn a_volume_that_was_made_and_cannot_be_told_of_is_not_a_final_error() {
    let made = Volume {
        id: VolumeId::new(""),
        capacity_bytes: 1,
        context: vec![],
        topology: vec![],
        source: None,
        attached_to: vec![],
        condition: None,
    };
    let error = create_volume::created(made).unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::Unknown));
}
