//! Whether a disk is free to be this volume. Plans come from backends, and a plan may name any disk
//! of the node; nothing is done to one before it was compared with what is in use here.
//!
//! A disk is a volume's own once the volume has it mounted, or shows it raw, at one of its recorded
//! paths: it was free when that was made. Beside that, only what follows from it is permitted:
//! other mounts under kubelet's root (pods show parts of a volume there) that are no path of
//! another volume, and what a workload has built on a raw device that it was given. Any other use
//! refuses the disk: a mount anywhere else, of the disk, of a partition, or of what the kernel has
//! built on them (device mapper, md), such a holder itself, swap, another record with the same
//! serial. Where the volume has no own mount yet, the disk is opened exclusively, which the kernel
//! also refuses for uses that are not seen here (another mount namespace).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use wharf_core::Error;
use wharf_core::plan::{DeviceMatch, FindDevice};

use crate::context::NodeContext;
use crate::disk::device::{Device, kernel_name};
use crate::disk::probe;
use crate::mounts::table::{Entry, MountTable};

/// Device mapper on md on partitions is three; a chain that is longer has a loop.
const MAX_LEVELS: usize = 8;
/// What the node swaps to (proc(5)).
const SWAPS: &str = "/proc/swaps";

type DeviceNumber = (u32, u32);

/// What the records say of disks and paths: of the volume that a disk is for, and of the others.
#[derive(Debug, Default)]
pub(crate) struct RecordedUses {
    /// The volume's own paths, as the mount table spells them: those of its record and of the call.
    pub paths: Vec<PathBuf>,
    /// Serials of the disks that other volumes are, with those volumes' names.
    pub others: Vec<(String, String)>,
    /// Paths of other volumes, as the mount table spells them.
    pub other_paths: Vec<PathBuf>,
}

/// Refuses a disk that is not free to be this volume. Touches nothing.
///
/// # Errors
/// `FailedPrecondition` or `PermissionDenied` saying what it is in use for.
pub(crate) fn check(
    context: &NodeContext,
    device: &Device,
    wanted: &FindDevice,
    recorded_uses: &RecordedUses,
) -> Result<(), Error> {
    check_pattern(context, device)?;
    check_proof(device, wanted)?;
    check_records(device, recorded_uses)?;
    let table = MountTable::read()?;
    check_protected(context, device, &table)?;
    check_users(context, device, recorded_uses, &table)
}

/// The operator may say which devices can be volumes at all.
fn check_pattern(context: &NodeContext, device: &Device) -> Result<(), Error> {
    let patterns = &context.options.devices;
    let path = device.path.to_string_lossy();
    let matches = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == *pattern,
    };
    if patterns.is_empty() || patterns.iter().any(matches) {
        return Ok(());
    }
    Err(Error::denied(format!("{path} is none of the devices that volumes may be"))
        .with_hint("an administrator can add it to `devices` of the `node` section"))
}

/// A link proves nothing about a disk that reports its own identity.
fn check_proof(device: &Device, wanted: &FindDevice) -> Result<(), Error> {
    let is_proven = wanted
        .matches
        .iter()
        .any(|wanted| matches!(wanted, DeviceMatch::Serial(_) | DeviceMatch::Wwn(_)));
    match &device.serial {
        Some(serial) if !is_proven => Err(Error::precondition(format!(
            "{} reports the serial `{serial}`, and the plan asks for none",
            device.path.display()
        ))
        .with_hint("a link or a unit number is believed about disks without a serial only")),
        Some(_) | None => Ok(()),
    }
}

fn check_records(device: &Device, recorded_uses: &RecordedUses) -> Result<(), Error> {
    let Some(serial) = &device.serial else { return Ok(()) };
    match recorded_uses.others.iter().find(|(other, _)| other == serial) {
        Some((_, volume)) => Err(Error::precondition(format!(
            "{} (serial {serial}) is volume {volume} on this node",
            device.path.display()
        ))
        .with_hint("a disk is one volume at a time; unstage the other first")),
        None => Ok(()),
    }
}

