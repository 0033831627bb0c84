//! Why the store could not do something: which file, and what helps.

use std::path::{Path, PathBuf};

use crate::generation::State;

/// A failure of the store. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused a file operation.
    #[error("cannot {action} {path}: {source}{}", fix(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not what the store wrote.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In which way, and what to do.
        reason: String,
    },
    /// What was handed in is not a component of ours.
    #[error("this is no component that Wharf can use: {0}")]
    NotAComponent(String),
    /// A name that is not one.
    #[error(
        "\"{name}\" is not a backend's name: lower-case letters, digits and dashes, at most 63"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// Nothing under this name.
    #[error(
        "backend \"{name}\" is not installed in {store}; `wharf backend install FILE --activate` \
         puts it there"
    )]
    NotInstalled {
        /// The name.
        name: String,
        /// The store's folder.
        store: PathBuf,
    },
    /// No generation of this number.
    #[error(
        "backend \"{name}\" has no generation {number}; `wharf backend show {name}` lists them"
    )]
    NoSuchGeneration {
        /// The name.
        name: String,
        /// The number.
        number: u64,
    },
    /// It must not become active.
    #[error("generation {number} of backend \"{name}\" cannot become active, it is {state}")]
    NotChecked {
        /// The name.
        name: String,
        /// The number.
        number: u64,
        /// What it is.
        state: State,
    },
    /// There is nothing to go back to.
    #[error("backend \"{name}\" has no earlier generation to go back to")]
    NothingBefore {
        /// The name.
        name: String,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }
}

fn fix(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "; run as root, or check the owner of the store",
        std::io::ErrorKind::StorageFull => "; make room on that file system",
        std::io::ErrorKind::ReadOnlyFilesystem => {
            "; the store must be on a file system that can be written"
        }
        _ => "",
    }
}
