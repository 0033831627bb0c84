//! Sizes: of a mounted file system, asked in a way that a dead mount cannot hang, and of block
//! devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use wharf_core::Error;
use wharf_core::ports::Usage;

use crate::mounts::paths::MountTarget;

/// A living file system answers in milliseconds; kubelet asks every minute.
const BOUND: Duration = Duration::from_secs(5);
/// Threads that hang on dead mounts, at most; each is a stack and nothing else.
const MAX_HANGING: usize = 16;

/// Counts the threads that wait for an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Askers(Arc<AtomicUsize>);

impl Askers {
    /// Asks the file system mounted here.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer in time or is disconnected.
    pub fn ask(&self, target: MountTarget) -> Result<Usage, Error> {
        let path = target.path().to_owned();
        let counter = self.0.clone();
        if counter.fetch_add(1, Ordering::SeqCst) >= MAX_HANGING {
            counter.fetch_sub(1, Ordering::SeqCst);
            return Err(Error::unavailable(format!(
                "{MAX_HANGING} mounts of this node do not answer; {} is not asked",
                path.display()
            ))
            .with_hint("unmount the dead ones"));
        }
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let answer = ask(&target);
            counter.fetch_sub(1, Ordering::SeqCst);
            // Nobody listens any more when it took too long.
            let _ = sender.send(answer);
        });
        receiver.recv_timeout(BOUND).unwrap_or_else(|_| {
            Err(Error::unavailable(format!(
                "the file system at {} did not answer within {BOUND:?}",
                path.display()
            ))
            .with_hint("its server or its process may be gone"))
        })
    }
}

fn ask(target: &MountTarget) -> Result<Usage, Error> {
    let opened = target
        .open()?
        .ok_or_else(|| Error::not_found(format!("{} does not exist", target.path().display())))?;
    let stat = rustix::fs::fstatvfs(&opened).map_err(|error| {
        Error::unavailable(format!(
            "the file system at {} does not answer: {error}",
            target.path().display()
        ))
    })?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Usage {
        total_bytes: bytes(stat.f_blocks),
        available_bytes: bytes(stat.f_bavail),
        used_bytes: bytes(stat.f_blocks.saturating_sub(stat.f_bfree)),
        total_inodes: stat.f_files,
        free_inodes: stat.f_ffree,
    })
}

/// A raw device has a size and nothing else that could be known.
pub(crate) fn of_device(bytes: u64) -> Usage {
    Usage { total_bytes: bytes, available_bytes: 0, used_bytes: 0, total_inodes: 0, free_inodes: 0 }
}
