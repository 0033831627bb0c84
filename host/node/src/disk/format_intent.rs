//! Evidence that an interrupted mkfs was ours: the only thing that lets a device be formatted that
//! is not blank.
//!
//! Before mkfs starts, a small file says which device is about to be formatted; it is removed when
//! mkfs has come to its end. mkfs that is killed half-way leaves bytes that are nobody's data, and
//! without this file nothing could distinguish them from somebody's. The file counts only as long
//! as nobody else can have had the disk since: same boot, same attachment (the kernel's `diskseq`,
//! which no two attachments share). After a reboot, or once the disk was detached, it proves
//! nothing any more: the disk may have been on another node and carry data now. XFS is the
//! exception: its own superblock says `in progress` until mkfs is done, and was never mountable, so
//! there the file alone is enough.
//!
//! A file system that is recognised and complete is kept, whatever this file says: mke2fs writes
//! its superblock last and mkfs.xfs clears its `in progress` last, so a complete one was finished
//! before the kill.
//!
//! mkfs inherits the open, locked file as its standard input. It stays locked while that mkfs
//! lives, even if this process was killed, so a second mkfs is never started beside a first one.

use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wharf_core::Error;
use wharf_files::OwnDirectory;

use crate::disk::device::Device;
use crate::state::record_name::file_name;
use crate::state::records::{make_private_directory, read_bounded, remove, sync};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Every process that this one starts has all open files between fork and exec, and so this lock
/// too, for a moment. One that is held longer than these attempts take together (a second) is held
/// by mkfs.
const LOCK_ATTEMPTS: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    identity: String,
    fs_type: String,
    boot: String,
    attachment: String,
}

/// The file of one device, locked.
#[derive(Debug)]
pub(crate) struct FormatIntent {
    state: OwnDirectory,
    path: PathBuf,
    file: Option<File>,
    written: Option<Written>,
    boot: String,
    attachment: String,
}

impl FormatIntent {
    /// Looks for what an earlier mkfs of this device left, and locks it. Nothing is made where
    /// nothing was left: most devices hold a file system already.
    ///
    /// # Errors
    /// `Aborted` while that mkfs still runs.
    pub fn open(state: &Path, device: &Device, sysfs: &Path) -> Result<Self, Error> {
        let path = state.join("formats").join(format!("{}.json", file_name(&device.identity)));
        let boot =
            std::fs::read_to_string(BOOT_ID).map(|id| id.trim().to_owned()).unwrap_or_default();
        let mut intent = Self {
            state: OwnDirectory::new(state),
            path,
            file: None,
            written: None,
            boot,
            attachment: attachment(device, sysfs)?,
        };
        if intent.path.exists() {
            intent.lock(device)?;
        }
        Ok(intent)
    }

    /// Whether nobody else can format the device now.
    pub fn is_locked(&self) -> bool {
        self.file.is_some()
    }

    /// Whether a format of this device was begun here and not known to be finished.
    pub fn is_recorded(&self, device: &Device) -> bool {
        self.written.as_ref().is_some_and(|written| written.identity == device.identity)
    }

    /// Whether it was begun during this very attachment, so that what is on the device can only
    /// come from it.
    pub fn proves_leftovers(&self, device: &Device) -> bool {
        let is_same =
            |written: &Written| written.boot == self.boot && written.attachment == self.attachment;
        self.is_recorded(device)
            && !self.boot.is_empty()
            && !self.attachment.is_empty()
            && self.written.as_ref().is_some_and(is_same)
    }

    /// Writes the file, safely on disk, and hands out what mkfs is to inherit.
    pub fn record(&mut self, device: &Device, fs_type: &str) -> Result<File, Error> {
        let written = Written {
            identity: device.identity.clone(),
            fs_type: fs_type.to_owned(),
            boot: self.boot.clone(),
            attachment: self.attachment.clone(),
        };
        self.lock(device)?;
        let failed = |error: std::io::Error| {
            Error::internal(format!("cannot write {}: {error}", self.path.display()))
        };
        let bytes = serde_json::to_vec(&written)
            .map_err(|error| Error::internal(format!("cannot encode a format intent: {error}")))?;
        let file =
            self.file.as_mut().ok_or_else(|| Error::internal("the format intent is not open"))?;
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        if let Some(directory) = self.path.parent() {
            sync(directory)?;
        }
        self.written = Some(written);
        file.try_clone().map_err(failed)
    }

    /// mkfs came to its end, or what it left was recognised: the file has done its work.
    pub fn clear(self) -> Result<(), Error> {
        if self.file.is_some() { remove(&self.path) } else { Ok(()) }
    }

    /// No mkfs was begun: a file that was made for its lock alone is removed.
    pub fn clear_unwritten(self) -> Result<(), Error> {
        if self.written.is_none() { self.clear() } else { Ok(()) }
    }

