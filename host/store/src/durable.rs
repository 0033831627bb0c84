//! Files that are there whole or not at all, also after a crash: written beside, synchronised,
//! renamed, and the folder synchronised.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::StoreError;

/// Names that begin like this are half-written; readers pass over them and the next writer replaces
/// them.
const HALF_WRITTEN: &str = ".new-";

/// Replaces `folder/name` by a file with this content that only this user may write.
pub(crate) fn write(folder: &Path, name: &str, content: &[u8]) -> Result<(), StoreError> {
    let temporary = folder.join(format!("{HALF_WRITTEN}{name}"));
    let path = folder.join(name);
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |error| StoreError::io(action, &path, error)
    };
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(StoreError::io("remove", &temporary, error));
        }
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io("create", &temporary))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(io("write", &temporary))?;
    fs::rename(&temporary, &path).map_err(io("replace", &path))?;
    sync(folder)
}

/// Makes the folder and those above it, for this user only.
pub(crate) fn create_folder(folder: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| StoreError::io("create the folder", folder, error))
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

/// The names in a folder, without half-written ones; a missing folder has none.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("list", folder, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("list", folder, error))?;
        if let Some(name) = entry.file_name().to_str().filter(|name| !name.starts_with('.')) {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| StoreError::io("synchronise", folder, error))
}

/// The right to change the store. The kernel gives it back when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct LockGuard {
    _file: File,
}

impl LockGuard {
    pub(crate) fn take(path: &Path) -> Result<Self, StoreError> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| StoreError::io("open", path, error))?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| StoreError::io("lock", path, error.into()))?;
        Ok(Self { _file: file })
    }
}
