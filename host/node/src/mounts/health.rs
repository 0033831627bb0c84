//! Whether a volume that is mounted here works, and how full it is: asked in a way that a dead
//! mount cannot hang, and reported in words that name the cause and what to do.
//!
//! A server, a helper process and a disk fail in ways of their own. A server that answers nothing
//! is distinguished from one that is slow by the answers that the kernel counts, a helper by how
//! often it writes, as it does to answer. What a file system on a disk says of itself is in the
//! mount table and in sysfs. Left out: what the cloud knows (the backend says that), and repairing
//! anything.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wharf_core::ports::{Call, Stats, Usage};
use wharf_core::types::Condition;
use wharf_core::{Error, ErrorKind};

use crate::context::NodeContext;
use crate::disk::device::kernel_name;
use crate::mounts::paths::{MountTarget, Opened};
use crate::mounts::table::{Entry, MountTable};
use crate::mounts::{answers, device, mounting, usage};
use crate::remote::{Failure, Purpose};

/// What `entry` shows at `target`: a file system, or the node of a raw device. It is waited for no
/// longer than this node waits for what may be dead, and no longer than the call.
///
/// # Errors
/// When it cannot be asked at all.
pub(crate) fn of(
    context: &NodeContext,
    call: &Call,
    target: &MountTarget,
    entry: &Entry,
) -> Result<Stats, Error> {
    let call = &call.no_later_than(context.clock.now() + context.options.patience);
    if let Some(number) = mounting::block_number(target, entry)? {
        return of_raw_device(context, target, entry, number);
    }
    if entry.is_remote() {
        of_remote(context, call, target, entry)
    } else {
        of_local(context, call, target, entry)
    }
}

/// The supervisor answers within milliseconds. It is asked before and after a helper was waited
/// for, and both are within the call: of a short one it gets a part.
const SUPERVISOR: Duration = Duration::from_secs(1);
const SUPERVISORS_PART: u32 = 4;

/// Whatever works answers about its space within milliseconds, from another continent too.
const SLOW: Duration = Duration::from_secs(1);

fn working(usage: Usage) -> Stats {
    Stats { usage: Some(usage), condition: Condition::normal("it answers") }
}

fn without_figures(condition: Condition) -> Stats {
    Stats { usage: None, condition }
}

fn of_raw_device(
    context: &NodeContext,
    target: &MountTarget,
    entry: &Entry,
    number: (u32, u32),
) -> Result<Stats, Error> {
    if device::is_gone(context, number) {
        return Ok(without_figures(disk_is_gone(target)));
    }
    let device = device::by_number(context, number, entry)?.ok_or_else(|| {
        Error::not_found(format!("there is no device at {}", target.path().display()))
    })?;
    Ok(working(usage::of_device(device.bytes()?)))
}

fn disk_is_gone(target: &MountTarget) -> Condition {
    Condition::abnormal(format!(
        "the disk of {} was taken away from this node; stop the pods that use it, so that it is \
         attached and mounted again",
        target.path().display()
    ))
}

fn of_remote(
    context: &NodeContext,
    call: &Call,
    target: &MountTarget,
    entry: &Entry,
) -> Result<Stats, Error> {
    let begun = context.clock.now();
    let reserved = match is_helpers(&entry.fs_type) {
        true => SUPERVISOR.min(call.remaining(begun) / SUPERVISORS_PART),
        false => Duration::ZERO,
    };
    let answers = || match is_helpers(&entry.fs_type) {
        true => helper_writes(context, entry, reserved),
        false => answers::count(target.path()),
    };
    let before = answers();
    let call = &call.no_later_than(call.deadline().saturating_sub(reserved));
    // An earlier question still hangs where the kernel does not let go of who asked.
    let asked = match context.check_not_hanging(call, &usage::work_at(target)) {
        Ok(()) => usage::ask(context, call, target, entry, Purpose::Use),
        Err(_) => Err(Failure::Silent),
    };
    let what = format!("{} (mounted at {})", entry.source_in_words(), target.path().display());
    let condition = match asked {
        Ok(usage) => {
            let waited = context.clock.now().saturating_sub(begun);
            return Ok(Stats { usage: Some(usage), condition: answered(&what, waited) });
        }
        Err(Failure::Silent) => {
            let after = answers();
            let answered = before.zip(after).map(|(before, after)| after.saturating_sub(before));
            let waited = context.clock.now().saturating_sub(begun);
            silence(&what, &entry.fs_type, waited, answered)
        }
        Err(Failure::Said { errno: Some(errno), .. }) => {
            refusal(&what, &entry.fs_type, Errno::from_raw_os_error(errno))
        }
        Err(Failure::Said { error, errno: None }) => {
            return Err(error.context(format!("the file system {what} was not asked")));
        }
    };
    Ok(without_figures(condition))
}

