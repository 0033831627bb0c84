//! `make-directory`: a directory with mode and owner. Below a granted directory both are set back
//! when the plan fails, and what was made is removed; on what is mounted they stay, because other
//! nodes see them too.

use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use wharf_core::Error;
use wharf_core::plan::{DirectoryBase, MakeDirectory};

use crate::directories::{check_path, work};
use crate::mounts::paths::{Opened, descend};
use crate::remote::Tree;
use crate::run::Run;
use crate::steps::PerformStep;
use crate::trees::Ownership;
use crate::undo::UndoLog;

impl PerformStep for MakeDirectory {
    fn validate(&self) -> Result<(), Error> {
        if self.mode > 0o7777 {
            return Err(Error::invalid(format!("{:o} is not a directory's mode", self.mode)));
        }
        check_path(&self.at.path, false)
    }

    fn perform(&self, run: &mut Run<'_>) -> Result<(), Error> {
        let DirectoryBase::Granted(name) = &self.at.base else {
            let ownership = Ownership { mode: Some(self.mode), uid: self.uid, gid: self.gid };
            return work(run, &self.at, Tree::Make { path: (&self.at.path).into(), ownership });
        };
        let root = run.granted_directory(name)?;
        let path = root.join(&self.at.path);
        let directory = descend(&root, Path::new(&self.at.path), Some(&mut run.undo))?
            .map(Opened::new)
            .ok_or_else(|| {
                Error::precondition(format!("the granted directory `{name}` vanished"))
            })?;
        set_mode_and_owner(self, &directory, &path, &mut run.undo)
    }
}

fn set_mode_and_owner(
    step: &MakeDirectory,
    directory: &Opened,
    path: &Path,
    undo: &mut UndoLog,
) -> Result<(), Error> {
    let stat = directory.stat()?;
    let is_owned = step.uid.is_none_or(|uid| uid == stat.st_uid)
        && step.gid.is_none_or(|gid| gid == stat.st_gid);
    if is_owned && stat.st_mode & 0o7777 == step.mode {
        return Ok(());
    }
    let failed = |error: Errno| {
        Error::internal(format!("cannot set owner and mode of {}: {error}", path.display()))
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let reopen = || rustix::fs::openat(directory, ".", flags, Mode::empty()).map_err(failed);
    let (open, again) = (reopen()?, reopen()?);
    undo.push(path, move || {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(&again, Some(uid), Some(gid))?;
        Ok(rustix::fs::fchmod(&again, Mode::from_raw_mode(stat.st_mode & 0o7777))?)
    });
    rustix::fs::fchown(&open, step.uid.map(Uid::from_raw), step.gid.map(Gid::from_raw))
        .map_err(failed)?;
    // Last: changing the owner clears the set-id bits.
    rustix::fs::fchmod(&open, Mode::from_raw_mode(step.mode)).map_err(failed)
}
