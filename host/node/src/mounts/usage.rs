//! Sizes: of a mounted file system, and of block devices.

use std::os::fd::AsFd;

use rustix::io::Errno;
use wharf_core::Error;
use wharf_core::ports::{Call, Usage};

use crate::context::NodeContext;
use crate::mounts::paths::MountTarget;
use crate::mounts::table::Entry;
use crate::remote::{Answer, Failure, Purpose, Request, Work};

/// Asks what is mounted here, in a process of its own: its server may be gone.
///
/// # Errors
/// `Silent` when there is no answer by the call's deadline.
pub(crate) fn ask(
    context: &NodeContext,
    call: &Call,
    target: &MountTarget,
    entry: &Entry,
    purpose: Purpose,
) -> Result<Usage, Failure> {
    let clock = context.clock.as_ref();
    let at = Some(target.as_fd());
    let work = Work { name: &work_at(target), server: &entry.server(), purpose };
    let mut session = context.remote.start(work, at, call, clock)?;
    let request = Request::Usage { at: target.name().to_owned() };
    match session.ask_last(request, call.remaining(clock.now()))? {
        Answer::Usage(usage) => Ok(usage),
        _ => Err(Error::internal("the answer is not about space").into()),
    }
}

/// What a process is called that asks what is mounted here.
pub(crate) fn work_at(target: &MountTarget) -> String {
    format!("ask {}", target.path().display())
}

/// Space of the file system that something open lies on. May wait for its server.
pub(crate) fn of_file_system(opened: impl AsFd) -> Result<Usage, Errno> {
    let stat = rustix::fs::fstatvfs(opened)?;
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
