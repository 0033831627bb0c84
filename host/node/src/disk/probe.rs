//! What is on a device, and whether it is provably blank.
//!
//! Blank means all of: libblkid (`blkid --probe`, the program, so that the libraries of the node
//! and its `blkid` agree) finds no file system, partition table, RAID, LVM, encryption or swap; the
//! first and the last 16 MiB are zero; so are 1023 places between them, 16 KiB each, evenly spaced;
//! and so are the places of backup superblocks. A disk that the cloud just made reads as zero
//! everywhere. Anything else is somebody's data until a person says otherwise.
//!
//! What this does not see: data that lies wholly between two places, as a raw volume may have that
//! was written here and there and whose beginning and end were left zero. A contiguous piece of
//! 1/1000 of the disk is always seen. Reading everything would take a large disk minutes to hours.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wharf_core::Error;
use wharf_core::ports::Call;

use crate::context::NodeContext;
use crate::disk::device::Device;
use crate::disk::superblock::{self, SUPERBLOCK_BYTES, Superblock};
use crate::program::{Program, Programs};

/// Every signature that matters lies in the first or the last MiB (superblocks, tables, LVM, md,
/// LUKS, ZFS labels in part), and databases that use a raw device begin and end within these.
const EDGE_BYTES: usize = 16 * 1024 * 1024;
/// Read at once; bounds memory.
const PIECE_BYTES: usize = 1024 * 1024;
static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
/// The disk is cut into so many parts, and each part's beginning is read: with the edges 48 MiB, a
/// second or two on a cloud disk, once in its life.
const SAMPLES: u64 = 1024;
const SAMPLE_BYTES: usize = 16 * 1024;
/// Where ext4 with 1, 2 and 4 KiB blocks keeps its first copy of a lost superblock.
const EXT_BACKUPS: [u64; 3] = [8193 * 1024, 16384 * 2048, 32768 * 4096];

/// Attempts to open a disk exclusively: programs that look at new disks have them open for a
/// moment. Who still has one open after two seconds uses it.
const EXCLUSIVE_ATTEMPTS: u32 = 100;
const EXCLUSIVE_PAUSE: Duration = Duration::from_millis(20);

/// What libblkid sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signature {
    /// Nothing that it knows.
    Nothing,
    /// A file system of this type.
    FileSystem(String),
    /// A partition table, a RAID member, encryption, swap, …: in words.
    Other(String),
}

/// Asks libblkid.
pub(crate) fn probe(
    programs: &Programs,
    device: &Device,
    bound: Duration,
) -> Result<Signature, Error> {
    let arguments = ["--probe", "--output", "export"]
        .iter()
        .map(Into::into)
        .chain([device.path.as_os_str().to_owned()])
        .collect();
    let finished = programs.run(Program {
        name: "blkid",
        package: "util-linux",
        arguments,
        bound,
        input: None,
    })?;
    match finished.code {
        Some(0) => Ok(read_export(&finished.output)),
        // Also said when the device cannot be read; then there is an error message.
        Some(2) if finished.report.is_empty() => Ok(Signature::Nothing),
        Some(8) => Err(Error::precondition(format!(
            "{} has signatures of more than one file system or table: {}",
            device.path.display(),
            finished.report
        ))
        .with_hint(
            "look with `wipefs` which one is right, and erase the others; it is neither formatted \
             nor mounted as it is",
        )),
        _ => Err(Error::internal(format!(
            "blkid {} on {}: {}",
            finished.ending(),
            device.path.display(),
            finished.report
        ))),
    }
}

/// `KEY=VALUE` lines.
fn read_export(output: &str) -> Signature {
    let values: BTreeMap<_, _> = output.lines().filter_map(|line| line.split_once('=')).collect();
    match (values.get("TYPE"), values.get("USAGE"), values.get("PTTYPE")) {
        (Some(fs_type), Some(&"filesystem"), _) => Signature::FileSystem((*fs_type).to_owned()),
        (Some(other), usage, _) => {
            Signature::Other(format!("{other} ({})", usage.unwrap_or(&"other")))
        }
        (None, _, Some(table)) => Signature::Other(format!("a partition table ({table})")),
        // Of a partition blkid says where it lies in its table, which says nothing about what is in
        // it.
        (None, None, None)
            if values.contains_key("PART_ENTRY_NUMBER")
                && values.keys().all(|key| *key == "DEVNAME" || key.starts_with("PART_ENTRY_")) =>
        {
            Signature::Nothing
        }
        (None, ..) => Signature::Other("something that blkid names no type for".to_owned()),
    }
}

/// Says where a device is not zero; `None` when everything that was read is.
///
/// # Errors
/// `Unavailable` when the disk hangs.
pub(crate) fn find_data(context: &NodeContext, device: &Device) -> Result<Option<u64>, Error> {
    reading(context, device, first_data)
}

