//! An error on its way from one process of the host to another: from the supervisor, and from the
//! process that asks servers.

use serde::{Deserialize, Serialize};
use wharf_core::{Blame, Error, ErrorKind};

/// What the reader acts on. Never holds a secret, for an error does not.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SentError {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

/// The kinds that these processes speak of; the others become the nearest.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    PermissionDenied,
    Unavailable,
    Aborted,
    Unsupported,
    Internal,
}

impl From<Error> for SentError {
    fn from(error: Error) -> Self {
        let kind = match error.kind {
            ErrorKind::InvalidArgument | ErrorKind::OutOfRange => Kind::InvalidArgument,
            ErrorKind::NotFound => Kind::NotFound,
            ErrorKind::AlreadyExists => Kind::AlreadyExists,
            ErrorKind::FailedPrecondition | ErrorKind::ResourceExhausted => {
                Kind::FailedPrecondition
            }
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => Kind::PermissionDenied,
            ErrorKind::Unavailable | ErrorKind::Throttled | ErrorKind::DeadlineExceeded => {
                Kind::Unavailable
            }
            ErrorKind::Aborted => Kind::Aborted,
            ErrorKind::Unsupported => Kind::Unsupported,
            ErrorKind::Internal | ErrorKind::Other => Kind::Internal,
        };
        Self { kind, message: error.message, hint: error.hint }
    }
}

impl From<SentError> for Error {
    fn from(sent: SentError) -> Self {
        let message = sent.message;
        let error = match sent.kind {
            Kind::InvalidArgument => Self::invalid(message),
            Kind::NotFound => Self::not_found(message),
            Kind::AlreadyExists => Self::new(ErrorKind::AlreadyExists, Blame::User, message),
            Kind::FailedPrecondition => Self::precondition(message),
            Kind::PermissionDenied => Self::denied(message),
            Kind::Unavailable => Self::unavailable(message),
            Kind::Aborted => Self::aborted(message),
            Kind::Unsupported => Self::unsupported(message),
            Kind::Internal => Self::internal(message),
        };
        match sent.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_keeps_what_its_reader_acts_on() {
        let error = Error::denied("no").with_hint("ask");
        let back = Error::from(SentError::from(error.clone()));
        assert_eq!((back.kind, back.message, back.hint), (error.kind, error.message, error.hint));
    }
}
