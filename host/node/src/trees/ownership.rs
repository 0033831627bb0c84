//! Sets mode and owner of a directory, or of everything in it.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use wharf_core::Error;

use super::beneath::{Entered, all_names};
use super::{Base, Bound, Piece};

/// Open directories at a time; deeper ones are opened again on the way back.
const MAX_OPEN: usize = 64;

/// What is to be set; what is absent stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ownership {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

impl Ownership {
    /// Sets what is not so already.
    pub fn apply_to_directory(self, directory: &OwnedFd) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(directory)?;
        let (uid, gid) = self.owner_to_set(&stat);
        if uid.is_some() || gid.is_some() {
            rustix::fs::fchown(directory, uid, gid)?;
        }
        // Last: changing the owner clears the set-id bits.
        match self.mode_to_set(&stat, uid.is_some() || gid.is_some()) {
            Some(mode) => rustix::fs::fchmod(directory, mode),
            None => Ok(()),
        }
    }

    /// The same for what is not a directory. A link's own owner is set, and it has no mode.
    fn apply_to_name(self, directory: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let (uid, gid) = self.owner_to_set(&stat);
        if uid.is_some() || gid.is_some() {
            rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        match self.mode_to_set(&stat, uid.is_some() || gid.is_some()) {
            Some(mode) if !is_link => {
                // There is no chmod that refuses links before Linux 6.6; this is what was looked
                // at, or nothing.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let held = rustix::fs::openat(directory, name, flags, Mode::empty())?;
                if FileType::from_raw_mode(rustix::fs::fstat(&held)?.st_mode) == FileType::Symlink {
                    return Ok(());
                }
                let path = format!("/proc/self/fd/{}", held.as_raw_fd());
                rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())
            }
            _ => Ok(()),
        }
    }

    fn owner_to_set(self, stat: &Stat) -> (Option<Uid>, Option<Gid>) {
        let uid = self.uid.filter(|uid| *uid != stat.st_uid).map(Uid::from_raw);
        let gid = self.gid.filter(|gid| *gid != stat.st_gid).map(Gid::from_raw);
        (uid, gid)
    }

    fn mode_to_set(self, stat: &Stat, is_owner_changed: bool) -> Option<Mode> {
        self.mode
            .filter(|mode| is_owner_changed || *mode != stat.st_mode & 0o7777)
            .map(Mode::from_raw_mode)
    }
}

/// Where a walk through a tree stands: the names that lead to the last entry that is done.
pub(crate) type Progress = Vec<OsString>;

/// Sets mode and owner of the directory at `path`, and with `recursive` of everything below it.
/// What is mounted below is left alone.
///
/// Entries are visited in the order of their names, a directory after what is in it, so that the
/// next piece can go on after `progress`.
///
/// # Errors
/// `NotFound` when it is missing; as [`Base::parent`].
pub(crate) fn set_ownership(
    base: &Base,
    path: &Path,
    ownership: Ownership,
    recursive: bool,
    progress: &mut Progress,
    bound: Bound,
) -> Result<Piece, Error> {
    let open = || -> Result<OwnedFd, Error> {
        base.open(path)?.ok_or_else(|| {
            Error::not_found(format!("the directory {} does not exist", base.show(path)))
        })
    };
    if recursive {
        let mut walk = Walk { base, path, ownership, levels: Vec::new(), visited: 0 };
        walk.descend(OsString::new(), open()?, progress)?;
        while !walk.levels.is_empty() {
            if bound.is_over() {
                walk.save_progress(progress);
                return Ok(Piece::Unfinished(walk.visited));
            }
            walk.step(progress)?;
        }
        return Ok(Piece::Done);
    }
    ownership
        .apply_to_directory(&open()?)
        .map_err(|error| base.failed("set mode and owner of", path, error))?;
    Ok(Piece::Done)
}

/// A directory whose entries are being visited.
struct Level {
    name: OsString,
    /// Closed where the tree is deep, and opened again on the way back.
    directory: Option<OwnedFd>,
    /// Those to come, the next one last.
    names: Vec<(OsString, Option<bool>)>,
    done: Option<OsString>,
    /// Whether the last piece ended below it.
    is_resumed: bool,
}

struct Walk<'a> {
    base: &'a Base,
    path: &'a Path,
    ownership: Ownership,
    levels: Vec<Level>,
    visited: u64,
}

