//! Grows a file system to the size of its device. Reads the superblock first, so that nothing is
//! started when there is nothing to grow.

use std::ffi::OsString;
use std::path::Path;

use rustix::thread::CapabilitySet;
use wharf_core::policy::NodePolicy;
use wharf_core::{Blame, Error, ErrorKind};

use crate::context::NodeContext;
use crate::disk::device::Device;
use crate::disk::probe;
use crate::disk::superblock::{Family, Superblock};
use crate::disk::{check, file_system};
use crate::mounts::table::{Entry, MountTable};
use crate::program::Program;

/// Grows before the mount what this process may not grow after it. Mounted, ext2 to ext4 grow at
/// once, but the kernel asks for CAP_SYS_RESOURCE; unmounted they are checked as a whole first,
/// which takes minutes on a large disk. So this is for where the capability is missing.
///
/// # Errors
/// `FailedPrecondition` when the check finds what a person must decide about.
pub(crate) fn before_mount(context: &NodeContext, device: &Device) -> Result<(), Error> {
    if may_grow_mounted_ext() || MountTable::read()?.of_device(device.number).next().is_some() {
        return Ok(());
    }
    match probe::read_superblock(context, device)? {
        Some(superblock) if superblock.family == Family::Ext && has_room(device, &superblock)? => {
            resize_unmounted_ext(context, device)
        }
        Some(_) | None => Ok(()),
    }
}

/// Grows what is on the disk, preferably through its mount at `destination`. Large enough already:
/// nothing is done. A file system that is mounted read-only is left for the next mount that writes.
///
/// # Errors
/// `FailedPrecondition` when there is no file system that can be grown: XFS must be mounted for it,
/// and ext2 to ext4 must not be when the capability is missing.
pub(crate) fn run(
    context: &NodeContext,
    policy: &NodePolicy,
    disk: &Device,
    destination: &Path,
) -> Result<(), Error> {
    let device = disk.adopt_partition(&context.options.sysfs)?;
    if device != *disk {
        warn_of_room_behind(disk, &device)?;
    }
    let Some(superblock) = probe::read_superblock(context, &device)? else {
        return Err(Error::precondition(format!(
            "{} holds no file system that can be grown",
            device.path.display()
        ))
        .with_hint("ext2, ext3, ext4 and xfs can"));
    };
    file_system::check_granted(policy, superblock.family)?;
    if !has_room(&device, &superblock)? {
        return Ok(());
    }
    let table = MountTable::read()?;
    let mounts: Vec<&Entry> = table.of_device(device.number).collect();
    if mounts.iter().any(|entry| entry.is_file_system_read_only()) {
        tracing::warn!(device = %device.path.display(), "the file system is mounted read-only and is not grown");
        return Ok(());
    }
    let is_writable = |entry: &&&Entry| !entry.is_read_only_here();
    let writable = mounts
        .iter()
        .find(|entry| entry.mount_point == destination && is_writable(entry))
        .or_else(|| mounts.iter().find(is_writable));
    match (superblock.family, writable) {
        (Family::Ext, Some(_)) if may_grow_mounted_ext() => resize_ext(context, &device),
        (Family::Ext, Some(entry)) => Err(Error::new(
            ErrorKind::FailedPrecondition,
            Blame::Host,
            format!(
                "the file system on {} is mounted at {}, and this process may not grow it there",
                device.path.display(),
                entry.mount_point.display()
            ),
        )
        .with_hint(
            "it grows when it is staged the next time; give the container CAP_SYS_RESOURCE (a \
             privileged one has it) to grow it in use",
        )),
        (Family::Ext, None) => resize_unmounted_ext(context, &device),
        (Family::Xfs, Some(entry)) => start(
            context,
            "xfs_growfs",
            "xfsprogs",
            vec!["-d".into(), entry.mount_point.as_os_str().to_owned()],
            &device,
        ),
        (Family::Xfs, None) => Err(Error::new(
            ErrorKind::FailedPrecondition,
            Blame::Backend,
            format!(
                "the xfs file system on {} is not mounted, and xfs grows only while it is",
                device.path.display()
            ),
        )
        .with_hint("a plan has to mount xfs before it grows it")),
    }
}

fn has_room(device: &Device, superblock: &Superblock) -> Result<bool, Error> {
    Ok(device.bytes()? >= superblock.bytes.saturating_add(superblock.block_bytes))
}

/// Partition tables are a person's business.
fn warn_of_room_behind(disk: &Device, partition: &Device) -> Result<(), Error> {
    /// Partitions begin and end at MiB; tables and alignment take less than this.
    const SLACK_BYTES: u64 = 4 * 1024 * 1024;
    if disk.bytes()? > partition.bytes()?.saturating_add(SLACK_BYTES) {
        tracing::warn!(disk = %disk.path.display(), partition = %partition.path.display(), "the disk is larger than its partition; `growpart` makes use of it");
    }
    Ok(())
}

/// Of this thread; it is the kernel that has the last word, for inside a user namespace it may
/// still refuse.
fn may_grow_mounted_ext() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|has| has.effective.contains(CapabilitySet::SYS_RESOURCE))
}

fn resize_unmounted_ext(context: &NodeContext, device: &Device) -> Result<(), Error> {
    check::before_resize(context, device)?;
    resize_ext(context, device)
}

fn resize_ext(context: &NodeContext, device: &Device) -> Result<(), Error> {
    start(context, "resize2fs", "e2fsprogs", vec![device.path.as_os_str().to_owned()], device)
}

fn start(
    context: &NodeContext,
    name: &str,
    package: &str,
    arguments: Vec<OsString>,
    device: &Device,
) -> Result<(), Error> {
    let finished = context.programs.run(Program {
        name,
        package,
        arguments,
        bound: context.options.bounds.grow,
        input: None,
    })?;
    if finished.code == Some(0) {
        tracing::info!(device = %device.path.display(), "grew the file system");
        return Ok(());
    }
    Err(Error::internal(format!(
        "{name} {} on {}: {}",
        finished.ending(),
        device.path.display(),
        finished.report
    )))
}
