//! The machine behind [`super::FakeNode`]: devices, file systems on them, a mount table and the
//! records.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wharf_core::plan::{FindDevice, MountNfs, MountPlace, Plan, Step};
use wharf_core::ports::StageRecord;
use wharf_core::types::VolumeId;
use wharf_core::{Blame, Error, ErrorKind};

/// Where devices are; nothing else may be taken for one.
const DEVICES: &str = "/dev/fake";
/// A device that nobody gave a size.
const DEFAULT_BYTES: u64 = 1 << 30;

#[derive(Debug, Default, Clone)]
pub(crate) struct Machine {
    pub(crate) records: BTreeMap<(String, VolumeId), StageRecord>,
    pub(crate) mounts: BTreeMap<PathBuf, Mounted>,
    pub(crate) devices: BTreeMap<PathBuf, Device>,
    /// What is attached; `None`: any device is there as soon as somebody looks for it.
    pub(crate) attached: Option<Attached>,
    pub(crate) performed: Vec<Plan>,
    /// The number of what each helper serves that a plan had started, by where it was mounted.
    pub(crate) kept: BTreeMap<PathBuf, u32>,
}

/// Says the serials of the devices that are there now, with their bytes.
#[derive(Clone)]
pub(crate) struct Attached(pub(crate) Arc<dyn Fn() -> BTreeMap<String, u64> + Send + Sync>);

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)().fmt(f)
    }
}

/// What is mounted at a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// The device at the bottom, where there is one.
    pub(crate) device: Option<PathBuf>,
    /// The number of what a helper serves.
    pub(crate) helper: Option<u32>,
    /// `server:path` of an export.
    pub(crate) export: Option<String>,
    pub(crate) read_only: bool,
}