impl Walk<'_> {
    /// Goes into a directory, past what was done before.
    fn descend(
        &mut self,
        name: OsString,
        directory: OwnedFd,
        resume: &Progress,
    ) -> Result<(), Error> {
        let depth = self.levels.len();
        let is_resumed = match self.levels.last() {
            None => !resume.is_empty(),
            Some(above) => above.is_resumed && resume.get(depth - 1) == Some(&name),
        };
        let mut names = all_names(&directory).map_err(|error| self.failed("read", &name, error))?;
        let last = resume.get(depth).filter(|_| is_resumed);
        if let Some(last) = last {
            let is_inside = resume.len() > depth + 1;
            names.retain(|(name, _)| name > last || (is_inside && name == last));
        }
        names.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        if let Some(far) = depth.checked_sub(MAX_OPEN).and_then(|far| self.levels.get_mut(far)) {
            far.directory = None;
        }
        let is_resumed = is_resumed && last.is_some();
        let directory = Some(directory);
        self.levels.push(Level { name, directory, names, done: None, is_resumed });
        Ok(())
    }

    fn step(&mut self, resume: &Progress) -> Result<(), Error> {
        if self.levels.last().is_some_and(|level| level.directory.is_none()) {
            self.open_again()?;
        }
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        let Some(directory) = &level.directory else { return Ok(()) };
        let Some((name, is_directory)) = level.names.pop() else { return self.finish_level() };
        if is_directory != Some(false) {
            match self.base.enter(directory, &name) {
                Ok(Entered::Directory(next)) => return self.descend(name, next, resume),
                Ok(Entered::NotADirectory) => {}
                Ok(Entered::Missing | Entered::OtherMount) => {
                    level.done = Some(name);
                    return Ok(());
                }
                Err(error) => return Err(self.failed("open", &name, error)),
            }
        }
        if self.base.is_mounted_over(directory, &name) {
            level.done = Some(name);
            return Ok(());
        }
        match self.ownership.apply_to_name(directory, &name) {
            // It was removed meanwhile.
            Ok(()) | Err(Errno::NOENT | Errno::STALE) => {
                self.visited += 1;
                level.done = Some(name);
                Ok(())
            }
            Err(error) => Err(self.failed("set mode and owner of", &name, error)),
        }
    }

    /// Everything in the last level is done: now it itself.
    fn finish_level(&mut self) -> Result<(), Error> {
        let Some(level) = self.levels.pop() else { return Ok(()) };
        if let Some(directory) = &level.directory {
            self.ownership
                .apply_to_directory(directory)
                .map_err(|error| self.failed("set mode and owner of", &level.name, error))?;
        }
        self.visited += 1;
        if let Some(above) = self.levels.last_mut() {
            above.done = Some(level.name);
        }
        Ok(())
    }

    /// Opens the last levels again, from the top.
    fn open_again(&mut self) -> Result<(), Error> {
        let first_kept = self.levels.len().saturating_sub(MAX_OPEN);
        let mut directory = None;
        for index in 0..self.levels.len() {
            let Some(level) = self.levels.get(index) else { break };
            let entered = match &directory {
                None => self.base.open(self.path)?,
                Some(above) => match self.base.enter(above, &level.name) {
                    Ok(Entered::Directory(next)) => Some(next),
                    _ => None,
                },
            };
            let Some(next) = entered else {
                return Err(Error::aborted(format!(
                    "{} was moved or removed meanwhile",
                    self.base.show(&self.path_of(&level.name))
                )));
            };
            let kept = next.try_clone().map_err(|error| {
                Error::internal(format!("cannot duplicate a descriptor: {error}"))
            })?;
            if let Some(level) = self.levels.get_mut(index).filter(|_| index >= first_kept) {
                level.directory = Some(kept);
            }
            directory = Some(next);
        }
        Ok(())
    }

    /// Writes down the last entry that is done; nothing new: leaves what is there.
    fn save_progress(&self, progress: &mut Progress) {
        let last = self.levels.iter().rposition(|level| level.done.is_some());
        let Some(last) = last else { return };
        let names = self.levels.iter().take(last + 1).skip(1).map(|level| level.name.clone());
        let done = self.levels.get(last).and_then(|level| level.done.clone());
        *progress = names.chain(done).collect();
    }

    fn failed(&self, what: &str, name: &OsStr, error: Errno) -> Error {
        self.base.failed(what, &self.path_of(name), error)
    }

    fn path_of(&self, name: &OsStr) -> PathBuf {
        let below = self.levels.iter().skip(1).map(|level| level.name.as_os_str());
        self.path.iter().chain(below).chain([name]).collect()
    }
}
