//! Directories and the lock of the store. Files are read and replaced by `wharf-files`.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::StoreError;

/// Makes the directory and those above it, for this user only.
pub(crate) fn create_directory(directory: &Path) -> Result<(), StoreError> {
    wharf_files::make_private_directory(directory)
        .map_err(|error| StoreError::io("create the directory", directory, error))
}

/// Removes a file; a missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(StoreError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// The names in a directory, without half-written ones; a missing directory has none.
pub(crate) fn names(directory: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", directory, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("list", directory, error))?;
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// The right to change the store. The kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct LockGuard {
    _file: File,
}

impl LockGuard {
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let file = open(path)?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| StoreError::io("lock", path, error.into()))?;
        Ok(Self { _file: file })
    }

    /// `None` while somebody else has it.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(StoreError::io("lock", path, error.into())),
        }
    }
}

fn open(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::io("open", path, error))
}
