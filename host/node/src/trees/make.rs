//! Makes a directory with mode and owner.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use wharf_core::Error;

use super::{Base, Ownership};

/// Directories above the one that is asked for: everybody may pass through them.
const ON_THE_WAY: Mode = Mode::from_raw_mode(0o755);
/// Until it has its own mode and owner, nobody else's.
const AT_FIRST: Mode = Mode::from_raw_mode(0o700);

/// Makes the directory at `path`, and those above it where they are missing, and gives it this mode
/// and owner. There already: only mode and owner are set.
///
/// # Errors
/// As [`Base::parent`]; `PermissionDenied` when the server forbids it.
pub(crate) fn make_directory(base: &Base, path: &Path, ownership: Ownership) -> Result<(), Error> {
    let mut directory = base.duplicate()?;
    let mut walked = PathBuf::new();
    let count = path.components().count();
    for (index, name) in path.iter().enumerate() {
        walked.push(name);
        let mode = if index + 1 == count { AT_FIRST } else { ON_THE_WAY };
        directory = make_one(base, &directory, name, mode, &walked)?;
    }
    ownership
        .apply_to_directory(&directory)
        .map_err(|error| base.failed("set mode and owner of", path, error))
}

fn make_one(
    base: &Base,
    parent: &OwnedFd,
    name: &OsStr,
    mode: Mode,
    path: &Path,
) -> Result<OwnedFd, Error> {
    let enter = || {
        let entered = base.enter(parent, name).map_err(|error| base.failed("open", path, error))?;
        base.directory_or_refusal(entered, path)
    };
    if let Some(directory) = enter()? {
        return Ok(directory);
    }
    match rustix::fs::mkdirat(parent, name, mode) {
        // Somebody else was faster.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(base.failed("make the directory", path, error)),
    }
    enter()?
        .ok_or_else(|| Error::aborted(format!("{} was removed while it was used", base.show(path))))
}
