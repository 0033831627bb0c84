//! Why a file cannot be used.

use std::io;

use crate::permissions::Untrusted;

/// Why a file cannot be read or replaced. Names no path but that of [`Untrusted`]: the caller does.
#[derive(Debug)]
pub enum FileError {
    /// The system refused.
    Io(io::Error),
    /// Somebody else can change it.
    Untrusted(Untrusted),
    /// It is larger than anything that is written there.
    TooLarge {
        /// The bound that the caller named.
        most: u64,
    },
}

impl std::fmt::Display for FileError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Untrusted(untrusted) => untrusted.fmt(f),
            Self::TooLarge { most } => write!(f, "it has more than {most} bytes"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Untrusted> for FileError {
    fn from(untrusted: Untrusted) -> Self {
        Self::Untrusted(untrusted)
    }
}
