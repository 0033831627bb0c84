//! What the edge takes, and what it refuses before anything else happens.

use super::*;
use crate::proto::volume_capability::{
    AccessMode as ModeMessage, AccessType as AccessMessage, BlockVolume, MountVolume,
};

fn root() -> AllowedRoots {
    AllowedRoots::new(vec!["/var/lib/kubelet".into()])
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn mount(flags: &[&str]) -> proto::VolumeCapability {
    proto::VolumeCapability {
        access_type: Some(AccessMessage::Mount(MountVolume {
            fs_type: "ext4".into(),
            mount_flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            volume_mount_group: String::new(),
        })),
        access_mode: Some(ModeMessage { mode: Mode::SingleNodeWriter.into() }),
    }
}

fn refusal<T>(result: Result<T, Error>) -> (ErrorKind, String) {
    let error = result.err().expect("it is refused");
    (error.kind, error.message)
}

#[test]
fn every_access_mode_has_its_counterpart_and_unknown_ones_are_refused() {
    let expected = [
        AccessMode::SingleNodeWriter,
        AccessMode::SingleNodeReaderOnly,
        AccessMode::MultiNodeReaderOnly,
        AccessMode::MultiNodeSingleWriter,
        AccessMode::MultiNodeMultiWriter,
        AccessMode::SingleNodeSingleWriter,
        AccessMode::SingleNodeMultiWriter,
    ];
    for (number, mode) in (1..).zip(expected) {
        assert_eq!(access_mode(number), Ok(mode));
    }
    for number in [-1, 0, 8, i32::MAX] {
        assert!(access_mode(number).is_err(), "{number}");
    }
}

#[test]
fn a_capability_says_how_and_by_whom() {
    let no_type = proto::VolumeCapability { access_type: None, ..mount(&[]) };
    let no_mode = proto::VolumeCapability { access_mode: None, ..mount(&[]) };
    let grouped = MountVolume { volume_mount_group: "1000".into(), ..Default::default() };
    let grouped =
        proto::VolumeCapability { access_type: Some(AccessMessage::Mount(grouped)), ..mount(&[]) };
    for broken in [no_type, no_mode] {
        assert_eq!(refusal(capability(broken)).0, ErrorKind::InvalidArgument);
    }
    let group = |capability: Capability| match capability.access {
        AccessType::Mount { group, .. } => group,
        AccessType::Block => None,
    };
    assert_eq!(group(capability(grouped).unwrap()).as_deref(), Some("1000"));
    assert_eq!(group(capability(mount(&[])).unwrap()), None);
    let block = proto::VolumeCapability {
        access_type: Some(AccessMessage::Block(BlockVolume {})),
        ..mount(&[])
    };
    assert_eq!(capability(block).unwrap().access, AccessType::Block);
}

#[test]
fn mount_flags_are_bounded_together_and_never_repeated() {
    let secret = "password=hunter2,".repeat(300);
    let (kind, message) = refusal(capability(mount(&[&secret])));
    assert_eq!(kind, ErrorKind::InvalidArgument);
    assert!(!message.contains("hunter2"));
}

#[test]
fn lists_are_bounded_also_where_their_entries_are_empty() {
    let million = 1_000_000;
    let flags = mount(&vec![""; million]);
    assert_eq!(refusal(capability(flags)).0, ErrorKind::InvalidArgument);
    assert!(capability(mount(&vec!["x"; MAX_FLAGS])).is_ok());
    let many = capabilities(vec![mount(&[]); MAX_CAPABILITIES + 1]);
    assert_eq!(refusal(many).0, ErrorKind::InvalidArgument);
    let places = |requisite: usize, preferred: usize| {
        topology(proto::TopologyRequirement {
            requisite: vec![proto::Topology::default(); requisite],
            preferred: vec![proto::Topology::default(); preferred],
        })
    };
    assert!(places(MAX_PLACES, MAX_PLACES).is_ok());
    for (requisite, preferred) in [(million, 0), (0, million), (MAX_PLACES + 1, 0)] {
        assert_eq!(refusal(places(requisite, preferred)).0, ErrorKind::InvalidArgument);
    }
}

#[test]
fn where_a_name_is_too_long_to_exist_nothing_is_taken_away_and_nothing_is_put() {
    let long = format!("/var/lib/kubelet/pods/{}/mount", "x".repeat(300));
    let unpublished =
        proto::NodeUnpublishVolumeRequest { volume_id: "d-1".into(), target_path: long.clone() };
    assert_eq!(unpublish(unpublished, &root()).unwrap().1, None);
    let unstaged = proto::NodeUnstageVolumeRequest {
        volume_id: "d-1".into(),
        staging_target_path: long.clone(),
    };
    assert_eq!(unstage(unstaged, &root()).unwrap().1, None);
    let elsewhere = proto::NodeUnpublishVolumeRequest {
        volume_id: "d-1".into(),
        target_path: long.replace("/var/lib/kubelet", "/etc"),
    };
    assert_eq!(refusal(unpublish(elsewhere, &root())).0, ErrorKind::InvalidArgument);
    let staged = proto::NodeStageVolumeRequest {
        volume_id: "d-1".into(),
        staging_target_path: long.clone(),
        volume_capability: Some(mount(&[])),
        ..Default::default()
    };
    assert_eq!(refusal(stage(staged, &root())).0, ErrorKind::InvalidArgument);
    let asked = proto::NodeGetVolumeStatsRequest {
        volume_id: "d-1".into(),
        volume_path: long,
        ..Default::default()
    };
    assert_eq!(refusal(stats(asked, &root())).0, ErrorKind::NotFound);
}

#[test]
fn a_size_is_not_negative_and_a_range_is_not_empty() {
    let range = |required_bytes, limit_bytes| {
        capacity(Some(proto::CapacityRange { required_bytes, limit_bytes }))
    };
    assert_eq!(range(0, 0), Ok(CapacityRange::default()));
    assert_eq!(range(5, 5), Ok(CapacityRange { required: Some(5), limit: Some(5) }));
    assert_eq!(refusal(range(-1, 0)).0, ErrorKind::InvalidArgument);
    assert_eq!(refusal(range(0, i64::MIN)).0, ErrorKind::InvalidArgument);
    assert_eq!(refusal(range(6, 5)).0, ErrorKind::OutOfRange);
}

#[test]
fn what_others_added_to_the_context_is_taken_out_and_does_not_count() {
    let token = "x".repeat(20_000);
    let added = [
        ("storage.kubernetes.io/csiProvisionerIdentity", "1-2-disk"),
        ("csi.storage.k8s.io/pod.name", "pod"),
        ("csi.storage.k8s.io/serviceAccount.tokens", token.as_str()),
        ("diskId", "d-1"),
    ];
    assert_eq!(context(map(&added)), Ok(vec![("diskId".into(), "d-1".into())]));
}

#[test]
fn the_missing_id_is_named_before_anything_else_that_is_wrong() {
    let broken = "relative/path".to_owned();
    let missing = (ErrorKind::InvalidArgument, "volume_id is missing".to_owned());
    assert_eq!(refusal(volume(String::new())), missing);
    assert_eq!(
        refusal(stage(
            proto::NodeStageVolumeRequest {
                staging_target_path: broken.clone(),
                ..Default::default()
            },
            &root()
        )),
        missing
    );
    assert_eq!(
        refusal(unstage(
            proto::NodeUnstageVolumeRequest {
                staging_target_path: broken.clone(),
                ..Default::default()
            },
            &root()
        )),
        missing
    );
    assert_eq!(
        refusal(publish(
            proto::NodePublishVolumeRequest { target_path: broken.clone(), ..Default::default() },
            &root()
        )),
        missing
    );
    assert_eq!(
        refusal(unpublish(
            proto::NodeUnpublishVolumeRequest { target_path: broken.clone(), ..Default::default() },
            &root()
        )),
        missing
    );
    assert_eq!(
        refusal(node_expand(
            proto::NodeExpandVolumeRequest { volume_path: broken, ..Default::default() },
            &root()
        )),
        missing
    );
}

#[test]
fn a_volume_to_grow_is_not_found_at_a_path_that_cannot_be_ours() {
    let message = |path: &str| proto::NodeExpandVolumeRequest {
        volume_id: "v".into(),
        volume_path: path.into(),
        ..Default::default()
    };
    assert_eq!(refusal(node_expand(message("some/path"), &root())).0, ErrorKind::NotFound);
    assert_eq!(refusal(node_expand(message(""), &root())).0, ErrorKind::InvalidArgument);
    assert!(node_expand(message("/var/lib/kubelet/x"), &root()).is_ok());
}