fn is_helpers(fs_type: &str) -> bool {
    fs_type.starts_with("fuse")
}

/// How often the helper of a mount has written, to whatever it is connected to: a helper answers
/// the kernel by writing, and says what goes wrong with its own requests. The supervisor counts, as
/// the helper's process is not one that can be seen from every container.
fn helper_writes(context: &NodeContext, entry: &Entry, bound: Duration) -> Option<u64> {
    let mounts = context.options.supervisor.as_ref()?.list_within(bound).ok()??;
    let table = MountTable::read().ok()?;
    let shows = |at: &Path| table.of_device(entry.device).any(|shown| shown.mount_point == at);
    mounts.iter().find(|mount| shows(&mount.target))?.writes
}

/// Of what has given its figures.
fn answered(what: &str, waited: Duration) -> Condition {
    if waited < SLOW {
        return Condition::normal("it answers");
    }
    Condition::normal(format!("{what} is slow: it answered after {}", seconds(waited)))
}

fn seconds(waited: Duration) -> String {
    format!("{} s", waited.as_secs_f32().ceil())
}

/// `answered`: how many answers its NFS server or its helper gave meanwhile, to whatever it was
/// asked.
fn silence(what: &str, fs_type: &str, waited: Duration, answered: Option<u64>) -> Condition {
    let waited = seconds(waited);
    match answered {
        Some(1..) if is_helpers(fs_type) => Condition::normal(format!(
            "the helper of {what} is slow: it has worked for {waited} and not answered about its \
             space; `wharf mounts logs` shows what it said"
        )),
        _ if is_helpers(fs_type) => Condition::abnormal(format!(
            "the helper of {what} has not answered for {waited}: it hangs, or what it asks does; \
             `wharf mounts logs` shows what it said"
        )),
        Some(0) => Condition::abnormal(format!(
            "the NFS server of {what} has answered nothing for {waited}; look whether it runs, and \
             at the network to it: what uses the volume waits, and goes on when it answers"
        )),
        // Who acts on what is abnormal moves pods away, which makes a busy server no faster.
        Some(other) => Condition::normal(format!(
            "the NFS server of {what} is slow: within {waited} it gave {other} answers, and not \
             the one about its space"
        )),
        None => Condition::abnormal(format!(
            "{what} has not answered for {waited}; its server may be gone, or the network to it"
        )),
    }
}

fn refusal(what: &str, fs_type: &str, errno: Errno) -> Condition {
    let hint = match errno {
        Errno::NOTCONN | Errno::CONNABORTED if is_helpers(fs_type) => {
            "its helper is gone; `wharf mounts serve` starts it again where it runs on this node, \
             and `wharf mounts list` says how it is"
        }
        Errno::STALE => {
            "its directory is gone from the server; put it back there, and stop the pods that use \
             it, so that it is mounted again"
        }
        Errno::ACCESS | Errno::PERM => {
            "the server does not let this node in any more; look at the permissions of its export"
        }
        _ => "the node's kernel log (`dmesg`) may say more",
    };
    Condition::abnormal(format!("{what} answers with an error: {errno}; {hint}"))
}

