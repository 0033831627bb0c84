//! Sizes: of a mounted file system, asked in a way that a dead mount cannot hang, and of block
//! devices.

use std::os::fd::AsFd;

use rustix::io::Errno;
use wharf_core::Error;
use wharf_core::ports::{Call, Usage};

use crate::context::NodeContext;
use crate::mounts::paths::MountTarget;
use crate::mounts::table::Entry;
use crate::remote::{Answer, Request};

/// Asks the file system mounted here, in a process that can be left behind.
///
/// # Errors
/// `Unavailable`, naming what is mounted, when it does not answer in time or is disconnected.
pub(crate) fn of_mount(
    context: &NodeContext,
    target: &MountTarget,
    entry: &Entry,
) -> Result<Usage, Error> {
    if entry.is_remote() {
        return ask(context, target, entry);
    }
    let path = target.path().display();
    let call = Call::until(context.clock.now() + context.options.patience);
    let work = format!("asking the file system at {path}");
    let opened =
        target.open()?.ok_or_else(|| Error::not_found(format!("{path} does not exist")))?;
    let asked = context.ask_kernel(&call, &work, &[opened.as_fd()], || {
        of_file_system(&opened).map_err(Errno::raw_os_error)
    })?;
    asked.map_err(|error| {
        let error = Errno::from_raw_os_error(error);
        Error::unavailable(format!("the file system at {path} does not answer: {error}"))
    })
}

/// Asks the file system that is mounted here, in a process of its own.
///
/// # Errors
/// `Unavailable`, naming what is mounted, when it does not answer in time or is disconnected.
pub(crate) fn ask(
    context: &NodeContext,
    target: &MountTarget,
    entry: &Entry,
) -> Result<Usage, Error> {
    let clock = context.clock.as_ref();
    let bound = context.options.patience;
    let call = Call::until(clock.now() + bound);
    let what = format!("{} (mounted at {})", entry.source_in_words(), target.path().display());
    let work = format!("ask {}", target.path().display());
    let mut session = context
        .remote
        .start(&work, target.parent_path(), &call, clock)
        .map_err(|error| error.context(format!("the file system {what} was not asked")))?;
    let request = Request::Usage { at: target.name().to_owned() };
    match session.ask(&request, call.remaining(clock.now())) {
        Ok(Answer::Usage(usage)) => Ok(usage),
        Ok(_) => Err(Error::internal(format!("{what}: the answer is not about space"))),
        Err(failure) => Err(failure.into_error(&what, bound).context(what)),
    }
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
