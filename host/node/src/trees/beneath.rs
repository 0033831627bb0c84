//! Opening directories below an open one. Each component is opened by itself without following
//! links, and has to lie on the same mount.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, StatxFlags};
use rustix::io::Errno;
use wharf_core::Error;

use crate::mounts::paths::Opened;

/// What the kernel fills in one go, some hundreds of names. More would wait longer for its server.
const READ_BYTES: usize = 32 * 1024;

/// An open directory that everything happens below, and what to call it in an error.
#[derive(Debug)]
pub(crate) struct Base {
    directory: OwnedFd,
    mount: u64,
    shown: String,
}

/// What a name in a directory leads to.
pub(super) enum Entered {
    /// A directory of the same mount.
    Directory(OwnedFd),
    /// Something is mounted there.
    OtherMount,
    /// A link, a file or a device.
    NotADirectory,
    /// Nothing.
    Missing,
}

/// A name in a directory, and whether it is known to be a directory.
pub(super) type Name = (OsString, Option<bool>);

impl Base {
    /// Everything is below this directory, which must be open for reading.
    ///
    /// # Errors
    /// When the kernel does not say what mount it lies on.
    pub fn new(directory: OwnedFd, shown: impl Into<String>) -> Result<Self, Error> {
        let mount = mount_of(&directory)
            .map_err(|error| Error::unavailable(format!("cannot look at a directory: {error}")))?;
        Ok(Self { directory, mount, shown: shown.into() })
    }

    /// What is at a path, as an error calls it.
    pub fn show(&self, path: &Path) -> String {
        format!("{}/{}", self.shown.trim_end_matches('/'), path.display())
            .trim_end_matches('/')
            .to_owned()
    }

    /// The directory that a path's last component lies in, and that component. `None` when a
    /// directory on the way is missing.
    ///
    /// # Errors
    /// `FailedPrecondition` when a component is a link, a file or another mount.
    pub fn parent<'a>(&self, path: &'a Path) -> Result<Option<(OwnedFd, &'a OsStr)>, Error> {
        let Some(name) = path.file_name() else {
            return Err(Error::invalid(format!("`{}` names no directory", path.display())));
        };
        let parent = path.parent().unwrap_or(Path::new(""));
        Ok(self.open(parent)?.map(|parent| (parent, name)))
    }

    /// The directory at a path; the empty one is the base itself. `None` when it is missing.
    ///
    /// # Errors
    /// As [`Base::parent`].
    pub fn open(&self, path: &Path) -> Result<Option<OwnedFd>, Error> {
        let mut directory = self.duplicate()?;
        let mut walked = std::path::PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(Error::invalid(format!("`{}` is not a path below", path.display())));
            };
            walked.push(name);
            let entered = self
                .enter(&directory, name)
                .map_err(|error| self.failed("open", &walked, error))?;
            match self.directory_or_refusal(entered, &walked)? {
                Some(next) => directory = next,
                None => return Ok(None),
            }
        }
        Ok(Some(directory))
    }

    /// A directory that was entered; `None` for nothing.
    pub(super) fn directory_or_refusal(
        &self,
        entered: Entered,
        path: &Path,
    ) -> Result<Option<OwnedFd>, Error> {
        match entered {
            Entered::Directory(next) => Ok(Some(next)),
            Entered::Missing => Ok(None),
            Entered::OtherMount => Err(self.is_other_mount(path)),
            Entered::NotADirectory => Err(Error::precondition(format!(
                "{} is a link or a file, and not a directory",
                self.show(path)
            ))
            .with_hint("no link is followed; look at it, and move it away")),
        }
    }

    pub(super) fn is_other_mount(&self, path: &Path) -> Error {
        Error::precondition(format!("{} is another mount", self.show(path)))
            .with_hint("nothing is changed on it; unmount it first")
    }

    /// Opens a directory in an open one. What another client of a server removes at the same moment
    /// may answer with EIO and is missing a moment later, so that is looked at once more.
    pub(super) fn enter(&self, parent: &OwnedFd, name: &OsStr) -> Result<Entered, Errno> {
        match self.enter_once(parent, name) {
            Err(Errno::IO) => self.enter_once(parent, name),
            entered => entered,
        }
    }

    fn enter_once(&self, parent: &OwnedFd, name: &OsStr) -> Result<Entered, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::STALE) => return Ok(Entered::Missing),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Entered::NotADirectory),
            Err(error) => return Err(error),
        };
        match mount_of(&directory) {
            Ok(mount) if mount == self.mount => Ok(Entered::Directory(directory)),
            Ok(_) => Ok(Entered::OtherMount),
            Err(Errno::NOENT | Errno::STALE) => Ok(Entered::Missing),
            Err(error) => Err(error),
        }
    }

    /// Whether a name that is no directory is where something else is mounted (a file can be).
    pub(super) fn is_mounted_over(&self, directory: &OwnedFd, name: &OsStr) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        rustix::fs::statx(directory, name, flags, StatxFlags::MNT_ID).is_ok_and(|stat| {
            stat.stx_mask & StatxFlags::MNT_ID.bits() != 0 && stat.stx_mnt_id != self.mount
        })
    }

    /// The base itself.
    pub(super) fn duplicate(&self) -> Result<OwnedFd, Error> {
        self.directory
            .try_clone()
            .map_err(|error| Error::internal(format!("cannot duplicate a descriptor: {error}")))
    }

    /// What the system said, as an error.
    pub(super) fn failed(&self, what: &str, path: &Path, error: Errno) -> Error {
        let message = format!("cannot {what} {}: {error}", self.show(path));
        match error {
            Errno::PERM | Errno::ACCESS => Error::denied(message).with_hint(
                "the server, or the export's settings (`root_squash`), forbid it to root",
            ),
            Errno::ROFS => Error::precondition(message).with_hint("it is mounted read-only"),
            Errno::BUSY => Error::precondition(message)
                .with_hint("something is mounted on it or holds it open; it is tried again"),
            Errno::NOSPC | Errno::DQUOT => {
                Error::precondition(message).with_hint("free some space, or raise the quota")
            }
            Errno::IO | Errno::STALE | Errno::TIMEDOUT | Errno::NOTCONN => {
                Error::unavailable(message).with_hint("its server or its process may be gone")
            }
            _ => Error::internal(message),
        }
    }
}

