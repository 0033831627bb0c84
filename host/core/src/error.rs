//! One error type for every seam inside Wharf. Front ends turn it into protocol codes, once, in an
//! exhaustive match.

use std::fmt;
use std::time::Duration;

/// What went wrong. The same words, with the same meaning, as `error-kind` in the contract, and one
/// of the host's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request can never succeed as written.
    InvalidArgument,
    /// The volume, node, snapshot or source does not exist.
    NotFound,
    /// The name is taken by something incompatible.
    AlreadyExists,
    /// The resource's state forbids the call until someone changes it.
    FailedPrecondition,
    /// Out of stock, over a quota, or no free slot.
    ResourceExhausted,
    /// The requested size cannot be provided.
    OutOfRange,
    /// The account, or the operator's grants, forbid it.
    PermissionDenied,
    /// The credential is missing, wrong or expired.
    Unauthenticated,
    /// The cloud asks to slow down; the whole account backs off.
    Throttled,
    /// A failure that is expected to pass.
    Unavailable,
    /// Busy with another operation on the same resource.
    Aborted,
    /// The backend does not provide this.
    Unsupported,
    /// A defect.
    Internal,
    /// None of the others.
    Other,
    /// The caller's time ran out while the operation was still going on. Only the host makes this
    /// one.
    DeadlineExceeded,
}

impl ErrorKind {
    /// Whether calling again with nothing changed can succeed; the host does so until the caller's
    /// deadline.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Aborted)
    }
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The person who wrote the request, the StorageClass or the PersistentVolume.
    User,
    /// The cloud.
    Cloud,
    /// The backend's author.
    Backend,
    /// Wharf, or the machine that it runs on.
    Host,
}

/// What the failed call may have left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changed.
    None,
    /// A mutating request was sent and no answer to it was understood. Never reported as a final
    /// failure.
    Unknown,
}

/// Why something failed: what, on which object, and what to do about it. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What kind of failure.
    pub kind: ErrorKind,
    /// What failed, on which object.
    pub message: String,
    /// What the person should do.
    pub hint: Option<String>,
    /// Who has to act.
    pub blame: Blame,
    /// What may be left behind.
    pub effect: Effect,
    /// The cloud's own code.
    pub code: Option<String>,
    /// Not before this long.
    pub retry_after: Option<Duration>,
    /// Judged from what an observation shows to exist, as the contract says.
    pub observed: bool,
}

impl Error {
    /// An error without a hint, an effect or a code.
    pub fn new(kind: ErrorKind, blame: Blame, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            blame,
            effect: Effect::None,
            code: None,
            retry_after: None,
            observed: false,
        }
    }

    /// The request can never succeed as written.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, Blame::User, message)
    }

    /// The named thing does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, Blame::User, message)
    }

    /// The state forbids the call.
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FailedPrecondition, Blame::User, message)
    }

    /// The operator's grants forbid it.
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::PermissionDenied, Blame::Host, message)
    }

    /// A failure of this machine that is expected to pass.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, Blame::Host, message)
    }

    /// Another operation holds the same resource.
    pub fn aborted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Aborted, Blame::Host, message)
    }

    /// A defect, or a machine that does not do what it must.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, Blame::Host, message)
    }

    /// The backend does not provide this.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, Blame::Backend, message)
    }

    /// Says what the person should do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks that something may have been changed.
    #[must_use]
    pub fn with_unknown_effect(mut self) -> Self {
        self.effect = Effect::Unknown;
        self
    }

    /// Judged from what an observation shows to exist: it holds whatever became of a request that
    /// was lost before. A refusal in the cloud's own words, or what the host lacks, does not.
    #[must_use]
    pub fn as_observed(mut self) -> Self {
        self.observed = true;
        self
    }

    /// Puts the object in front: `attach of d-1 to i-1: …`.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(code) = &self.code {
            write!(f, " ({code})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
