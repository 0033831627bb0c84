//! What a call did to the node, so that it can be taken back when a later step fails. The mount
//! table is then as it was.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, Gid, Mode, Uid};
use rustix::mount::UnmountFlags;

/// One thing to take back.
#[derive(Debug)]
pub(crate) enum Undo {
    /// A folder was made.
    RemoveDirectory { parent: OwnedFd, name: OsString, path: PathBuf },
    /// An empty file was made.
    RemoveFile { parent: OwnedFd, name: OsString, path: PathBuf },
    /// Something was mounted.
    Unmount { parent: OwnedFd, name: OsString, path: PathBuf },
    /// A setting was written.
    WriteSetting { path: PathBuf, value: String },
    /// Mode and owner were changed.
    RestoreOwnership { directory: OwnedFd, mode: u32, uid: u32, gid: u32, path: PathBuf },
}

impl Undo {
    fn perform(&self) -> Result<(), String> {
        let (path, done) = match self {
            Self::RemoveDirectory { parent, name, path } => {
                (path, rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(Into::into))
            }
            Self::RemoveFile { parent, name, path } => {
                (path, rustix::fs::unlinkat(parent, name, AtFlags::empty()).map_err(Into::into))
            }
            Self::Unmount { parent, name, path } => {
                let stable =
                    PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
                (path, rustix::mount::unmount(stable, UnmountFlags::NOFOLLOW).map_err(Into::into))
            }
            Self::WriteSetting { path, value } => (path, std::fs::write(path, value)),
            Self::RestoreOwnership { directory, mode, uid, gid, path } => {
                let owned = rustix::fs::fchown(
                    directory,
                    Some(Uid::from_raw(*uid)),
                    Some(Gid::from_raw(*gid)),
                );
                (
                    path,
                    owned
                        .and_then(|()| rustix::fs::fchmod(directory, Mode::from_raw_mode(*mode)))
                        .map_err(Into::into),
                )
            }
        };
        done.map_err(|error: std::io::Error| format!("{}: {error}", path.display()))
    }
}

/// Takes everything back when it is dropped, the last first, unless [`UndoLog::keep`] says that all
/// went well.
#[derive(Debug, Default)]
pub(crate) struct UndoLog(Vec<Undo>);

impl UndoLog {
    /// Remembers something that was done.
    pub fn push(&mut self, undo: Undo) {
        self.0.push(undo);
    }

    /// Everything stays.
    pub fn keep(mut self) {
        self.0.clear();
    }

    /// Takes everything back and says what could not be.
    pub fn roll_back(mut self) -> Vec<String> {
        self.perform()
    }

    fn perform(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0).iter().rev().filter_map(|undo| undo.perform().err()).collect()
    }
}

impl Drop for UndoLog {
    fn drop(&mut self) {
        for failure in self.perform() {
            tracing::error!("a step could not be taken back: {failure}");
        }
    }
}