fn of_local(
    context: &NodeContext,
    call: &Call,
    target: &MountTarget,
    entry: &Entry,
) -> Result<Stats, Error> {
    if entry.is_of_block_device() && device::is_gone(context, entry.device) {
        return Ok(without_figures(disk_is_gone(target)));
    }
    let path = target.path().display();
    let opened =
        target.open()?.ok_or_else(|| Error::not_found(format!("{path} does not exist")))?;
    let work = format!("asking the file system at {path}");
    let asked = context.ask_kernel(call, &work, &[opened.as_fd()], || {
        let usage = usage::of_file_system(&opened).map_err(Errno::raw_os_error);
        (usage, read_root(&opened).map_err(Errno::raw_os_error))
    });
    let (usage, root) = match asked {
        Ok(answers) => answers,
        Err(error) if error.kind == ErrorKind::Unavailable => {
            return Ok(without_figures(Condition::abnormal(error.to_string())));
        }
        Err(error) => return Err(error),
    };
    let what = match (usage, root) {
        (Ok(_), Ok(())) => trouble(context, entry),
        (Err(errno), _) | (Ok(_), Err(errno)) => {
            Some(format!("answers with an error: {}", Errno::from_raw_os_error(errno)))
        }
    };
    let condition = what.map(|what| {
        Condition::abnormal(format!(
            "the {} at {path} {what}; the node's kernel log (`dmesg`) says why: stop the pods that \
             use it, so that it is unmounted, checked and mounted again",
            entry.fs_type
        ))
    });
    let condition = condition.unwrap_or_else(|| Condition::normal("it answers"));
    Ok(Stats { usage: usage.ok(), condition })
}

/// A file system that was shut down may still report its space.
fn read_root(opened: &Opened) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(opened, ".", flags, Mode::empty()).map(drop)
}

/// What is wrong with a file system that answers.
fn trouble(context: &NodeContext, entry: &Entry) -> Option<String> {
    let has = |wanted: &str| entry.super_options.iter().any(|option| option == wanted);
    if has("shutdown") {
        return Some("was shut down after an error".to_owned());
    }
    if has("emergency_ro") || entry.is_file_system_read_only() && !entry.is_read_only_here() {
        return Some("was made read-only by the kernel after an error".to_owned());
    }
    // ext4 alone counts its errors, and keeps the count until it is checked.
    let name = kernel_name(&context.options.sysfs, entry.device)?;
    let count = context.options.sysfs.join("fs/ext4").join(name).join("errors_count");
    let errors: u64 = std::fs::read_to_string(count).ok()?.trim().parse().ok()?;
    (errors > 0).then(|| format!("has found {errors} errors in itself"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_server_is_told_from_a_slow_one() {
        let of_server = |answered| silence("s:/a", "nfs4", Duration::from_millis(4800), answered);
        let (dead, slow) = (of_server(Some(0)), of_server(Some(12)));
        assert!(dead.abnormal && dead.message.contains("answered nothing for 5 s"), "{dead:?}");
        assert!(!slow.abnormal && slow.message.contains("slow"), "{slow:?}");
        assert!(of_server(None).abnormal);
    }

    #[test]
    fn each_failure_has_its_own_words() {
        let refused = |fs_type, errno| refusal("x", fs_type, errno).message;
        assert!(refused("fuse.ossfs", Errno::NOTCONN).contains("helper is gone"));
        assert!(!refused("nfs", Errno::NOTCONN).contains("helper"));
        assert!(refused("nfs", Errno::STALE).contains("gone from the server"));
        assert!(refused("nfs", Errno::ACCESS).contains("export"));
    }

    #[test]
    fn a_helper_that_hangs_is_told_from_one_that_is_slow() {
        let of_helper = |writes| silence("x", "fuse.ossfs", Duration::from_secs(5), writes);
        for hangs in [of_helper(None), of_helper(Some(0))] {
            assert!(hangs.abnormal && hangs.message.contains("it hangs"), "{hangs:?}");
        }
        let slow = of_helper(Some(3));
        assert!(!slow.abnormal && slow.message.contains("is slow"), "{slow:?}");
        let late = answered("x", Duration::from_secs(2));
        assert!(!late.abnormal && late.message.contains("answered after 2 s"), "{late:?}");
        assert_eq!(answered("x", Duration::from_millis(20)).message, "it answers");
    }
}
