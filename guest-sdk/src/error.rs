//! Why a call failed: constructors that make the right kind, blame and effect the short thing to
//! write.

use std::fmt;

pub use crate::bindings::backend::wharf::volume::types::{Blame, Effect, Error, ErrorKind};

impl Error {
    /// An error that changed nothing, with no hint and no code.
    pub fn new(kind: ErrorKind, blame: Blame, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            blame,
            effect: Effect::None,
            code: None,
            observed: false,
            retry_after_ms: None,
            extensions: Vec::new(),
        }
    }

    /// The value of a parameter cannot be accepted. `allowed` says what can.
    ///
    /// ```
    /// let error = wharf_sdk::Error::invalid("performanceLevel", "PL9", "PL0 or PL1");
    /// assert_eq!(error.message, "parameter `performanceLevel` is `PL9`, allowed: PL0 or PL1");
    /// ```
    pub fn invalid(key: &str, value: &str, allowed: impl fmt::Display) -> Self {
        Self::invalid_request(format!("parameter `{key}` is `{value}`, allowed: {allowed}"))
    }

    /// A parameter that this backend does not know.
    pub fn unknown_key(key: &str, value: &str, known: impl fmt::Display) -> Self {
        Self::invalid_request(format!(
            "parameter `{key}` (`{value}`) is not known, allowed: {known}"
        ))
    }

    /// The request as a whole can never succeed as written.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, Blame::User, message)
    }

    /// The named thing does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, Blame::User, message)
    }

    /// The name is taken by something incompatible.
    pub fn already_exists(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::AlreadyExists, Blame::User, message)
    }

    /// The state forbids the call until someone changes it.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FailedPrecondition, Blame::User, message)
    }

    /// Out of stock, over a quota, or no free slot.
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceExhausted, Blame::Cloud, message)
    }

    /// The requested size cannot be provided.
    pub fn out_of_range(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutOfRange, Blame::User, message)
    }

    /// Expected to pass; the host calls again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, Blame::Cloud, message)
    }

    /// Busy with another operation; the host calls again.
    pub fn aborted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Aborted, Blame::Cloud, message)
    }

    /// This backend has no such function.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, Blame::User, message)
    }

    /// A defect in this backend.
    pub fn defect(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, Blame::Backend, message)
    }

    /// The operator's settings are wrong or incomplete.
    pub fn misconfigured(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FailedPrecondition, Blame::Host, message)
    }

    /// Says what the person should do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The cloud's own error code.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// A mutating request was sent and no answer to it was understood.
    #[must_use]
    pub fn with_unknown_effect(mut self) -> Self {
        self.effect = Effect::Unknown;
        self
    }

    /// Judged from what an observation shows to exist, not from the refusal of a request: it holds
    /// whatever became of a request that was lost before.
    #[must_use]
    pub fn as_observed(mut self) -> Self {
        self.observed = true;
        self
    }

    /// Not again before so many milliseconds.
    #[must_use]
    pub fn with_retry_after_ms(mut self, milliseconds: u32) -> Self {
        self.retry_after_ms = Some(milliseconds);
        self
    }

    /// Names the object in front of the message: `disk d-1: …`.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}
