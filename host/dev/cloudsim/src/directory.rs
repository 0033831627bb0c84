//! The region's directory as a whole: who may use it, and how trees in it go.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use crate::error::{RegionError, at};

/// Removes a directory and all that is in it, through no link; one that is gone already is fine.
pub(crate) fn remove_directory(path: &Path) -> Result<(), RegionError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Takes a directory out of the way at once and removes it on a thread of its own, because a large
/// one would hold up every call. What is left of it, when that fails or the process ends, goes at
/// the next start.
pub(crate) fn remove_beside(path: &Path) {
    let Some(name) = path.file_name() else { return };
    let aside = path.with_file_name(format!(".removed-{}", name.to_string_lossy()));
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(path = %path.display(), %error, "the files of a file system stay");
    };
    match fs::rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return failed(&error),
    }
    let remove = move || {
        if let Err(error) = remove_directory(&aside) {
            tracing::error!(%error, "what is left of a file system stays until the next start");
        }
    };
    let thread = std::thread::Builder::new().name("wharf-region-rm".to_owned());
    if let Err(error) = thread.spawn(remove) {
        failed(&error);
    }
}

/// Makes sure that no other region uses the directory.
pub(crate) fn lock_directory(directory: &Path) -> Result<File, RegionError> {
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(at("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RegionError::Busy { path: directory.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(at("lock", &path)(error)),
    }
}
