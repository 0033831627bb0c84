//! What is said between a process of the host and the one that makes system calls for it: lines of
//! JSON over a pair of sockets.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_core::ports::Usage;
use wharf_core::{Blame, Error, ErrorKind};

use super::NfsMount;
use crate::trees::{Ownership, Progress};

/// Something to do. A name is one in the directory that the process was started in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Find the addresses of a server.
    Resolve { server: String },
    /// Mount an export at a name, or where nobody but this process can see it.
    Mount { mount: NfsMount, at: Option<OsString> },
    /// Ask the file system at a name for its space.
    Usage { at: OsString },
    /// Write back what is mounted at a name, and unmount it.
    Unmount { at: OsString },
    /// Unmount what is there although its server is gone.
    ForceUnmount { at: OsString },
    /// Work on directories.
    Tree { base: TreeBase, shown: String, work: Tree, bound: Duration },
}

/// Below what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum TreeBase {
    /// What this process mounted for itself.
    Scratch,
    /// What is mounted at a name.
    Mounted(OsString),
    /// A directory of this node.
    Directory(PathBuf),
}

/// Work on directories. Paths are relative.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Tree {
    Make { path: PathBuf, ownership: Ownership },
    SetOwnership { path: PathBuf, ownership: Ownership, recursive: bool, progress: Progress },
    MoveAside { from: PathBuf, to: PathBuf },
    Remove { path: PathBuf },
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Addresses(Vec<IpAddr>),
    Usage {
        total: u64,
        available: u64,
        used: u64,
        inodes: u64,
        free_inodes: u64,
    },
    /// The bound of the work came first.
    Unfinished {
        entries: u64,
        progress: Progress,
    },
    Failed {
        failure: Said,
        errno: Option<i32>,
    },
}

impl From<Usage> for Answer {
    fn from(usage: Usage) -> Self {
        Self::Usage {
            total: usage.total_bytes,
            available: usage.available_bytes,
            used: usage.used_bytes,
            inodes: usage.total_inodes,
            free_inodes: usage.free_inodes,
        }
    }
}

/// An error, in words that can be sent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Said {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

/// The kinds that such a process speaks of.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
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

impl From<Error> for Said {
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

impl From<Said> for Error {
    fn from(said: Said) -> Self {
        let error = match said.kind {
            Kind::InvalidArgument => Error::invalid(said.message),
            Kind::NotFound => Error::not_found(said.message),
            Kind::AlreadyExists => Error::new(ErrorKind::AlreadyExists, Blame::User, said.message),
            Kind::FailedPrecondition => Error::precondition(said.message),
            Kind::PermissionDenied => Error::denied(said.message),
            Kind::Unavailable => Error::unavailable(said.message),
            Kind::Aborted => Error::aborted(said.message),
            Kind::Unsupported => Error::unsupported(said.message),
            Kind::Internal => Error::internal(said.message),
        };
        match said.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
