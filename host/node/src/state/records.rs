//! Stage records: one small file for each volume, `<state>/volumes/<driver>/<volume>.json`, which
//! an administrator can read with `cat`.
//!
//! A record is replaced by rename, so a reader sees the old one or the new one, whoever is killed.
//! What cannot be read is an error that names the file: taking it for "no record" would forget a
//! volume.
//!
//! Writing one does not wait for the disk. After a crash of the machine an older record, or none,
//! is as good: nothing is mounted then, kubelet stages and publishes anew, and wherever a record
//! and the mount table differ the table wins. What such a crash leaves of one that had not reached
//! the disk is no record. Forgetting one does wait: it would name a disk that is another volume's
//! by then.

use std::fs;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use wharf_core::Error;
use wharf_core::ports::StageRecord;
use wharf_core::types::VolumeId;
use wharf_files::{FileError, OwnDirectory};

use crate::state::record_name::file_name;

/// Records are a few KiB; a larger file is not one.
const MAX_RECORD_BYTES: u64 = 1024 * 1024;
/// Format and boot are in these, far less than the smallest block of a file system.
const HEAD_BYTES: usize = 256;
/// The layout of the file. A newer one is refused, not guessed.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    format: u32,
    /// Which life of the machine wrote it. In front, where [`is_left_by_a_crash`] looks for it.
    #[serde(default)]
    boot: String,
    record: StageRecord,
}

/// The directory of records.
#[derive(Debug)]
pub(crate) struct Records {
    state: OwnDirectory,
    volumes: PathBuf,
}

impl Records {
    /// Looks at nothing yet.
    pub fn new(state: &Path) -> Self {
        Self { state: OwnDirectory::new(state), volumes: state.join("volumes") }
    }

    /// The record of a volume.
    pub fn load(&self, driver: &str, volume: &VolumeId) -> Result<Option<StageRecord>, Error> {
        let path = self.path(driver, volume);
        let record = self.read(&path)?;
        match record {
            Some(record) if record.driver != driver || record.volume != *volume => {
                Err(corrupt(&path, "it belongs to another volume"))
            }
            record => Ok(record),
        }
    }

    /// Every record of a driver.
    pub fn of_driver(&self, driver: &str) -> Result<Vec<StageRecord>, Error> {
        let files = files(&self.volumes.join(file_name(driver)))?;
        files.iter().filter_map(|path| self.read(path).transpose()).collect()
    }

    /// Every record that can be read, of every driver. What cannot be read is logged: one damaged
    /// file must not keep every other volume from being used.
    pub fn readable(&self) -> Result<Vec<StageRecord>, Error> {
        let mut records = Vec::new();
        for driver in directories(&self.volumes)? {
            for path in files(&driver)? {
                match self.read(&path) {
                    Ok(record) => records.extend(record),
                    Err(error) => tracing::warn!(%error, "a record is passed over"),
                }
            }
        }
        Ok(records)
    }

    /// The first record that `matches`. One that cannot be read is an error only when no other
    /// matches: it may have been the one.
    pub fn find(
        &self,
        matches: impl Fn(&StageRecord) -> bool,
    ) -> Result<Option<StageRecord>, Error> {
        let mut unreadable = None;
        for driver in directories(&self.volumes)? {
            for path in files(&driver)? {
                match self.read(&path) {
                    Ok(Some(record)) if matches(&record) => return Ok(Some(record)),
                    Ok(_) => {}
                    Err(error) => unreadable = Some(error),
                }
            }
        }
        unreadable.map_or(Ok(None), Err)
    }

    /// Writes the record. The caller holds its lock.
    pub fn save(&self, record: &StageRecord) -> Result<(), Error> {
        let path = self.path(&record.driver, &record.volume);
        let stored = Stored { format: FORMAT, boot: boot_id().to_owned(), record: record.clone() };
        let bytes = serde_json::to_vec_pretty(&stored).map_err(|error| {
            Error::internal(format!("cannot encode the record of {}: {error}", record.volume))
        })?;
        replace_for_this_boot(&self.state, &path, &bytes)
    }

    /// Removes the record; a missing one is fine.
    pub fn forget(&self, driver: &str, volume: &VolumeId) -> Result<(), Error> {
        forget(&self.path(driver, volume))
    }

