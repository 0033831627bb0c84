//! Moves a directory to another name under the same base.

use std::path::Path;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use wharf_core::{Blame, Error, ErrorKind};

use super::Base;
use super::beneath::Entered;

/// Renames the directory `from` to `to`. `from` is missing: it was moved already.
///
/// Nothing is overwritten. NFS has no rename that refuses an existing name, so there it is looked
/// at first; what appears between the look and the rename could only be replaced if it were an
/// empty directory, for that is all that a directory can replace.
///
/// # Errors
/// `AlreadyExists` when there is something at `to`; `NotFound` when its parent is missing.
pub(crate) fn move_aside(base: &Base, from: &Path, to: &Path) -> Result<(), Error> {
    let Some((source, name)) = base.parent(from)? else { return Ok(()) };
    let entered = base.enter(&source, name).map_err(|error| base.failed("open", from, error))?;
    if let Entered::Missing = entered {
        return Ok(());
    }
    base.directory_or_refusal(entered, from)?;
    let Some((target, new_name)) = base.parent(to)? else {
        return Err(Error::not_found(format!(
            "the directory that {} is to be moved into does not exist: {}",
            base.show(from),
            base.show(to.parent().unwrap_or(Path::new("")))
        )));
    };
    let taken = || {
        Error::new(
            ErrorKind::AlreadyExists,
            Blame::Backend,
            format!("{} is not moved to {}: that exists", base.show(from), base.show(to)),
        )
    };
    let result =
        match rustix::fs::renameat_with(&source, name, &target, new_name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::statat(&target, new_name, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => rustix::fs::renameat(&source, name, &target, new_name),
                    Ok(_) => return Err(taken()),
                    Err(error) => Err(error),
                }
            }
            result => result,
        };
    match result {
        Ok(()) => Ok(()),
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Err(taken()),
        // Another call was faster.
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(base.failed("move aside", from, error)),
    }
}