/// The disks that the node itself lives on are never a volume, however they are mounted.
fn check_protected(
    context: &NodeContext,
    device: &Device,
    table: &MountTable,
) -> Result<(), Error> {
    let sysfs = &context.options.sysfs;
    let own = with_holders(sysfs, device.number);
    let roots = context.options.roots.iter();
    for path in [Path::new("/"), &context.options.state_directory]
        .into_iter()
        .chain(roots.map(PathBuf::as_path))
    {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let Some(entry) = table.covering(&path) else { continue };
        let by_source = Device::at(Path::new(&entry.source), "", sysfs).ok().flatten();
        let numbers = by_source.map(|source| source.number).into_iter().chain([entry.device]);
        if numbers.into_iter().any(|number| own.contains(&number)) {
            return Err(Error::precondition(format!(
                "{} is what {} of this node lies on",
                device.path.display(),
                path.display()
            ))
            .with_hint("it is never used as a volume"));
        }
    }
    Ok(())
}

fn check_users(
    context: &NodeContext,
    device: &Device,
    recorded_uses: &RecordedUses,
    table: &MountTable,
) -> Result<(), Error> {
    let sysfs = &context.options.sysfs;
    let numbers = with_holders(sysfs, device.number);
    let device_nodes: Vec<PathBuf> = numbers
        .iter()
        .filter_map(|number| kernel_name(sysfs, *number))
        .map(|name| Path::new("/").join(name))
        .collect();
    let is_user = |entry: &&Entry| {
        numbers.contains(&entry.device)
            || (entry.fs_type == "devtmpfs" && device_nodes.contains(&entry.root))
    };
    let is_own = |entry: &&Entry| {
        recorded_uses.paths.contains(&entry.mount_point)
            && (entry.root == Path::new("/") || entry.fs_type == "devtmpfs")
    };
    let users: Vec<&Entry> = table.entries().iter().filter(is_user).collect();
    let own: Vec<&Entry> = users.iter().copied().filter(is_own).collect();
    let foreign = match own.as_slice() {
        [] => users.first().copied(),
        _ => foreign_user(context, recorded_uses, table, &users, &own),
    };
    if let Some(user) = foreign {
        return Err(Error::precondition(format!(
            "{} is in use at {}, which is no path of this volume",
            device.path.display(),
            user.mount_point.display()
        ))
        .with_hint("another volume, or the node itself, uses this disk; it is left alone"));
    }
    if own.is_empty() {
        return probe::check_unused(device, sysfs);
    }
    check_no_swap(device, &device_nodes)?;
    // A workload may build what it likes on a raw device that it was given.
    if own.iter().any(|entry| entry.fs_type == "devtmpfs") {
        return Ok(());
    }
    check_no_holder(device, sysfs)
}

/// A use that does not follow from the volume's own ones.
fn foreign_user<'a>(
    context: &NodeContext,
    recorded_uses: &RecordedUses,
    table: &MountTable,
    users: &[&'a Entry],
    own: &[&Entry],
) -> Option<&'a Entry> {
    let is_permitted = |entry: &Entry| {
        own.iter().any(|own| own.id == entry.id)
            || (context.roots.contain(&entry.mount_point)
                && !recorded_uses.other_paths.contains(&entry.mount_point))
    };
    // Where kubelet's root is itself a mount of another directory, every mount in the one shows in
    // the other as well.
    let passing = users.iter().filter(|entry| is_permitted(entry));
    let locations: Vec<_> = passing.filter_map(|entry| table.location_of(entry)).collect();
    users.iter().copied().find(|entry| {
        !is_permitted(entry)
            && table.location_of(entry).is_none_or(|location| !locations.contains(&location))
    })
}

/// `device_nodes`: the names of the device and of what lies on it, each after a slash.
fn check_no_swap(device: &Device, device_nodes: &[PathBuf]) -> Result<(), Error> {
    let table = swap_table(Path::new(SWAPS))?;
    match swaps(&table).find(|swap| {
        device_nodes.iter().any(|device_node| device_node.file_name() == swap.file_name())
    }) {
        Some(swap) => Err(Error::precondition(format!(
            "{} is in use: the node swaps to {}",
            device.path.display(),
            swap.display()
        ))
        .with_hint("it is left alone; `swapoff` ends that use")),
        None => Ok(()),
    }
}

/// The kernel's table of swap; empty where the kernel has none, and so no such file.
fn swap_table(path: &Path) -> Result<String, Error> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(|error| {
            Error::internal(format!(
                "cannot read {}, so it is not known what the node swaps to: {error}",
                path.display()
            ))
            .with_hint("no disk is used before that is known; look at how /proc is mounted")
        }),
    }
}