    fn read(&self, path: &Path) -> Result<Option<StageRecord>, Error> {
        let Some(bytes) = read_bounded(&self.state, path)? else { return Ok(None) };
        let stored: Stored = match serde_json::from_slice(&bytes) {
            Ok(stored) => stored,
            Err(_) if is_left_by_a_crash(&bytes, boot_id()) => return Ok(None),
            Err(error) => return Err(corrupt(path, &error.to_string())),
        };
        if stored.format != FORMAT {
            return Err(corrupt(
                path,
                &format!("it has format {}, this build knows {FORMAT}", stored.format),
            ));
        }
        Ok(Some(stored.record))
    }

    fn path(&self, driver: &str, volume: &VolumeId) -> PathBuf {
        self.volumes.join(file_name(driver)).join(format!("{}.json", file_name(volume.as_str())))
    }
}

/// A state file's bytes; `None` when it is missing.
pub(crate) fn read_bounded(state: &OwnDirectory, path: &Path) -> Result<Option<Vec<u8>>, Error> {
    state.read(path, MAX_RECORD_BYTES).map_err(|error| match error {
        FileError::Io(error) => Error::internal(format!("cannot read {}: {error}", path.display())),
        FileError::Untrusted(untrusted) => untrustworthy(&untrusted),
        FileError::TooLarge { .. } => corrupt(path, "it is larger than any record"),
    })
}

/// What is written there may be somebody else's, so nothing is mounted because of it.
fn untrustworthy(untrusted: &wharf_files::Untrusted) -> Error {
    Error::precondition(format!("the state directory is not used: {untrusted}"))
}

fn corrupt(path: &Path, why: &str) -> Error {
    Error::internal(format!("the state file {} cannot be used: {why}", path.display())).with_hint(
        "if the volume it names is neither mounted nor in use on this node, delete the file; \
         otherwise unmount the volume by hand first, then delete it",
    )
}

/// Replaces a state file that says nothing to the machine's next life: a reader sees the old one or
/// the new one, and nobody waits for the disk.
pub(crate) fn replace_for_this_boot(
    state: &OwnDirectory,
    path: &Path,
    bytes: &[u8],
) -> Result<(), Error> {
    state.replace_for_this_boot(path, bytes).map_err(|error| cannot_write(path, error))
}

/// Which life of the machine this is; empty where the kernel does not say.
fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.map(|id| id.trim().to_owned()).unwrap_or_default()
    })
}

/// Whether bytes that are no record are what a crash of the machine leaves of one that had not
/// reached the disk: nothing, blocks of zeros, or the first blocks of what another boot wrote.
pub(crate) fn is_left_by_a_crash(bytes: &[u8], boot: &str) -> bool {
    let head = String::from_utf8_lossy(bytes.get(..HEAD_BYTES).unwrap_or(bytes));
    let written_by = head.split_once("\"boot\": \"").and_then(|(_, rest)| rest.split('"').next());
    bytes.iter().all(|byte| *byte == 0)
        || written_by.is_some_and(|other| !other.is_empty() && !boot.is_empty() && other != boot)
}

fn cannot_write(path: &Path, error: FileError) -> Error {
    match error {
        FileError::Untrusted(untrusted) => untrustworthy(&untrusted),
        error => Error::internal(format!("cannot write {}: {error}", path.display()))
            .with_hint("check `state` in the configuration, and that it is writable"),
    }
}

/// Removes a state file with what a killed writer left of the next one.
pub(crate) fn forget(path: &Path) -> Result<(), Error> {
    // In this order: were the other last, a kill in between would leave it for ever.
    remove(&wharf_files::beside(path))?;
    remove(path)
}

/// Removes a state file durably; a missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Ok(()) => sync(path.parent().unwrap_or(Path::new("/"))),
        Err(error) if error.kind() == IoKind::NotFound => Ok(()),
        Err(error) => Err(Error::internal(format!("cannot remove {}: {error}", path.display()))),
    }
}

/// Makes what a directory says survive a crash.
pub(crate) fn sync(directory: &Path) -> Result<(), Error> {
    wharf_files::sync(directory).map_err(|error| {
        Error::internal(format!("cannot write {} to disk: {error}", directory.display()))
    })
}

/// Makes a directory that only root may enter.
pub(crate) fn make_private_directory(path: &Path) -> Result<(), Error> {
    wharf_files::make_private_directory(path).map_err(|error| {
        Error::internal(format!("cannot make the state directory {}: {error}", path.display()))
            .with_hint("check `state` in the configuration, and that it is writable")
    })
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(list(path)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// The state files of a directory.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_record = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".json") && !name.starts_with('.')
    };
    Ok(list(path)?.into_iter().filter(is_record).collect())
}

fn list(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed =
        |error: std::io::Error| Error::internal(format!("cannot list {}: {error}", path.display()));
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == IoKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
