//! Takes mounts away. Works from the mount table alone: needs no record, no backend, and nothing of
//! what is mounted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use wharf_core::Error;
use wharf_core::ports::{Call, RemovePath};

use crate::context::NodeContext;
use crate::disk::device::kernel_name;
use crate::disk::probe;
use crate::mounts::paths::MountTarget;
use crate::mounts::table::MountTable;

pub(crate) mod remote;
pub(crate) mod silence;

/// Mounts stacked on one path; a hundred would be a defect, and a loop has an end.
const MAX_STACKED: usize = 64;
/// Programs that look at new disks have one open for a moment. So often is it tried whether the
/// disk opens exclusively, before somebody is said to use it.
const EXCLUSIVE_ATTEMPTS: u32 = 5;
const EXCLUSIVE_PAUSE: Duration = Duration::from_millis(10);
/// A process that is just being started has all open files of this one for a moment, those that lie
/// on the mount too.
const BUSY_TRIES: u32 = 5;
/// Whoever heals the mount of a helper has it open while it works in a namespace, and a process
/// that asked a server, and was ended because that was slow, until the kernel lets go of it: tens
/// of milliseconds.
const REMOTE_TRIES: u32 = 25;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// Processes named in an error: enough to find the workload.
const MAX_HOLDERS: usize = 5;

/// Unmounts everything that this path shows, then removes it when asked to.
///
/// # Errors
/// `FailedPrecondition` naming who uses it; `Unavailable` when what is under it hangs.
pub(crate) fn unmount(
    context: &NodeContext,
    call: &Call,
    target: &MountTarget,
    remove: RemovePath,
) -> Result<(), Error> {
    let (mut tries_left, mut remote_tries_left) = (BUSY_TRIES, REMOTE_TRIES);
    for _ in 0..MAX_STACKED {
        let table = MountTable::read()?;
        let Some(entry) = table.top(target.path()) else {
            // What is out of the table may still be written back.
            context.check_not_hanging(call, &work_at(target))?;
            return match remove {
                RemovePath::Yes => target.remove(),
                RemovePath::No => Ok(()),
            };
        };
        if call.is_cancelled() {
            return Err(Error::aborted(format!(
                "nobody waits any more; {} is not yet unmounted",
                target.path().display()
            )));
        }
        if entry.is_remote() {
            if remote::unmount(context, call, target, entry)? == remote::Unmounted::Busy {
                if remote_tries_left == 0 {
                    return Err(busy(&table, target.path()));
                }
                remote_tries_left -= 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            continue;
        }
        let is_last = entry.is_of_block_device() && table.of_device(entry.device).count() == 1;
        match unmount_top(context, call, target, is_last)? {
            Ok(()) if is_last => {
                warn_of_users(entry.device, &context.options.sysfs, target.path());
            }
            // Somebody else was faster; the table is read again.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(Errno::BUSY) if tries_left > 0 => {
                tries_left -= 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            Err(Errno::BUSY) => return Err(busy(&table, target.path())),
            Err(error) => {
                return Err(Error::internal(format!(
                    "cannot unmount {}: {error}",
                    target.path().display()
                )));
            }
        }
    }
    Err(Error::internal(format!(
        "{} is still mounted after {MAX_STACKED} unmounts",
        target.path().display()
    ))
    .with_hint("look at /proc/self/mountinfo on the node"))
}

/// Writes back what this is the last mount of, and unmounts. Both wait for the disk.
fn unmount_top(
    context: &NodeContext,
    call: &Call,
    target: &MountTarget,
    is_last: bool,
) -> Result<Result<(), Errno>, Error> {
    let asked = context.ask_kernel(call, &work_at(target), &[target.as_fd()], || {
        let written = if is_last { write_back(target) } else { Ok(()) };
        let unmounted = rustix::mount::unmount(target.stable_path(), UnmountFlags::NOFOLLOW);
        (written.map_err(Errno::raw_os_error), unmounted.map_err(Errno::raw_os_error))
    });
    let (written, unmounted) = asked?;
    if let Err(error) = written.map_err(Errno::from_raw_os_error) {
        tracing::warn!(path = %target.path().display(), "what was written may not all be on the disk: {error}");
    }
    Ok(unmounted.map_err(Errno::from_raw_os_error))
}

/// What a process is called that unmounts here.
fn work_at(target: &MountTarget) -> String {
    format!("unmounting {}", target.path().display())
}

/// The kernel writes everything back when the last mount goes; but a copy of it in another mount
/// namespace, which this one does not see, keeps the file system alive while the disk is detached.
fn write_back(target: &MountTarget) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, target.stable_path(), flags, Mode::empty()).and_then(rustix::fs::syncfs)
}

fn warn_of_users(device: (u32, u32), sysfs: &Path, path: &Path) {
    let Some(device_node) = kernel_name(sysfs, device).map(|name| Path::new("/dev").join(name))
    else {
        return;
    };
    for _ in 0..EXCLUSIVE_ATTEMPTS {
        if probe::is_free(&device_node).unwrap_or(true) {
            return;
        }
        std::thread::sleep(EXCLUSIVE_PAUSE);
    }
    tracing::warn!(
        device = %device_node.display(),
        "{} was unmounted and the disk is still in use on this node, probably mounted in another mount namespace; what that writes after the disk is detached is lost",
        path.display()
    );
}

fn busy(table: &MountTable, path: &Path) -> Error {
    let below = table.below(path);
    let by = if below.is_empty() { holders(path) } else { below };
    let who = if by.is_empty() {
        "by a process in another mount namespace, swap, or a loop device".to_owned()
    } else {
        format!("by {}", by.join(", "))
    };
    Error::precondition(format!("{} is in use {who}", path.display())).with_hint(
        "it is unmounted once nobody uses it; it is never taken away from under a process",
    )
}

/// Processes that stand in or hold open something below the path. Reads links in /proc only, which
/// touches nothing that is mounted.
fn holders(path: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let is_process = |entry: &fs::DirEntry| {
        entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
    };
    processes
        .filter_map(Result::ok)
        .filter(is_process)
        .filter(|process| holds(&process.path(), path))
        .take(MAX_HOLDERS)
        .map(|process| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("process {} ({})", process.file_name().to_string_lossy(), name.trim())
        })
        .collect()
}

fn holds(process: &Path, path: &Path) -> bool {
    let open = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    ["cwd", "root", "exe"]
        .into_iter()
        .map(|name| process.join(name))
        .chain(open)
        .any(|link| fs::read_link(link).is_ok_and(|target| target.starts_with(path)))
}
