//! Makes a file system where there is provably none. Every way to lose data leads through this
//! file, so every answer but "blank" and "our own interrupted mkfs" ends in an error that a person
//! has to resolve.

use std::ffi::OsString;

use wharf_core::{Blame, Error, ErrorKind};
use wharf_mkfs::{Family, Refused};

use crate::context::NodeContext;
use crate::disk::device::Device;
use crate::disk::format_intent::FormatIntent;
use crate::disk::probe::{self, Signature};
use crate::mounts::table::MountTable;
use crate::program::Program;

/// Makes sure that the device holds a file system: one of this type where it is blank.
///
/// # Errors
/// `FailedPrecondition` when it holds what is no file system, or data that is nobody's known file
/// system; `Aborted` while an earlier mkfs still runs.
pub(crate) fn ensure(
    context: &NodeContext,
    disk: &Device,
    fs_type: &str,
    arguments: &[String],
) -> Result<(), Error> {
    check_arguments(fs_type, arguments)?;
    let options = &context.options;
    let device = disk.adopt_partition(&options.sysfs)?;
    if MountTable::read()?.of_device(device.number).next().is_some() {
        return Ok(());
    }
    let mut intent = FormatIntent::open(&options.state_directory, disk, &options.sysfs)?;
    let mut decision = decide(context, disk, &device, fs_type, &intent)?;
    if !matches!(decision, Decision::Done) && !intent.is_locked() {
        intent.lock(disk)?;
        decision = match decide(context, disk, &device, fs_type, &intent) {
            Ok(decision) => decision,
            Err(refused) => {
                if let Err(error) = intent.clear_unwritten() {
                    tracing::warn!(%error, "the lock of a format that was refused is left behind");
                }
                return Err(refused);
            }
        };
    }
    match decision {
        Decision::Done => intent.clear(),
        Decision::Make => make(context, &device, fs_type, arguments.to_vec(), intent),
        Decision::MakeAgain => {
            tracing::warn!(device = %device.path.display(), "formatting again: an earlier format of this device was interrupted");
            make(context, &device, fs_type, with_force(fs_type, arguments), intent)
        }
    }
}

/// Whether this build makes a file system of this type, and with these arguments.
///
/// # Errors
/// `Unsupported` for a type that it does not make; `PermissionDenied` naming the first argument
/// that is not allowed; `InvalidArgument` for too many.
pub(crate) fn check_arguments(fs_type: &str, arguments: &[String]) -> Result<(), Error> {
    let family = Family::of(fs_type).ok_or_else(|| {
        Error::unsupported(format!(
            "making a `{fs_type}` file system is not provided by this build"
        ))
        .with_hint("use ext4 or xfs")
    })?;
    family.check(arguments).map_err(|refused| {
        let kind = match refused {
            Refused::TooMany => ErrorKind::InvalidArgument,
            Refused::Argument(_) => ErrorKind::PermissionDenied,
        };
        let message = format!("cannot make a `{fs_type}` file system: {refused}");
        Error::new(kind, Blame::User, message)
    })
}

/// Forgets that a format of the device was begun here: somebody is about to write to it, and what
/// is found on it later is no longer ours.
///
/// # Errors
/// `Aborted` while that format still runs.
pub(crate) fn discard_format_intent(context: &NodeContext, disk: &Device) -> Result<(), Error> {
    let options = &context.options;
    FormatIntent::open(&options.state_directory, disk, &options.sysfs)?.clear()
}

enum Decision {
    /// The file system is there.
    Done,
    /// The device is blank.
    Make,
    /// What is there was left by an interrupted mkfs of ours.
    MakeAgain,
}