/// Devices in the kernel's table of swap. A swap file is no use of a device, but of a file system.
fn swaps(table: &str) -> impl Iterator<Item = &Path> {
    table.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "partition").then(|| Path::new(path))
    })
}

fn check_no_holder(device: &Device, sysfs: &Path) -> Result<(), Error> {
    match device.holders_of_all(sysfs).first() {
        Some(holder) => Err(Error::precondition(format!(
            "{} is in use by {holder} (device mapper or md), beside the mount of this volume",
            device.path.display()
        ))
        .with_hint("it is left alone; `lsblk` shows what that is")),
        None => Ok(()),
    }
}

/// A device, its partitions, and everything that the kernel has built on them (sysfs: `holders`).
fn with_holders(sysfs: &Path, number: DeviceNumber) -> BTreeSet<DeviceNumber> {
    let mut found = BTreeSet::from([number]);
    let mut level = vec![number];
    for _ in 0..MAX_LEVELS {
        let next: Vec<DeviceNumber> = level
            .iter()
            .flat_map(|number| {
                let directory = sysfs.join(format!("dev/block/{}:{}", number.0, number.1));
                let is_partition = |entry: &PathBuf| entry.join("partition").exists();
                let partitions = entries(&directory).filter(is_partition);
                partitions.chain(entries(&directory.join("holders"))).collect::<Vec<_>>()
            })
            .filter_map(|entry| read_number(&entry.join("dev")))
            .filter(|number| found.insert(*number))
            .collect();
        if next.is_empty() {
            break;
        }
        level = next;
    }
    found
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let read = std::fs::read_dir(directory).into_iter().flatten();
    read.filter_map(Result::ok).map(|entry| entry.path())
}

fn read_number(file: &Path) -> Option<DeviceNumber> {
    let text = std::fs::read_to_string(file).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_the_node_swaps_to_are_known_and_files_are_none() {
        let table = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
                     /dev/dm-1                               partition\t16380\t\t0\t\t-2\n\
                     /swapfile                               file\t\t16380\t\t0\t\t-3\n";
        assert_eq!(swaps(table).collect::<Vec<_>>(), [Path::new("/dev/dm-1")]);
        assert_eq!(swaps("").count(), 0);
    }

    #[test]
    fn only_a_missing_table_means_that_there_is_no_swap() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("swaps");
        assert_eq!(swap_table(&file).unwrap(), "");
        std::fs::write(&file, "Filename\n").unwrap();
        assert_eq!(swap_table(&file).unwrap(), "Filename\n");
        // Any other failure leaves it open.
        let refused = swap_table(directory.path()).unwrap_err();
        assert!(refused.message.contains("not known what the node swaps to"), "{refused}");
    }

    #[test]
    fn partitions_and_what_is_built_on_them_belong_to_a_disk() {
        let directory = tempfile::tempdir().unwrap();
        let sysfs = directory.path();
        let device = |number: &str, below: &str, is_partition: bool| {
            let path = sysfs.join(below);
            std::fs::create_dir_all(path.join("holders")).unwrap();
            std::fs::write(path.join("dev"), format!("{number}\n")).unwrap();
            if is_partition {
                std::fs::write(path.join("partition"), "1\n").unwrap();
            }
            std::fs::create_dir_all(sysfs.join("dev/block")).unwrap();
            std::os::unix::fs::symlink(&path, sysfs.join("dev/block").join(number)).unwrap();
            path
        };
        device("8:0", "sda", false);
        device("8:1", "sda/sda1", true);
        let part = device("8:2", "sda/sda2", true);
        let mapped = device("253:0", "dm-0", false);
        let array = device("9:0", "md0", false);
        device("8:16", "sdb", false);
        std::os::unix::fs::symlink(&mapped, part.join("holders/dm-0")).unwrap();
        std::os::unix::fs::symlink(&array, mapped.join("holders/md0")).unwrap();
        // A loop, which no kernel makes, ends.
        std::os::unix::fs::symlink(&mapped, array.join("holders/dm-0")).unwrap();
        assert_eq!(
            with_holders(sysfs, (8, 0)),
            BTreeSet::from([(8, 0), (8, 1), (8, 2), (253, 0), (9, 0)])
        );
        assert_eq!(with_holders(sysfs, (8, 16)), BTreeSet::from([(8, 16)]));
        assert_eq!(with_holders(sysfs, (8, 99)), BTreeSet::from([(8, 99)]));
    }
}
