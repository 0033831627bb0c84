//! Why a region could not start, and why a node-side effect of it failed. What a *client* of the
//! region is told is in [`crate::answer`].

use std::path::PathBuf;

/// A region could not be started or told something.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// A file or directory of the region could not be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The state file is there and is not the region's; it is left alone.
    #[error("{path} is not a region's state ({reason}); move it away to start an empty region")]
    State {
        /// The state file.
        path: PathBuf,
        /// Why it was not understood.
        reason: String,
    },
    /// No loopback port, or no thread, could be had.
    #[error("start the region's {part}: {source}")]
    Start {
        /// Which part.
        part: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another region, in this process or another, runs over the same directory.
    #[error("a region already runs over {path}; stop it, or use another directory")]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// The certificate of a region with TLS cannot be made or used.
    #[error("{action}: {reason} (remove ca.pem and tls in the region's directory to make anew)")]
    Certificate {
        /// What was tried.
        action: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An option cannot be.
    #[error("option `{option}`: {reason}")]
    Option {
        /// The field of `RegionOptions`.
        option: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The block device of a disk could not be made, found or freed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The region's own API refuses what is asked for.
    #[error("{action}: {code}: {message}")]
    Refused {
        /// The operation.
        action: &'static str,
        /// The code of the API's answer.
        code: String,
        /// Its message.
        message: String,
    },
    /// Object storage refuses what a test asks of it; `{0}` is its code and its message.
    #[error("object storage: {0}")]
    ObjectStorage(String),
    /// The region has no such thing.
    #[error("the region has no {kind} `{id}`")]
    Unknown {
        /// `disk`, `instance`, `held request`.
        kind: &'static str,
        /// The identifier asked for.
        id: String,
    },
}

/// What went wrong with a loop device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A system call failed.
    #[error(
        "{action} {path}: {source} (loop devices need root and /dev/loop-control; \
         RegionOptions::devices can be Devices::Absent)"
    )]
    System {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Other programs took every free number that was offered.
    #[error("no free loop device after {attempts} attempts")]
    NoneFree {
        /// How often it was tried.
        attempts: usize,
    },
}

/// Puts the action and the path beside an I/O error.
pub(crate) fn at<'a>(
    action: &'static str,
    path: &'a std::path::Path,
) -> impl FnOnce(std::io::Error) -> RegionError + 'a {
    move |source| RegionError::File { action, path: path.to_path_buf(), source }
}
