//! The files of a file system, where the region keeps them. Paths of callers are followed component
//! by component and never through a link: what mounts the file system can write links into it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::no_file_system;
use super::state::{FileSystem, Kind};
use crate::answer::ApiError;
use crate::error::at;
use crate::world::World;

/// Entries that are counted at most. The real cloud counts in the background; a call that counts
/// must end.
const MOST_COUNTED: u64 = 1_000_000;

/// `DIR/nas`.
pub(crate) fn all(directory: &Path) -> PathBuf {
    directory.join("nas")
}

/// `DIR/nas/<id>`, which is to be exported.
pub(super) fn directory(world: &World, id: &str) -> PathBuf {
    all(&world.options.directory).join(id)
}

/// Where the paths of callers begin: an extreme file system is mounted as `/share`.
pub(super) fn files(world: &World, system: &FileSystem) -> PathBuf {
    let directory = directory(world, &system.id);
    match system.kind {
        Kind::Standard => directory,
        Kind::Extreme => directory.join("share"),
    }
}

/// Makes an empty file system. Its root belongs to everybody, as a new one's does.
pub(super) fn make(world: &World, system: &FileSystem) -> Result<(), ApiError> {
    let path = files(world, system);
    let make = || {
        fs::create_dir_all(&path).map_err(at("create", &path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).map_err(at("open", &path))
    };
    make().map_err(|error| ApiError::internal(&error))
}

/// A directory of a file system, if it is there.
pub(super) fn find(root: &Path, path: &str) -> Result<Option<PathBuf>, ApiError> {
    let mut at = root.to_path_buf();
    if !is_directory(&at)? {
        return Err(no_file_system());
    }
    for name in components(path)? {
        at.push(name);
        if !is_directory(&at)? {
            return Ok(None);
        }
    }
    Ok(Some(at))
}

fn is_directory(path: &Path) -> Result<bool, ApiError> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ApiError::internal(&error)),
    }
}

/// The names of an absolute path, which must be plain.
pub(super) fn components(path: &str) -> Result<Vec<&str>, ApiError> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let is_plain = |name: &&str| !matches!(*name, "." | "..") && name.chars().all(plain);
    if path.starts_with('/') && names.iter().all(is_plain) {
        return Ok(names);
    }
    // By analogy with the service's other parameters; the reference tells the rule alone.
    let message = format!("The specified directory is not valid: {path}");
    Err(ApiError::new(400, "InvalidParameter.RootDirectory", message))
}

/// Whose a new directory is, and its mode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) mode: u32,
}

/// Makes the directory that a path names, and with `parents` those above it. Those that are there
/// stay as they are.
pub(super) fn make_directory(
    root: &Path,
    path: &str,
    owner: Owner,
    parents: bool,
) -> Result<(), ApiError> {
    let names = components(path)?;
    let mut at = root.to_path_buf();
    for (n, name) in names.iter().enumerate() {
        at.push(name);
        if is_directory(&at)? {
            continue;
        }
        if !parents && n + 1 < names.len() {
            return Err(no_directory());
        }
        if at.symlink_metadata().is_ok() {
            let message = format!("The specified directory is not valid: {path}");
            return Err(ApiError::new(400, "InvalidParameter.RootDirectory", message));
        }
        make_one(&at, owner).map_err(|error| ApiError::internal(&error))?;
    }
    Ok(())
}

fn make_one(path: &Path, owner: Owner) -> io::Result<()> {
    DirBuilder::new().mode(owner.mode).create(path)?;
    // The mode again, because the process's mask took from it.
    fs::set_permissions(path, fs::Permissions::from_mode(owner.mode))?;
    match std::os::unix::fs::lchown(path, Some(owner.user), Some(owner.group)) {
        // A region that does not run as root has no other user's directories.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            tracing::warn!(path = %path.display(), %error, "the directory keeps the region's user");
            Ok(())
        }
        other => other,
    }
}

/// 404 `InvalidParameter.DirPathNotExist`.
pub(super) fn no_directory() -> ApiError {
    ApiError::new(404, "InvalidParameter.DirPathNotExist", "The Dir Path does not exist")
}

/// What a directory holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

/// Counts what is below a directory. What cannot be read, or vanishes meanwhile, is left out.
pub(super) fn usage(root: &Path) -> Usage {
    let mut usage = Usage::default();
    let mut left = vec![root.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if usage.files >= MOST_COUNTED {
                return usage;
            }
            let Ok(found) = entry.metadata() else { continue };
            usage.files += 1;
            if found.is_dir() {
                left.push(entry.path());
            } else {
                usage.bytes = usage.bytes.saturating_add(found.size());
            }
        }
    }
    usage
}

/// The number by which a directory is itself.
pub(super) fn inode(directory: &Path) -> Result<u64, ApiError> {
    let found = fs::symlink_metadata(directory).map_err(|error| ApiError::internal(&error))?;
    Ok(found.ino())
}
