//! Errors as gRPC status codes: the one place where that is decided.
//!
//! | kind | effect none | effect unknown | how the callers read the code |
//! |---|---|---|---|
//! | invalid-argument | `INVALID_ARGUMENT` | `UNAVAILABLE` | final; kubelet's resize: infeasible |
//! | not-found | `NOT_FOUND` | `UNAVAILABLE` | final; kubelet's resize: infeasible |
//! | already-exists | `ALREADY_EXISTS` | `UNAVAILABLE` | final |
//! | failed-precondition | `FAILED_PRECONDITION` | `UNAVAILABLE` | final; kubelet's resize: not
//! again on this node |
//! | resource-exhausted | `RESOURCE_EXHAUSTED` | `UNAVAILABLE` | CreateVolume: final, another place
//! is tried; all others: may still be running |
//! | out-of-range | `OUT_OF_RANGE` | `UNAVAILABLE` | final; kubelet's resize: infeasible |
//! | permission-denied | `PERMISSION_DENIED` | `UNAVAILABLE` | final |
//! | unauthenticated | `UNAUTHENTICATED` | `UNAVAILABLE` | final |
//! | throttled | `UNAVAILABLE` | `UNAVAILABLE` | may still be running, called again
//! (`RESOURCE_EXHAUSTED` would end a CreateVolume) |
//! | unavailable | `UNAVAILABLE` | `UNAVAILABLE` | may still be running, called again |
//! | aborted | `ABORTED` | `ABORTED` | may still be running, called again |
//! | unsupported | `UNIMPLEMENTED` | `UNAVAILABLE` | final |
//! | internal, other | `INTERNAL` | `UNAVAILABLE` | final |
//! | deadline-exceeded | `DEADLINE_EXCEEDED` | `DEADLINE_EXCEEDED` | may still be running, called
//! again |
//!
//! "Final" (the sidecars' reading of every code but CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE,
//! RESOURCE_EXHAUSTED and ABORTED) means that nothing is left behind: the provisioner forgets the
//! volume, the attacher the attachment. So an error whose effect is not known never becomes one of
//! those codes, and a refusal that repeating cannot change never becomes one that is repeated for
//! ever.

use tonic::{Code, Status};
use wharf_core::{Effect, Error, ErrorKind};

/// Longer messages are cut: they travel in an HTTP/2 header and end in Kubernetes events, which
/// keep 1 KiB.
const MAX_MESSAGE: usize = 1024;

/// The code of a kind and an effect.
pub fn code(kind: ErrorKind, effect: Effect) -> Code {
    match (kind, effect) {
        (ErrorKind::InvalidArgument, Effect::None) => Code::InvalidArgument,
        (ErrorKind::NotFound, Effect::None) => Code::NotFound,
        (ErrorKind::AlreadyExists, Effect::None) => Code::AlreadyExists,
        (ErrorKind::FailedPrecondition, Effect::None) => Code::FailedPrecondition,
        (ErrorKind::ResourceExhausted, Effect::None) => Code::ResourceExhausted,
        (ErrorKind::OutOfRange, Effect::None) => Code::OutOfRange,
        (ErrorKind::PermissionDenied, Effect::None) => Code::PermissionDenied,
        (ErrorKind::Unauthenticated, Effect::None) => Code::Unauthenticated,
        (ErrorKind::Unsupported, Effect::None) => Code::Unimplemented,
        (ErrorKind::Internal | ErrorKind::Other, Effect::None) => Code::Internal,
        (ErrorKind::Aborted, Effect::None | Effect::Unknown) => Code::Aborted,
        (ErrorKind::DeadlineExceeded, Effect::None | Effect::Unknown) => Code::DeadlineExceeded,
        (ErrorKind::Throttled | ErrorKind::Unavailable, Effect::None | Effect::Unknown) => {
            Code::Unavailable
        }
        (
            ErrorKind::InvalidArgument
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::FailedPrecondition
            | ErrorKind::ResourceExhausted
            | ErrorKind::OutOfRange
            | ErrorKind::PermissionDenied
            | ErrorKind::Unauthenticated
            | ErrorKind::Unsupported
            | ErrorKind::Internal
            | ErrorKind::Other,
            Effect::Unknown,
        ) => Code::Unavailable,
    }
}

