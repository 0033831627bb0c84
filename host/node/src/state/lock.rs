//! Locks between processes: FlexVolume runs one process per call, so a lock in memory is not
//! enough.
//!
//! All locks are byte ranges of one file, one byte for each name, as open-file-description locks
//! (fcntl(2), `F_OFD_SETLK`): they work between threads and processes alike, vanish with their
//! holder however it dies, and leave no file behind for each volume.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use sha2::{Digest, Sha256};
use wharf_core::ports::{Call, Clock};
use wharf_core::{Error, ErrorKind};

/// Another process's step takes milliseconds when it is not formatting; asking more rarely would be
/// felt, more often would be noise.
const POLL: Duration = Duration::from_millis(20);

/// Held until it is dropped, or until the process dies.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct VolumeGuard {
    file: File,
}

impl VolumeGuard {
    /// What the lock is held by, also in a process that keeps it open.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Takes the lock of this name, waiting for its holder as long as the call may.
///
/// # Errors
/// `Aborted` when another thread or process still holds it then.
pub(crate) fn acquire(
    state: &Path,
    name: &str,
    clock: &dyn Clock,
    call: &Call,
) -> Result<VolumeGuard, Error> {
    let file = open(state)?;
    loop {
        if try_lock(&file, name)? {
            return Ok(VolumeGuard { file });
        }
        if call.is_cancelled() || call.remaining(clock.now()).is_zero() {
            return Err(Error::aborted(format!("another call works on {name}"))
                .with_hint("it is tried again once that one is done"));
        }
        clock.sleep(POLL, call);
    }
}

/// An earlier process that was left behind still does this work: the kernel has not let go of it.
#[derive(Debug)]
pub(crate) struct StillHangs {
    work: String,
}

impl From<StillHangs> for Error {
    fn from(StillHangs { work }: StillHangs) -> Self {
        Self::unavailable(format!("an earlier call ({work}) still waits for an answer"))
            .with_hint("its disk, its server or its process may be gone: see the node's kernel log")
    }
}

/// Takes the lock of work that may hang, for a process that holds it as long as it lives: no call
/// adds another one to it. `None`: nothing can be locked here, which must not keep a mount.
///
/// # Errors
/// When an earlier one still hangs at the call's deadline.
pub(crate) fn acquire_for_work(
    state: &Path,
    work: &str,
    clock: &dyn Clock,
    call: &Call,
) -> Result<Option<File>, StillHangs> {
    match acquire(state, work, clock, call) {
        Ok(guard) => Ok(Some(guard.file)),
        Err(error) if error.kind == ErrorKind::Aborted => Err(StillHangs { work: work.to_owned() }),
        Err(error) => {
            tracing::warn!(%error, "working without the lock of {work}");
            Ok(None)
        }
    }
}

fn open(state: &Path) -> Result<File, Error> {
    let path = state.join("lock");
    let open = || {
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
    };
    let failed = |error: std::io::Error| {
        Error::internal(format!("cannot open the lock file {}: {error}", path.display()))
    };
    match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            crate::state::records::make_private_directory(state)?;
            open().map_err(failed)
        }
        result => result.map_err(failed),
    }
}

fn try_lock(file: &File, name: &str) -> Result<bool, Error> {
    let range = libc::flock {
        l_type: write_lock(),
        l_whence: 0,
        l_start: byte_of(name),
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(Error::internal(format!("cannot lock {name}: {error}"))),
    }
}

/// `F_WRLCK` is an `int` in libc and a `short` in the struct.
fn write_lock() -> libc::c_short {
    libc::F_WRLCK as libc::c_short
}

/// Two names share a byte once in 2^62 pairs, and then only wait for each other.
fn byte_of(name: &str) -> i64 {
    let digest = Sha256::digest(name.as_bytes());
    let mut bytes = [0_u8; 8];
    bytes.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    i64::from_be_bytes(bytes) >> 1 & (i64::MAX >> 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    fn now_or_never() -> Call {
        Call::until(Duration::ZERO)
    }

    #[test]
    fn a_name_is_held_once_and_others_are_free() {
        let state = tempfile::tempdir().unwrap();
        let acquire = |name: &str| acquire(state.path(), name, &SystemClock, &now_or_never());
        let guard = acquire("a").unwrap();
        assert_eq!(acquire("a").unwrap_err().kind, wharf_core::ErrorKind::Aborted);
        let _other = acquire("b").unwrap();
        drop(guard);
        let _again = acquire("a").unwrap();
    }

    #[test]
    fn a_waiting_call_gets_the_lock_when_its_holder_lets_go() {
        let state = tempfile::tempdir().unwrap();
        let guard = acquire(state.path(), "a", &SystemClock, &now_or_never()).unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                acquire(state.path(), "a", &SystemClock, &Call::until(Duration::MAX)).is_ok()
            });
            drop(guard);
            assert!(waiter.join().unwrap());
        });
    }

    #[test]
    fn a_cancelled_call_does_not_wait() {
        let state = tempfile::tempdir().unwrap();
        let _guard = acquire(state.path(), "a", &SystemClock, &now_or_never()).unwrap();
        let call = Call::until(Duration::MAX);
        call.cancel();
        assert!(acquire(state.path(), "a", &SystemClock, &call).is_err());
    }
}
