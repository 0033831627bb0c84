//! What goes both ways comes back the same, and secrets do not go at all.

use std::time::Duration;

use wharf_core::types::{AccessMode, AccessType, Caller, Capability, Observation, ResourceId};
use wharf_core::{Blame, Effect, Error, ErrorKind, Secret};

use super::*;
use crate::bindings::imports::types;

const KINDS: [ErrorKind; 14] = [
    ErrorKind::InvalidArgument,
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::FailedPrecondition,
    ErrorKind::ResourceExhausted,
    ErrorKind::OutOfRange,
    ErrorKind::PermissionDenied,
    ErrorKind::Unauthenticated,
    ErrorKind::Throttled,
    ErrorKind::Unavailable,
    ErrorKind::Aborted,
    ErrorKind::Unsupported,
    ErrorKind::Internal,
    ErrorKind::Other,
];

#[test]
fn errors_come_back_the_same_in_every_kind_blame_and_effect() {
    for kind in KINDS {
        for blame in [Blame::User, Blame::Cloud, Blame::Backend, Blame::Host] {
            for effect in [Effect::None, Effect::Unknown] {
                let error = Error {
                    kind,
                    message: "m".into(),
                    hint: Some("h".into()),
                    blame,
                    effect,
                    code: Some("C".into()),
                    retry_after: Some(Duration::from_millis(70)),
                    observed: effect == Effect::None,
                };
                assert_eq!(error_from_guest(error_to_guest(&error)), error);
            }
        }
    }
}

#[test]
fn the_hosts_own_deadline_is_a_passing_failure_for_a_guest() {
    let error = Error::new(ErrorKind::DeadlineExceeded, Blame::Host, "late");
    assert_eq!(error_from_guest(error_to_guest(&error)).kind, ErrorKind::Unavailable);
}

#[test]
fn observations_come_back_the_same() {
    let observed = Observation {
        of: ResourceId { kind: "volume".into(), id: "d-1".into() },
        found: true,
        state: vec![0, 1, 255],
    };
    assert_eq!(observation_from_guest(observation_to_guest(&observed)), observed);
}

#[test]
fn access_modes_keep_their_names() {
    let pairs = [
        (AccessMode::SingleNodeWriter, types::AccessMode::SingleNodeWriter),
        (AccessMode::SingleNodeReaderOnly, types::AccessMode::SingleNodeReaderOnly),
        (AccessMode::MultiNodeReaderOnly, types::AccessMode::MultiNodeReaderOnly),
        (AccessMode::MultiNodeSingleWriter, types::AccessMode::MultiNodeSingleWriter),
        (AccessMode::MultiNodeMultiWriter, types::AccessMode::MultiNodeMultiWriter),
        (AccessMode::SingleNodeSingleWriter, types::AccessMode::SingleNodeSingleWriter),
        (AccessMode::SingleNodeMultiWriter, types::AccessMode::SingleNodeMultiWriter),
    ];
    for (core, guest) in pairs {
        assert_eq!(
            capability_to_guest(&Capability { access: AccessType::Block, mode: core }).mode,
            guest
        );
    }
}

#[test]
fn a_guest_gets_the_names_of_secrets_and_no_value() {
    let secrets = vec![("akSecret".to_owned(), Secret::new("c4n4ry"))];
    let given = caller_to_guest(&Caller { secrets, workload: None });
    assert_eq!(given.secrets, ["akSecret"]);
    assert!(!format!("{given:?}").contains("c4n4ry"));
}