/// A code as gRPC's Go library spells it, which metrics of CSI drivers use.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

/// The status of an error: its code and its message with the hint. `details` stays empty, as CSI
/// demands.
pub fn of(error: &Error) -> Status {
    let mut message = error.to_string();
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE - '…'.len_utf8()));
        message.push('…');
    }
    Status::new(code(error.kind, error.effect), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::Blame;

    /// kind, code when nothing changed, code when something may have.
    const TABLE: &[(ErrorKind, Code, Code)] = &[
        (ErrorKind::InvalidArgument, Code::InvalidArgument, Code::Unavailable),
        (ErrorKind::NotFound, Code::NotFound, Code::Unavailable),
        (ErrorKind::AlreadyExists, Code::AlreadyExists, Code::Unavailable),
        (ErrorKind::FailedPrecondition, Code::FailedPrecondition, Code::Unavailable),
        (ErrorKind::ResourceExhausted, Code::ResourceExhausted, Code::Unavailable),
        (ErrorKind::OutOfRange, Code::OutOfRange, Code::Unavailable),
        (ErrorKind::PermissionDenied, Code::PermissionDenied, Code::Unavailable),
        (ErrorKind::Unauthenticated, Code::Unauthenticated, Code::Unavailable),
        (ErrorKind::Throttled, Code::Unavailable, Code::Unavailable),
        (ErrorKind::Unavailable, Code::Unavailable, Code::Unavailable),
        (ErrorKind::Aborted, Code::Aborted, Code::Aborted),
        (ErrorKind::Unsupported, Code::Unimplemented, Code::Unavailable),
        (ErrorKind::Internal, Code::Internal, Code::Unavailable),
        (ErrorKind::Other, Code::Internal, Code::Unavailable),
        (ErrorKind::DeadlineExceeded, Code::DeadlineExceeded, Code::DeadlineExceeded),
    ];
    /// What external-provisioner, -attacher, -resizer and kubelet read as "may still be running".
    const NOT_FINAL: &[Code] =
        &[Code::Cancelled, Code::DeadlineExceeded, Code::Unavailable, Code::Aborted];

    #[test]
    fn every_kind_and_effect_has_the_code_of_the_table() {
        for (kind, unchanged, unknown) in TABLE {
            assert_eq!(code(*kind, Effect::None), *unchanged, "{kind:?}");
            assert_eq!(code(*kind, Effect::Unknown), *unknown, "{kind:?} with unknown effect");
        }
    }

    #[test]
    fn an_unknown_effect_is_never_reported_as_final() {
        for (kind, ..) in TABLE {
            let code = code(*kind, Effect::Unknown);
            assert!(
                NOT_FINAL.contains(&code),
                "{kind:?} became {code:?}, which a sidecar reads as final"
            );
        }
    }

    #[test]
    fn a_permanent_refusal_is_never_repeated_for_ever() {
        for (kind, ..) in TABLE
            .iter()
            .filter(|(kind, ..)| !kind.is_transient() && *kind != ErrorKind::DeadlineExceeded)
        {
            assert!(!NOT_FINAL.contains(&code(*kind, Effect::None)), "{kind:?}");
        }
    }

    #[test]
    fn the_message_says_what_to_do_and_nothing_is_in_the_details() {
        let mut error = Error::new(ErrorKind::NotFound, Blame::User, "volume d-1 does not exist")
            .with_hint("check the volumeHandle");
        error.code = Some("InvalidDiskId.NotFound".into());
        let status = of(&error);
        assert_eq!(
            status.message(),
            "volume d-1 does not exist (InvalidDiskId.NotFound); check the volumeHandle"
        );
        assert!(status.details().is_empty());
    }

    #[test]
    fn a_long_message_is_cut_between_two_characters() {
        let status = of(&Error::invalid("盘".repeat(4000)));
        assert!(status.message().len() <= MAX_MESSAGE);
        assert!(status.message().ends_with("盘…"));
    }
}
