//! What is said between a process of the host and the one that makes system calls for it: lines of
//! JSON over a pair of sockets.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_core::ports::Usage;

use super::NfsMount;
use crate::sent_error::SentError;
use crate::trees::{Ownership, Progress};

/// Something to do. A name is one in the directory of the work.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Let go of the work: of its lock, and of its directory.
    Release,
    /// Do this, and release the work unless it fails.
    Last(Box<Request>),
    /// Find the addresses of a server.
    Resolve { server: String },
    /// Mount an export at a name, or where nobody but this process can see it.
    Mount { mount: NfsMount, at: Option<OsString> },
    /// Mount an export for a name, where nobody but this process can see it until it is shown. At
    /// the name itself, where the kernel mounts nothing out of sight.
    MountUnseen { mount: NfsMount, at: OsString },
    /// Show at its name what is mounted for it.
    Show { at: OsString },
    /// Ask the file system at a name for its space.
    Usage { at: OsString },
    /// Write back what is mounted at a name, and unmount it.
    Unmount { at: OsString },
    /// Take what is there out of the mount table, whoever uses it.
    Detach { at: OsString },
    /// The same, after everything that waits for the server of this file system has ended with an
    /// error, at all its mounts.
    ForceUnmount { at: OsString },
    /// Work on directories.
    Tree { base: TreeBase, shown: String, work: Tree, bound: Duration },
}

/// Below what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum TreeBase {
    /// What this process mounted for itself.
    Scratch,
    /// What is mounted at a name, or for it.
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
    Usage(Usage),
    /// The bound of the work came first.
    Unfinished {
        entries: u64,
        progress: Progress,
    },
    Failed {
        failure: SentError,
        errno: Option<i32>,
    },
}
