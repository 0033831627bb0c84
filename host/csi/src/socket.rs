//! The socket file: made with its final mode before anybody can connect, replaced only when nobody
//! listens on it, and removed at the end only if it is still ours.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};

use crate::endpoint::{self, EndpointError};

/// Connections that wait to be accepted. Kubelet opens one for each call, and calls for every pod
/// of a node at its start.
const BACKLOG: u32 = 1024;
/// Owner and group: a pod's `fsGroup` lets its sidecars in, and nobody else is.
const SOCKET_MODE: u32 = 0o660;
/// The same for the directory, where it is ours to make.
const DIRECTORY_MODE: u32 = 0o750;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path cannot be an endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Another process serves it.
    #[error("another process is listening on {}; stop it first, or choose another endpoint", .0.display())]
    InUse(PathBuf),
    /// Something else is there, and is left alone.
    #[error("{} exists and is not a socket; remove it, or choose another endpoint", .0.display())]
    NotASocket(PathBuf),
    /// The file system refuses.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// A bound socket file. When this is dropped, after the listener, the file is removed, unless a
/// successor has put its own there.
#[derive(Debug)]
pub struct SocketGuard {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketGuard {
    /// Whether the file is the one that was bound. An inode's number may have been used again by a
    /// successor, which listens then.
    fn is_ours(&self) -> bool {
        let is_same_file = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        is_same_file && UnixStream::connect(&self.path).is_err()
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        let _lock = self.path.parent().map(lock_directory);
        if self.is_ours()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket file could not be removed");
        }
    }
}

/// Until the file is closed, no other process binds or removes a socket in this directory.
fn lock_directory(directory: &Path) -> io::Result<File> {
    let lock = File::open(directory)?;
    lock.lock()?;
    Ok(lock)
}

/// Listens on `path`. The directory is locked meanwhile, so that two processes that start at once
/// do not take each other's socket for a left-over; CSI allows no lock file beside it. The guard is
/// to be dropped after the listener.
///
/// # Errors
/// When the path cannot be a socket's, or is taken.
pub fn bind(path: &Path) -> Result<(UnixListener, SocketGuard), SocketError> {
    endpoint::check(path)?;
    let directory = path.parent().unwrap_or(Path::new("/"));
    let failed = |what: &'static str| {
        let path = path.to_owned();
        move |source| SocketError::Io { what, path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory)
        .map_err(failed("making the directory of"))?;
    let _lock = lock_directory(directory).map_err(failed("locking the directory of"))?;
    remove_stale(path)?;
    let socket = UnixSocket::new_stream().map_err(failed("making"))?;
    socket.bind(path).map_err(failed("binding"))?;
    let bound = fs::symlink_metadata(path).map_err(failed("looking at"))?;
    let guard = SocketGuard { path: path.to_owned(), device: bound.dev(), inode: bound.ino() };
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))
        .map_err(failed("setting the mode of"))?;
    let listener = socket.listen(BACKLOG).map_err(failed("listening on"))?;
    Ok((listener, guard))
}

/// Removes what an earlier process left, if it is a socket that refuses connections.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed =
        |what: &'static str| move |source| SocketError::Io { what, path: path.to_owned(), source };
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("looking at")(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed("removing the old"))
        }
        Err(error) => Err(failed("asking whether anybody listens on")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_new_socket_belongs_to_its_owner_and_group_in_a_directory_made_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plugins/disk/csi.sock");
        let runtime = runtime();
        let _entered = runtime.enter();
        let (listener, guard) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        drop(listener);
        drop(guard);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let runtime = runtime();
        let _entered = runtime.enter();
        bind(&path).unwrap();
    }

    #[test]
    fn a_socket_that_somebody_listens_on_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let runtime = runtime();
        let _entered = runtime.enter();
        assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        fs::write(&path, "precious").unwrap();
        let runtime = runtime();
        let _entered = runtime.enter();
        assert!(matches!(bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_successor_s_socket_survives_the_end_of_its_predecessor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("csi.sock");
        let runtime = runtime();
        let _entered = runtime.enter();
        let (listener, guard) = bind(&path).unwrap();
        drop(listener);
        let (_listener, _guard) = bind(&path).unwrap();
        drop(guard);
        assert!(UnixStream::connect(&path).is_ok());
    }
}