fn decide(
    context: &NodeContext,
    disk: &Device,
    device: &Device,
    fs_type: &str,
    intent: &FormatIntent,
) -> Result<Decision, Error> {
    let name = device.path.display();
    match probe::probe(&context.programs, device, context.options.bounds.probe)? {
        Signature::FileSystem(found) => {
            let is_complete = probe::read_superblock(context, device)?
                .is_none_or(|superblock| superblock.is_complete);
            if !is_complete && intent.is_recorded(device) {
                return Ok(Decision::MakeAgain);
            }
            if !is_complete {
                return Err(Error::precondition(format!(
                    "{name} holds an unfinished {found} file system, and it was not this node \
                     that began it"
                ))
                .with_hint(
                    "if nothing on it is needed, erase it with `wipefs --all` and `blkdiscard`",
                ));
            }
            // Of whatever type: whether it is one that can be mounted is the mount's to say.
            Ok(Decision::Done)
        }
        Signature::Other(what) => Err(Error::precondition(format!(
            "{name} holds {what}; it is not formatted with {fs_type}"
        ))
        .with_hint(
            "if nothing on it is needed, erase it with `wipefs --all` and `blkdiscard`, or use \
             another volume",
        )),
        Signature::Nothing if device != disk => Err(Error::precondition(format!(
            "the only partition of {}, {name}, holds no file system",
            disk.path.display()
        ))
        .with_hint("partitions are used as they are, never formatted")),
        // Decided anew once it is locked; then the disk is read.
        Signature::Nothing if !intent.is_locked() => Ok(Decision::Make),
        Signature::Nothing => match probe::find_data(context, device)? {
            None => Ok(Decision::Make),
            Some(_) if intent.proves_leftovers(device) => Ok(Decision::MakeAgain),
            Some(offset) => Err(not_blank(device, offset, intent)),
        },
    }
}

fn not_blank(device: &Device, offset: u64, intent: &FormatIntent) -> Error {
    let begun = if intent.is_recorded(device) {
        " (a format was begun here before the node restarted or the disk was detached, but the \
         disk may have been used elsewhere since)"
    } else {
        ""
    };
    Error::precondition(format!(
        "{} is not blank: no file system is recognised, but there is data at byte \
         {offset}{begun}; it is not formatted",
        device.path.display()
    ))
    .with_hint(
        "if nothing on it is needed, make it blank with `blkdiscard --zeroout` (or `dd \
         if=/dev/zero`), or use another volume",
    )
}

fn make(
    context: &NodeContext,
    device: &Device,
    fs_type: &str,
    arguments: Vec<String>,
    mut intent: FormatIntent,
) -> Result<(), Error> {
    let options = &context.options;
    probe::check_unused(device, &options.sysfs)?;
    let input = intent.record(device, fs_type)?;
    let name = format!("mkfs.{fs_type}");
    let arguments = arguments
        .into_iter()
        .map(OsString::from)
        .chain([device.path.as_os_str().to_owned()])
        .collect();
    let package = if fs_type == "xfs" { "xfsprogs" } else { "e2fsprogs" };
    let finished = context.programs.run(Program {
        name: &name,
        package,
        arguments,
        bound: options.bounds.format,
        input: Some(input),
    })?;
    if finished.code != Some(0) {
        return Err(Error::internal(format!(
            "{name} {} on {}: {}",
            finished.ending(),
            device.path.display(),
            finished.report
        )));
    }
    tracing::info!(device = %device.path.display(), fs_type, "formatted a blank device");
    intent.clear()
}

/// mkfs asks, or refuses, when it sees its own leftovers.
fn with_force(fs_type: &str, arguments: &[String]) -> Vec<String> {
    let force = if fs_type == "xfs" { "-f" } else { "-F" };
    let mut arguments = arguments.to_vec();
    if !arguments.iter().any(|argument| argument == force) {
        arguments.insert(0, force.to_owned());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_or_must_not_be_made_is_refused_by_its_kind() {
        let check = |fs_type: &str, arguments: &[&str]| {
            check_arguments(
                fs_type,
                &arguments.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>(),
            )
        };
        assert!(check("xfs", &["-f"]).is_ok());
        for (fs_type, arguments, kind) in [
            ("btrfs", [].as_slice(), ErrorKind::Unsupported),
            ("ext4", &["-d", "/root"], ErrorKind::PermissionDenied),
            ("ext4", &["-F"; 65], ErrorKind::InvalidArgument),
        ] {
            assert_eq!(check(fs_type, arguments).unwrap_err().kind, kind, "{fs_type}");
        }
    }
}