impl Mounted {
    pub(crate) fn of_device(device: PathBuf) -> Self {
        Self { device: Some(device), ..Self::default() }
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Device {
    pub(crate) bytes: u64,
    pub(crate) fs_type: Option<String>,
}

impl Machine {
    /// Makes one step true. `device` is what the plan found so far.
    pub(crate) fn perform(
        &mut self,
        step: &Step,
        device: &mut Option<PathBuf>,
        destination: &Path,
        staged: Option<&Path>,
    ) -> Result<(), Error> {
        match step {
            Step::FindDevice(find) => *device = Some(self.find(find)?),
            Step::Format(format) => self.format(device.as_deref(), &format.fs_type)?,
            Step::MountDevice(mount) => {
                let device = found(device.as_deref())?.to_owned();
                self.mount(destination, Mounted::of_device(device), mount.read_only);
            }
            Step::MountStaged(mount) => {
                let staged = self.staged(staged)?;
                self.mount(destination, staged, mount.read_only);
            }
            Step::MountDirectory(mount) => {
                self.mount(destination, Mounted::default(), mount.read_only)
            }
            Step::MountFuse(mount) => {
                let served = self.new_helper();
                self.mount(destination, served, mount.read_only);
                let helper = self.mounts.get(destination).and_then(|mounted| mounted.helper);
                self.kept.extend(helper.map(|number| (destination.to_owned(), number)));
            }
            Step::MountNfs(mount) if mount.place == MountPlace::Target => {
                let export = Some(export(mount));
                self.mount(destination, Mounted { export, ..Mounted::default() }, mount.read_only)
            }
            Step::BlockDevice(block) => {
                self.put(destination, found(device.as_deref())?.to_owned(), block.read_only)
            }
            Step::Check(_) | Step::Grow(_) | Step::SetBlockQueue(_) => {
                found(device.as_deref())?;
            }
            Step::MountNfs(_)
            | Step::MakeDirectory(_)
            | Step::SetOwnership(_)
            | Step::MoveAside(_)
            | Step::RemoveTree(_) => {}
        }
        Ok(())
    }

    /// The cloud's device appears, and grows, as soon as somebody looks for it; but where it is
    /// known what is attached, nothing else is found.
    pub(crate) fn find(&mut self, find: &FindDevice) -> Result<PathBuf, Error> {
        let serial = find.serial().unwrap_or("without-a-serial");
        let bytes = match &self.attached {
            None => find.minimum_bytes,
            Some(attached) => {
                let bytes = (attached.0)().get(serial).copied();
                bytes.filter(|bytes| *bytes >= find.minimum_bytes).ok_or_else(|| {
                    let why = format!("no device has the serial {serial}");
                    Error::new(ErrorKind::DeadlineExceeded, Blame::Host, why)
                })?
            }
        };
        let path = self.device_of(serial);
        if let Some(device) = self.devices.get_mut(&path) {
            device.bytes = device.bytes.max(bytes);
        }
        Ok(path)
    }

    /// The device with this serial; it appears when it is not there yet.
    pub(crate) fn device_of(&mut self, serial: &str) -> PathBuf {
        let path = Path::new(DEVICES).join(serial);
        self.devices
            .entry(path.clone())
            .or_insert_with(|| Device { bytes: DEFAULT_BYTES, fs_type: None });
        path
    }

    fn format(&mut self, device: Option<&Path>, fs_type: &str) -> Result<(), Error> {
        let path = found(device)?;
        let device = self
            .devices
            .get_mut(path)
            .ok_or_else(|| Error::internal(format!("{} is gone", path.display())))?;
        device.fs_type.get_or_insert_with(|| fs_type.to_owned());
        Ok(())
    }

    /// What a helper serves that was started just now.
    pub(crate) fn new_helper(&self) -> Mounted {
        let last = self.mounts.values().filter_map(|mounted| mounted.helper).max();
        Mounted { helper: Some(last.unwrap_or(0) + 1), ..Mounted::default() }
    }

    fn staged(&self, staged: Option<&Path>) -> Result<Mounted, Error> {
        let staged =
            staged.ok_or_else(|| Error::precondition("there is nothing staged to mount"))?;
        let below = self.mounts.get(staged).ok_or_else(|| {
            Error::precondition(format!("nothing is mounted at {}", staged.display()))
        })?;
        Ok(Mounted { read_only: false, ..below.clone() })
    }

    fn mount(&mut self, destination: &Path, shown: Mounted, read_only: bool) {
        let mounted = self.mounts.entry(destination.to_owned()).or_insert(shown);
        mounted.read_only |= read_only;
    }

    fn put(&mut self, destination: &Path, device: PathBuf, read_only: bool) {
        self.mounts
            .entry(destination.to_owned())
            .or_insert(Mounted { read_only, ..Mounted::of_device(device) });
    }

    /// What the mount table says of a path.
    pub(crate) fn mounted(&self, path: &Path) -> Option<wharf_core::ports::Mounted> {
        let mounted = self.mounts.get(path)?;
        let is_other = |(at, other): &(&PathBuf, &Mounted)| {
            at.as_path() != path && other.device.is_some() && other.device == mounted.device
        };
        let elsewhere = self.mounts.iter().filter(is_other).map(|(at, _)| at.clone()).collect();
        let is_dead =
            mounted.device.as_ref().is_some_and(|device| !self.devices.contains_key(device));
        let device = mounted.device.clone().filter(|_| !is_dead);
        Some(wharf_core::ports::Mounted {
            is_read_only: mounted.read_only,
            is_dead,
            serial: device.as_deref().and_then(serial),
            device,
            helper_device: mounted.helper.map(|number| (0, number)),
            elsewhere,
        })
    }

    /// What a path shows instead of what a plan mounts there.
    pub(crate) fn shown_instead(
        &self,
        plan: &Plan,
        path: &Path,
        staged: Option<&Path>,
    ) -> Option<String> {
        let shown = self.mounts.get(path)?;
        let is_kept_at =
            |path: &Path| self.kept.get(path).map(|number| shown.helper == Some(*number));
        let is_shown = |step: &Step| match step {
            Step::MountNfs(mount) => shown.export == Some(export(mount)),
            Step::MountFuse(_) => is_kept_at(path).unwrap_or(false),
            Step::MountStaged(_) => staged.is_none_or(|staged| {
                is_kept_at(staged).unwrap_or_else(|| {
                    self.mounts.get(staged).is_none_or(|staged| {
                        (&staged.device, &staged.export) == (&shown.device, &shown.export)
                    })
                })
            }),
            _ => true,
        };
        (!plan.steps.iter().all(is_shown)).then(|| format!("{shown:?}"))
    }

    /// Bytes of the device at this path or below this mount.
    pub(crate) fn device_size(&self, path: &Path) -> Option<u64> {
        let device =
            self.mounts.get(path).and_then(|mounted| mounted.device.as_deref()).unwrap_or(path);
        self.devices.get(device).map(|device| device.bytes)
    }
}

fn export(mount: &MountNfs) -> String {
    format!("{}:{}", mount.server, mount.path)
}

/// A device is called by its serial.
pub(crate) fn serial(device: &Path) -> Option<String> {
    Some(device.file_name()?.to_string_lossy().into_owned())
}

fn found(device: Option<&Path>) -> Result<&Path, Error> {
    device.ok_or_else(|| Error::internal("the plan uses a device before it finds one"))
}
