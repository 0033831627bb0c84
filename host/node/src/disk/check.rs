//! Checks and repairs a file system before it is mounted. XFS needs none: mounting replays its log,
//! and `xfs_repair` is a person's tool.

use std::ffi::OsString;

use wharf_core::Error;
use wharf_core::policy::NodePolicy;

use crate::context::NodeContext;
use crate::disk::device::Device;
use crate::disk::file_system::{self, is_same_family};
use crate::disk::probe::{self, Signature};
use crate::disk::superblock::Family;
use crate::mounts::table::MountTable;
use crate::program::{Finished, Program};

/// Repairs what is safe to repair. Mounted, blank, of another family than `fs_type` (empty: any) or
/// read-only: nothing is done.
///
/// # Errors
/// `FailedPrecondition` when errors remain that a person must decide about, or when the device
/// holds something besides the file system.
pub(crate) fn run(
    context: &NodeContext,
    policy: &NodePolicy,
    disk: &Device,
    fs_type: &str,
) -> Result<(), Error> {
    let sysfs = &context.options.sysfs;
    let device = disk.adopt_partition(sysfs)?;
    let is_mounted = MountTable::read()?.of_device(device.number).next().is_some();
    let is_read_only = std::fs::read_to_string(disk.sysfs(sysfs).join("ro"))
        .is_ok_and(|value| value.trim() == "1");
    if is_mounted || is_read_only {
        return Ok(());
    }
    if !holds_ext(context, &device, fs_type)? {
        return Ok(());
    }
    file_system::check_granted(policy, Family::Ext)?;
    check_ext(context, &device, None)
}

/// A whole check of a file system that is about to be resized while it is not mounted: resize2fs
/// insists on it.
///
/// # Errors
/// As [`run`]; also when the device holds something else.
pub(crate) fn before_resize(context: &NodeContext, device: &Device) -> Result<(), Error> {
    if holds_ext(context, device, "")? {
        return check_ext(context, device, Some("-f".into()));
    }
    Err(Error::precondition(format!(
        "{} holds no ext2, ext3 or ext4 file system",
        device.path.display()
    )))
}

/// Whether the device is an ext file system and nothing else. The superblock alone does not say so:
/// what was one before it became part of a RAID or a pool still has it, and e2fsck would write to
/// it. libblkid says "nothing" of a superblock that an e2fsck that was killed wrote by half.
///
/// # Errors
/// `FailedPrecondition` naming what is there besides.
fn holds_ext(context: &NodeContext, device: &Device, fs_type: &str) -> Result<bool, Error> {
    if probe::read_superblock(context, device)?
        .is_none_or(|superblock| superblock.family != Family::Ext)
    {
        return Ok(false);
    }
    match probe::probe(&context.programs, device, context.options.bounds.probe)? {
        Signature::Nothing => Ok(true),
        Signature::FileSystem(found) => Ok(is_same_family(&found, "ext4")
            && (fs_type.is_empty() || is_same_family(&found, fs_type))),
        Signature::Other(what) => Err(Error::precondition(format!(
            "{} looks like ext, but holds {what}; it is not checked",
            device.path.display()
        ))
        .with_hint(
            "find out which of the two it is (`wipefs` lists what is there), and use another \
             volume meanwhile",
        )),
    }
}

fn check_ext(context: &NodeContext, device: &Device, force: Option<OsString>) -> Result<(), Error> {
    let finished = e2fsck(context, device, force)?;
    if finished.code == Some(NOT_OPENED)
        && let Some(superblock) = probe::read_superblock(context, device)?
    {
        tracing::warn!(device = %device.path.display(), "the superblock cannot be used, trying its first copy: {}", finished.report);
        let repaired = e2fsck(context, device, first_copy(superblock.block_bytes))?;
        return judge(
            device,
            if repaired.code == Some(NOT_OPENED) { &finished } else { &repaired },
        );
    }
    judge(device, &finished)
}

/// e2fsck(8): an operational error, as when the superblock was half written by an earlier e2fsck
/// that was killed, and its checksum is wrong.
const NOT_OPENED: i32 = 8;

/// The options that name the first copy of the superblock: at the beginning of the second block
/// group, which has as many blocks as one block has bits. With blocks of 1 KiB the first group
/// begins at block 1.
fn first_copy(block_bytes: u64) -> [OsString; 4] {
    let block = block_bytes * 8 + u64::from(block_bytes == 1024);
    ["-b".into(), block.to_string().into(), "-B".into(), block_bytes.to_string().into()]
}

/// Repairs only what is safe without being asked (`-p`), whatever else is said.
fn e2fsck(
    context: &NodeContext,
    device: &Device,
    options: impl IntoIterator<Item = OsString>,
) -> Result<Finished, Error> {
    let arguments = ["-p".into()]
        .into_iter()
        .chain(options)
        .chain([device.path.as_os_str().to_owned()])
        .collect();
    context.programs.run(Program {
        name: "e2fsck",
        package: "e2fsprogs",
        arguments,
        bound: context.options.bounds.check,
        input: None,
    })
}

/// e2fsck(8): 1 errors corrected, 2 reboot (of a root file system), 4 errors left, 8 and above: it
/// could not do its work, as where the file system has a feature that is newer than the program. A
/// check that cannot be made says nothing about the file system: the kernel decides whether it
/// mounts it, as with kubelet's own mounts.
fn judge(device: &Device, finished: &Finished) -> Result<(), Error> {
    match finished.code {
        Some(0) => Ok(()),
        Some(1..=3) => {
            tracing::warn!(device = %device.path.display(), "e2fsck corrected errors: {}", finished.report);
            Ok(())
        }
        Some(4..=7) => Err(Error::precondition(format!(
            "the file system on {} has errors that are not repaired without being asked: {}",
            device.path.display(),
            finished.report
        ))
        .with_hint(format!(
            "take a snapshot of the volume, then run `e2fsck {}` on the node and answer its \
             questions",
            device.path.display()
        ))),
        Some(_) => {
            tracing::warn!(device = %device.path.display(), "e2fsck {} and the file system is not checked: {}", finished.ending(), finished.report);
            Ok(())
        }
        None => Err(Error::internal(format!(
            "e2fsck {} on {}: {}",
            finished.ending(),
            device.path.display(),
            finished.report
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_copy_of_a_superblock_is_where_mke2fs_puts_it() {
        assert_eq!(first_copy(4096), ["-b", "32768", "-B", "4096"]);
        assert_eq!(first_copy(1024), ["-b", "8193", "-B", "1024"]);
    }

    #[test]
    fn corrected_errors_and_checks_that_cannot_be_made_are_fine_and_remaining_ones_need_a_person() {
        let device = Device::named("/dev/vdz", "vdz", (1, 1), "");
        let judge =
            |code| judge(&device, &Finished { code, output: String::new(), report: "said".into() });
        for code in [0, 1, 2, 3, 8, 12, 16, 32, 128] {
            assert!(judge(Some(code)).is_ok(), "{code}");
        }
        for code in [4, 5, 6, 7] {
            assert_eq!(
                judge(Some(code)).unwrap_err().kind,
                wharf_core::ErrorKind::FailedPrecondition,
                "{code}"
            );
        }
        assert_eq!(judge(None).unwrap_err().kind, wharf_core::ErrorKind::Internal);
    }
}
