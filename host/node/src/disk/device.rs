//! Block devices: found by the serial that the cloud gave them, never by a guess.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf_core::Error;

use crate::child::close_device;
use crate::state::lock::VolumeGuard;

/// A block device that is there.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    /// Its node (`/dev/vdb`), links resolved.
    pub path: PathBuf,
    /// What the kernel calls it (`vdb`).
    pub name: String,
    /// Major and minor number.
    pub number: (u32, u32),
    /// What it was looked for by: the serial, or a link's name where there is no serial.
    pub identity: String,
    /// The serial that it reports, where that was looked at.
    pub serial: Option<String>,
    /// Open since it was recognised. As long as it is, the kernel gives the device's name and
    /// number to no other disk, so what is done to the path is done to this one, however long
    /// this process was stopped in between.
    open: Option<Arc<OpenDevice>>,
}

/// An open device, and its lock.
#[derive(Debug)]
struct OpenDevice {
    file: Option<File>,
    guard: VolumeGuard,
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            close_device(file, self.guard.as_fd());
        }
    }
}

fn holders_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory.join("holders")).into_iter().flatten();
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Whether they are the same device, kept open or not.
impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
            && self.name == other.name
            && self.number == other.number
            && self.identity == other.identity
    }
}

impl Device {
    /// The block device behind a path, links followed; `None` when nothing is there.
    ///
    /// # Errors
    /// `FailedPrecondition` when something else than a block device under `/dev` is there.
    pub fn at(path: &Path, identity: &str, sysfs: &Path) -> Result<Option<Self>, Error> {
        let failed = |error: std::io::Error| {
            Error::internal(format!("cannot look at {}: {error}", path.display()))
        };
        let resolved = match path.canonicalize() {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let metadata = resolved.metadata().map_err(failed)?;
        if !resolved.starts_with("/dev") || !metadata.file_type().is_block_device() {
            return Err(Error::precondition(format!(
                "{} leads to {}, which is not a block device under /dev",
                path.display(),
                resolved.display()
            )));
        }
        let number = split_number(metadata.rdev());
        let name = kernel_name(sysfs, number).unwrap_or_else(|| {
            resolved.file_name().unwrap_or_default().to_string_lossy().into_owned()
        });
        Ok(Some(Self {
            path: resolved,
            name,
            number,
            identity: identity.to_owned(),
            serial: None,
            open: None,
        }))
    }

    /// The same device, kept open from now on. What it was recognised by has to be looked at again
    /// afterwards. `guard`: nobody else on this node decides about the device meanwhile, or opens
    /// it while it is still being closed.
    ///
    /// # Errors
    /// `Unavailable` when it is gone, or another one by now.
    pub fn keep_open(mut self, guard: VolumeGuard) -> Result<Self, Error> {
        let file = File::open(&self.path).map_err(|error| {
            Error::unavailable(format!(
                "{} was taken away at the same moment: {error}",
                self.path.display()
            ))
        })?;
        let number = file.metadata().map(|metadata| split_number(metadata.rdev()));
        if !number.is_ok_and(|number| number == self.number) {
            return Err(Error::unavailable(format!(
                "{} became another device at the same moment",
                self.path.display()
            )));
        }
        self.open = Some(Arc::new(OpenDevice { file: Some(file), guard }));
        Ok(self)
    }

    /// A device that is only talked about.
    #[cfg(test)]
    pub fn named(path: &str, name: &str, number: (u32, u32), identity: &str) -> Self {
        Self {
            path: path.into(),
            name: name.to_owned(),
            number,
            identity: identity.to_owned(),
            serial: None,
            open: None,
        }
    }

    /// The device's directory in sysfs.
    pub fn sysfs(&self, sysfs: &Path) -> PathBuf {
        sysfs.join(format!("dev/block/{}:{}", self.number.0, self.number.1))
    }

    /// Its size now.
    pub fn bytes(&self) -> Result<u64, Error> {
        File::open(&self.path)
            .and_then(|mut device| device.seek(SeekFrom::End(0)))
            .map_err(|error| self.failed("read the size of", &error))
    }

    /// What went wrong with it.
    pub fn failed(&self, what: &str, error: &std::io::Error) -> Error {
        Error::internal(format!("cannot {what} {}: {error}", self.path.display()))
    }

    /// Whether it is a part of a disk.
    pub fn is_partition(&self, sysfs: &Path) -> bool {
        self.sysfs(sysfs).join("partition").exists()
    }

    /// Partitions that the kernel sees on it, by their node's name.
    pub fn partitions(&self, sysfs: &Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.sysfs(sysfs)) else { return Vec::new() };
        let mut names: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("partition").exists())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// What else the kernel has built on it (device mapper, md), by name.
    pub fn holders(&self, sysfs: &Path) -> Vec<String> {
        holders_in(&self.sysfs(sysfs))
    }

    /// The same of the device and of its partitions.
    pub fn holders_of_all(&self, sysfs: &Path) -> Vec<String> {
        let directory = self.sysfs(sysfs);
        let partitions = self.partitions(sysfs).into_iter();
        let on_partitions = partitions.flat_map(|name| holders_in(&directory.join(name)));
        self.holders(sysfs).into_iter().chain(on_partitions).collect()
    }

    /// The whole device, or its partition when it has exactly one: such disks came from elsewhere
    /// and are used as they are.
    ///
    /// # Errors
    /// `FailedPrecondition` naming them when there are several.
    pub fn adopt_partition(&self, sysfs: &Path) -> Result<Self, Error> {
        match self.partitions(sysfs).as_slice() {
            [] => Ok(self.clone()),
            [only] => Self::at(&Path::new("/dev").join(only), &self.identity, sysfs)?
                .map(|partition| Self {
                    open: self.open.clone(),
                    serial: self.serial.clone(),
                    ..partition
                })
                .ok_or_else(|| {
                    Error::unavailable(format!(
                        "the partition {only} of {} has no device node yet",
                        self.path.display()
                    ))
                }),
            several => Err(Error::precondition(format!(
                "{} has {} partitions ({})",
                self.path.display(),
                several.len(),
                several.join(", ")
            ))
            .with_hint("which one is meant cannot be known; a volume has at most one partition")),
        }
    }
}

/// Major and minor of a device number as stat(2) gives it.
pub(crate) fn split_number(raw: u64) -> (u32, u32) {
    (rustix::fs::major(raw), rustix::fs::minor(raw))
}

/// `/sys/dev/block/8:16` is a link whose last component is the device's name.
pub(crate) fn kernel_name(sysfs: &Path, (major, minor): (u32, u32)) -> Option<String> {
    let target = std::fs::read_link(sysfs.join(format!("dev/block/{major}:{minor}"))).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}