/// Opens, reads and closes the device in a process of its own: a disk that hangs never answers.
fn reading<T: Serialize + DeserializeOwned>(
    context: &NodeContext,
    device: &Device,
    read: impl FnOnce(&File) -> std::io::Result<T>,
) -> Result<T, Error> {
    let call = Call::until(context.clock.now() + context.options.bounds.probe);
    let work = format!("reading {}", device.path.display());
    let read = context.ask_kernel(&call, &work, &[], || {
        let read = File::open(&device.path).and_then(|file| {
            // The kernel reads nothing ahead, which would be several times what is asked for. Where
            // the advice is not taken, reading is slower and nothing else.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random);
            read(&file)
        });
        read.map_err(|error| error.raw_os_error().unwrap_or_default())
    })?;
    read.map_err(|error| device.failed("read", &std::io::Error::from_raw_os_error(error)))
}

fn first_data(mut device: &File) -> std::io::Result<Option<u64>> {
    let size = device.seek(SeekFrom::End(0))?;
    let edge = u64::try_from(EDGE_BYTES).unwrap_or(u64::MAX);
    let step = (size / SAMPLES).max(1);
    let piece = |from: u64| {
        (0..EDGE_BYTES / PIECE_BYTES).map(move |index| {
            let offset = u64::try_from(index * PIECE_BYTES).unwrap_or(u64::MAX);
            (from.saturating_add(offset), PIECE_BYTES)
        })
    };
    let samples =
        (1..SAMPLES).map(|index| index * step).chain(EXT_BACKUPS).map(|at| (at, SAMPLE_BYTES));
    for (offset, length) in piece(0)
        .chain(piece(size.saturating_sub(edge)))
        .chain(samples)
        .filter(|(offset, _)| *offset < size)
    {
        let bytes = read_at(device, offset, length)?;
        // Compared as a whole, which costs nothing also where the compiler does not optimise.
        if ZEROS.get(..bytes.len()) == Some(bytes.as_slice()) {
            continue;
        }
        if let Some(position) = bytes.iter().position(|byte| *byte != 0) {
            return Ok(Some(offset + u64::try_from(position).unwrap_or_default()));
        }
    }
    Ok(None)
}

/// Reads `length` bytes at `offset`, fewer at the device's end.
fn read_at(device: &File, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match device.read_at(rest, at) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The superblock of an ext or XFS file system.
///
/// # Errors
/// `Unavailable` when the disk hangs.
pub(crate) fn read_superblock(
    context: &NodeContext,
    device: &Device,
) -> Result<Option<Superblock>, Error> {
    let head = reading(context, device, |file| read_at(file, 0, SUPERBLOCK_BYTES))?;
    Ok(superblock::parse(&head))
}

/// Fails when anything holds the device: a mount, device mapper, md, swap, another program that
/// wants it alone.
pub(crate) fn check_unused(device: &Device, sysfs: &Path) -> Result<(), Error> {
    for _ in 0..EXCLUSIVE_ATTEMPTS {
        if is_free(&device.path)? {
            return Ok(());
        }
        std::thread::sleep(EXCLUSIVE_PAUSE);
    }
    let holders = device.holders(sysfs);
    let by = if holders.is_empty() { String::new() } else { format!(" by {}", holders.join(", ")) };
    Err(Error::precondition(format!("{} is in use{by}", device.path.display())).with_hint(
        "a device in use is left alone; find out who uses it (`lsblk`, `swapon`, a mount in \
             another mount namespace)",
    ))
}

/// Whether nobody holds the device at this moment.
pub(crate) fn is_free(device: &Path) -> Result<bool, Error> {
    use rustix::fs::{CWD, Mode, OFlags};
    match rustix::fs::openat(
        CWD,
        device,
        OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC,
        Mode::empty(),
    ) {
        Ok(_) => Ok(true),
        Err(rustix::io::Errno::BUSY) => Ok(false),
        Err(error) => Err(Error::internal(format!("cannot open {}: {error}", device.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_system_is_a_file_system() {
        let read = |text: &str| read_export(text);
        assert_eq!(
            read("DEVNAME=/dev/vdb\nUUID=1\nTYPE=ext4\nUSAGE=filesystem\n"),
            Signature::FileSystem("ext4".into())
        );
        assert_eq!(
            read("TYPE=xfs\nUSAGE=filesystem\nPTTYPE=dos\n"),
            Signature::FileSystem("xfs".into())
        );
        for other in [
            "TYPE=swap\nUSAGE=other\n",
            "TYPE=crypto_LUKS\nUSAGE=crypto\n",
            "TYPE=LVM2_member\nUSAGE=raid\n",
            "TYPE=ext4\n",
            "PTTYPE=gpt\n",
            "PTTYPE=atari\n",
            "",
            "LABEL=x\n",
        ] {
            assert!(matches!(read(other), Signature::Other(_)), "{other}");
        }
        assert_eq!(
            read("DEVNAME=/dev/vdb1\nPART_ENTRY_SCHEME=dos\nPART_ENTRY_NUMBER=1\n"),
            Signature::Nothing
        );
    }
}
