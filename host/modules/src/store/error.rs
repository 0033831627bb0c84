//! Why the store could not do something: which file, and what helps.

use std::path::{Path, PathBuf};

use wharf_core::manifest::{ComponentName, NotAName, World};
use wharf_files::{FileError, Untrusted};

use super::generation::{ComponentId, State};

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
    /// Somebody else could have put a component there.
    #[error("the component store is not used: {0}")]
    Untrusted(#[from] Untrusted),
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
    #[error(transparent)]
    BadName(#[from] NotAName),
    /// It is of the other kind.
    #[error(
        "it is not a component of the kind that this command installs; `wharf {0} install` is for \
         it{1}", found.noun(), signs(*found)
    )]
    OtherKind {
        /// What it is.
        found: World,
    },
    /// The operator named another one.
    #[error("it calls itself \"{found}\", so it is not installed as \"{said}\"")]
    OtherName {
        /// What the operator said.
        said: ComponentName,
        /// What it says.
        found: ComponentName,
    },
    /// Another component is installed under the name that this one gives itself.
    #[error(
        "it calls itself \"{0}\", and {id} is installed already; to replace that one, name it: \
         `wharf {1} install {0} FILE`", id.name, id.world.noun()
    )]
    NameTaken {
        /// What is installed.
        id: ComponentId,
    },
    /// Nothing under this name.
    #[error(
        "{id} is not installed in {store}; `wharf {0} install {1} FILE --activate` puts it there",
        id.world.noun(), id.name
    )]
    NotInstalled {
        /// What is not there.
        id: ComponentId,
        /// The store's directory.
        store: PathBuf,
    },
    /// No generation of this number.
    #[error(
        "{id} has no generation {number}; `wharf {0} show {1}` lists them",
        id.world.noun(), id.name
    )]
    NoSuchGeneration {
        /// Of what.
        id: ComponentId,
        /// The number.
        number: u64,
    },
    /// It must not become active.
    #[error("generation {number} of {id} cannot become active, it is {state}")]
    NotChecked {
        /// Of what.
        id: ComponentId,
        /// The number.
        number: u64,
        /// What it is.
        state: State,
    },
    /// There is nothing to go back to.
    #[error("{id} has no earlier generation to go back to")]
    NothingBefore {
        /// What has none.
        id: ComponentId,
    },
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Damaged { path: path.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn file(action: &'static str, path: &Path, error: FileError) -> Self {
        match error {
            FileError::Io(source) => Self::io(action, path, source),
            FileError::Untrusted(untrusted) => Self::Untrusted(untrusted),
            FileError::TooLarge { .. } => Self::damaged(path, error),
        }
    }
}

/// What is at stake, where somebody may not expect it.
fn signs(world: World) -> &'static str {
    match world {
        World::CloudAuth => ", and it sees the keys of every account that names it",
        World::Backend => "",
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