/// The mount that something open lies on, asked without waiting for a server where the kernel can
/// say it by itself (Linux 5.8).
fn mount_of(directory: &OwnedFd) -> Result<u64, Errno> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(directory, "", flags, StatxFlags::MNT_ID) {
        Ok(stat) if stat.stx_mask & StatxFlags::MNT_ID.bits() != 0 => Ok(stat.stx_mnt_id),
        Ok(_) | Err(Errno::NOSYS | Errno::PERM) => {
            let again = directory.try_clone().map_err(|_| Errno::MFILE)?;
            Opened::new(again).mount_id().map_err(|_| Errno::IO)
        }
        Err(error) => Err(error),
    }
}

/// The first names of a directory, as many as are read in one go. Empty: it is empty.
pub(super) fn first_names(directory: &OwnedFd) -> Result<Vec<Name>, Errno> {
    rustix::fs::seek(directory, SeekFrom::Start(0))?;
    let mut names = Vec::new();
    while names.is_empty() {
        if !read_names(directory, &mut names)? {
            break;
        }
    }
    Ok(names)
}

/// All names of a directory.
pub(super) fn all_names(directory: &OwnedFd) -> Result<Vec<Name>, Errno> {
    rustix::fs::seek(directory, SeekFrom::Start(0))?;
    let mut names = Vec::new();
    while read_names(directory, &mut names)? {}
    Ok(names)
}

/// Reads on; `false` at the end.
fn read_names(directory: &OwnedFd, names: &mut Vec<Name>) -> Result<bool, Errno> {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut entries = RawDir::new(directory.as_fd(), buffer.spare_capacity_mut());
    let mut is_read = false;
    while let Some(entry) = entries.next() {
        let entry = entry?;
        is_read = true;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let is_directory = match entry.file_type() {
            FileType::Unknown => None,
            kind => Some(kind == FileType::Directory),
        };
        if name != "." && name != ".." {
            names.push((name.to_owned(), is_directory));
        }
        if entries.is_buffer_empty() {
            break;
        }
    }
    Ok(is_read)
}
