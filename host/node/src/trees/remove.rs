//! Removes a directory with everything in it.
//!
//! A level is read in batches, and read again from its beginning once a batch is gone: a position
//! in a directory that shrinks means nothing on some servers, and what appears meanwhile is found.
//! A tree that is deeper than [`MAX_DEPTH`] is made flat on the way: the next directory is renamed
//! to the top of the tree. So neither descriptors nor paths run out, and there is no way up (`..`)
//! that could lead out of the tree when somebody moves a part of it.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::AtFlags;
use rustix::io::Errno;
use wharf_core::Error;

use super::beneath::{Entered, Name, first_names};
use super::{Base, Bound, Piece};

/// Open directories at a time, well below the 1024 descriptors that a process has at least.
const MAX_DEPTH: usize = 128;
/// Names that are tried for a directory that is renamed to the top.
const MAX_TRIES: u32 = 1000;

/// Removes the directory at `path` with everything in it. Missing: it is removed already.
///
/// # Errors
/// As [`Base::parent`] for the path itself; `FailedPrecondition` naming what cannot be removed, a
/// mount for instance: everything else is removed.
pub(crate) fn remove_tree(base: &Base, path: &Path, bound: Bound) -> Result<Piece, Error> {
    let Some((parent, name)) = base.parent(path)? else { return Ok(Piece::Done) };
    let entered = base.enter(&parent, name).map_err(|error| base.failed("open", path, error))?;
    let Some(top) = base.directory_or_refusal(entered, path)? else { return Ok(Piece::Done) };
    let mut removal = Removal { base, path, removed: 0, failure: None };
    let mut levels = vec![Level::new(name.to_owned(), top)];
    while let Some(level) = levels.last_mut() {
        if bound.is_over() {
            return Ok(Piece::Unfinished(removal.removed));
        }
        if let Some((name, is_directory)) = level.names.pop() {
            if let Some(next) = removal.remove_entry(&mut levels, &name, is_directory) {
                levels.push(Level::new(name, next));
            }
            continue;
        }
        if level.is_begun && !level.has_progress {
            // Nothing of what is left can be removed, and it is known why.
            levels.pop();
            continue;
        }
        (level.is_begun, level.has_progress) = (true, false);
        match first_names(&level.directory) {
            Ok(names) if names.is_empty() => removal.close(&mut levels, &parent),
            Ok(names) => level.names = names,
            Err(Errno::NOENT | Errno::STALE) => removal.close(&mut levels, &parent),
            Err(error) => removal.note(&levels, None, "read", error),
        }
    }
    removal.failure.map_or(Ok(Piece::Done), Err)
}

/// A directory that is being emptied.
struct Level {
    name: OsString,
    directory: OwnedFd,
    names: Vec<Name>,
    is_begun: bool,
    /// Whether anything of the last batch is gone.
    has_progress: bool,
}

impl Level {
    fn new(name: OsString, directory: OwnedFd) -> Self {
        Self { name, directory, names: Vec::new(), is_begun: false, has_progress: false }
    }
}

struct Removal<'a> {
    base: &'a Base,
    path: &'a Path,
    removed: u64,
    /// The first thing that could not be removed.
    failure: Option<Error>,
}

impl Removal<'_> {
    /// Removes one name of the last level, or returns the directory that has to be emptied first.
    fn remove_entry(
        &mut self,
        levels: &mut [Level],
        name: &OsStr,
        is_directory: Option<bool>,
    ) -> Option<OwnedFd> {
        let is_deep = levels.len() >= MAX_DEPTH;
        let level = levels.last_mut()?;
        if is_directory != Some(true) {
            match rustix::fs::unlinkat(&level.directory, name, AtFlags::empty()) {
                Ok(()) => {
                    self.removed += 1;
                    level.has_progress = true;
                    return None;
                }
                Err(Errno::NOENT | Errno::STALE) => {
                    level.has_progress = true;
                    return None;
                }
                // A directory, in the words of Linux and of POSIX.
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(error) => {
                    self.note(levels, Some(name), "remove", error);
                    return None;
                }
            }
        }
        match self.base.enter(&level.directory, name) {
            Ok(Entered::Directory(next)) if !is_deep => return Some(next),
            Ok(Entered::Directory(_)) => self.move_to_top(levels, name),
            Ok(Entered::Missing) => level.has_progress = true,
            // It became something else; the next reading says what.
            Ok(Entered::NotADirectory) if is_directory == Some(true) => level.has_progress = true,
            Ok(Entered::NotADirectory) => self.note(levels, Some(name), "remove", Errno::PERM),
            Ok(Entered::OtherMount) => {
                let path = self.path_of(levels, Some(name));
                self.failure.get_or_insert_with(|| self.base.is_other_mount(&path));
            }
            Err(error) => self.note(levels, Some(name), "open", error),
        }
        None
    }

    /// Renames a directory of the last level to the top of the tree.
    fn move_to_top(&mut self, levels: &mut [Level], name: &OsStr) {
        let [top, .., last] = levels else { return };
        let result = (0..MAX_TRIES).find_map(|number| {
            let raised = format!(".wharf-removing-{number}");
            match rustix::fs::renameat(&last.directory, name, &top.directory, &raised) {
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => None,
                result => Some(result),
            }
        });
        match result.unwrap_or(Err(Errno::EXIST)) {
            Ok(()) | Err(Errno::NOENT) => {
                (top.has_progress, last.has_progress) = (true, true);
            }
            Err(error) => self.note(levels, Some(name), "remove", error),
        }
    }

    /// The last level is empty: removes it itself.
    fn close(&mut self, levels: &mut Vec<Level>, parent: &OwnedFd) {
        let Some(closed) = levels.pop() else { return };
        let into = levels.last().map_or(parent, |level| &level.directory);
        match rustix::fs::unlinkat(into, &closed.name, AtFlags::REMOVEDIR) {
            Ok(()) => self.removed += 1,
            Err(Errno::NOENT | Errno::STALE) => {}
            // Something appeared after it was read: once more.
            Err(Errno::NOTEMPTY | Errno::EXIST) if levels.is_empty() => {
                levels.push(Level::new(closed.name, closed.directory));
                return;
            }
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => {
                self.note(levels, Some(&closed.name), "remove", error);
                return;
            }
        }
        if let Some(level) = levels.last_mut() {
            level.has_progress = true;
        }
    }

    fn note(&mut self, levels: &[Level], name: Option<&OsStr>, what: &str, error: Errno) {
        let path = self.path_of(levels, name);
        self.failure.get_or_insert_with(|| self.base.failed(what, &path, error));
    }

    fn path_of(&self, levels: &[Level], name: Option<&OsStr>) -> PathBuf {
        let below = levels.iter().skip(1).map(|level| level.name.as_os_str()).chain(name);
        self.path.iter().chain(below).collect()
    }
}
