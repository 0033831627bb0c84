//! Sizes: of a mounted file system, asked in a way that a dead mount cannot hang, and of block
//! devices.

use std::time::Duration;

use wharf_core::Error;
use wharf_core::ports::{Call, Usage};

use crate::mounts::hanging::Hanging;
use crate::mounts::paths::MountTarget;

/// A living file system answers in milliseconds; kubelet asks every minute.
const BOUND: Duration = Duration::from_secs(5);

/// Asks the file system mounted here.
///
/// # Errors
/// `Unavailable` when it does not answer in time or is disconnected.
pub(crate) fn of_mount(hanging: &Hanging, target: MountTarget) -> Result<Usage, Error> {
    let name = format!("the file system at {}", target.path().display());
    hanging.wait_for(&Call::until(Duration::MAX), BOUND, &name, move || ask(&target))?
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