    /// Keeps everybody else from formatting the device. What was decided before has to be decided
    /// anew.
    ///
    /// # Errors
    /// `Aborted` while a mkfs of it runs.
    pub fn lock(&mut self, device: &Device) -> Result<(), Error> {
        if self.file.is_some() {
            return Ok(());
        }
        if let Some(directory) = self.path.parent() {
            make_private_directory(directory)?;
        }
        for _ in 0..LOCK_ATTEMPTS {
            if let Some(file) = self.try_lock()? {
                self.file = Some(file);
                // What cannot be read was not finished before mkfs started: no evidence.
                self.written = read_bounded(&self.state, &self.path)?
                    .and_then(|bytes| serde_json::from_slice(&bytes).ok());
                return Ok(());
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Err(Error::aborted(format!(
            "a format of {} that was begun earlier is still running",
            device.path.display()
        ))
        .with_hint("it is tried again once it is done"))
    }

    fn try_lock(&self) -> Result<Option<File>, Error> {
        let failed = |error: std::io::Error| {
            Error::internal(format!("cannot open {}: {error}", self.path.display()))
        };
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Between opening and locking, the one who had it may have removed it.
        let is_same = file.metadata().ok().map(|ours| ours.ino())
            == self.path.metadata().ok().map(|theirs| theirs.ino());
        Ok(is_same.then_some(file))
    }
}

/// What no two attachments of a disk share during one boot: the kernel's sequence number, or,
/// before Linux 5.15, the device node's inode and its last change, which devtmpfs makes anew for
/// each. Where the node is not the kernel's own, a later change of it makes the evidence void,
/// which is the safe side.
fn attachment(device: &Device, sysfs: &Path) -> Result<String, Error> {
    if let Ok(sequence) = std::fs::read_to_string(device.sysfs(sysfs).join("diskseq")) {
        return Ok(format!("diskseq:{}", sequence.trim()));
    }
    let node = device.path.metadata().map_err(|error| {
        Error::internal(format!("cannot look at {}: {error}", device.path.display()))
    })?;
    Ok(format!("node:{}:{}:{}.{}", node.dev(), node.ino(), node.ctime(), node.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> (tempfile::TempDir, Device) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("sys/dev/block/1:3")).unwrap();
        std::fs::write(directory.path().join("sys/dev/block/1:3/diskseq"), "7\n").unwrap();
        (directory, Device::named("/dev/null", "vdx", (1, 3), "bp1"))
    }

    fn open(directory: &tempfile::TempDir, device: &Device) -> Result<FormatIntent, Error> {
        FormatIntent::open(&directory.path().join("state"), device, &directory.path().join("sys"))
    }

    #[test]
    fn nothing_is_proven_before_anything_was_begun() {
        let (directory, device) = fixture();
        let intent = open(&directory, &device).unwrap();
        assert!(!intent.is_recorded(&device) && !intent.proves_leftovers(&device));
        assert!(!directory.path().join("state").exists());
    }

    #[test]
    fn an_interrupted_format_is_proven_only_for_the_same_attachment() {
        let (directory, device) = fixture();
        drop(open(&directory, &device).unwrap().record(&device, "ext4").unwrap());
        assert!(open(&directory, &device).unwrap().proves_leftovers(&device));
        std::fs::write(directory.path().join("sys/dev/block/1:3/diskseq"), "8\n").unwrap();
        let later = open(&directory, &device).unwrap();
        assert!(later.is_recorded(&device) && !later.proves_leftovers(&device));
    }

    #[test]
    fn another_device_or_another_boot_proves_nothing() {
        let (directory, device) = fixture();
        drop(open(&directory, &device).unwrap().record(&device, "ext4").unwrap());
        let other = Device::named("/dev/null", "vdx", (1, 3), "bp2");
        assert!(!open(&directory, &other).unwrap().is_recorded(&other));
        let path = directory.path().join("state/formats/bp1.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let boot = std::fs::read_to_string(BOOT_ID).unwrap();
        std::fs::write(&path, text.replace(boot.trim(), "another-boot")).unwrap();
        assert!(!open(&directory, &device).unwrap().proves_leftovers(&device));
    }

    #[test]
    fn a_finished_format_leaves_nothing() {
        let (directory, device) = fixture();
        let mut intent = open(&directory, &device).unwrap();
        drop(intent.record(&device, "xfs").unwrap());
        intent.clear().unwrap();
        assert!(!open(&directory, &device).unwrap().is_recorded(&device));
    }

    #[test]
    fn a_file_that_was_cut_short_proves_nothing() {
        let (directory, device) = fixture();
        drop(open(&directory, &device).unwrap().record(&device, "ext4").unwrap());
        std::fs::write(directory.path().join("state/formats/bp1.json"), "{\"identity\":\"bp1\"")
            .unwrap();
        assert!(!open(&directory, &device).unwrap().is_recorded(&device));
    }

    #[test]
    fn while_the_inherited_file_is_open_no_second_format_begins() {
        let (directory, device) = fixture();
        let mut intent = open(&directory, &device).unwrap();
        let inherited = intent.record(&device, "ext4").unwrap();
        drop(intent);
        assert_eq!(open(&directory, &device).unwrap_err().kind, wharf_core::ErrorKind::Aborted);
        drop(inherited);
        assert!(open(&directory, &device).is_ok());
    }
}
