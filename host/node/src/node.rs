//! [`LinuxNode`]: the port's methods, each a few lines that hand over to the file that knows how.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wharf_core::plan::{Plan, Step};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::{Call, Clock, Mounted, Node, NodeGuard, RemovePath, StageRecord, Usage};
use wharf_core::types::VolumeId;
use wharf_core::{Error, ErrorKind};

use crate::clock::SystemClock;
use crate::device::{Device, Finder, kernel_name};
use crate::lock::{self, VolumeGuard};
use crate::mount_table::{Entry, MountTable};
use crate::options::NodeOptions;
use crate::paths::Roots;
use crate::program::Programs;
use crate::records::Records;
use crate::run::Run;
use crate::usage::{self, Askers};
use crate::{mounting, unmount};

/// Writing a record takes milliseconds; whoever still holds its lock after this hangs.
const RECORD_LOCK_WAIT: Duration = Duration::from_secs(10);

/// This machine.
pub struct LinuxNode {
    options: NodeOptions,
    clock: Arc<dyn Clock>,
    roots: Roots,
    records: Records,
    programs: Programs,
    askers: Askers,
}

impl LinuxNode {
    /// Looks at nothing and makes nothing yet, so that it costs nothing in a process that only
    /// answers `init`.
    pub fn new(options: NodeOptions) -> Self {
        Self::with_clock(options, Arc::new(SystemClock))
    }

    /// With the clock that the calls' deadlines are told by.
    pub fn with_clock(options: NodeOptions, clock: Arc<dyn Clock>) -> Self {
        let roots = Roots::new(&options.roots);
        let records = Records::new(&options.state_directory);
        let programs = Programs::new(options.program_path.clone());
        Self { options, clock, roots, records, programs, askers: Askers::default() }
    }

    fn acquire(&self, call: &Call, name: &str) -> Result<VolumeGuard, Error> {
        lock::acquire(&self.options.state_directory, name, self.clock.as_ref(), call)
    }

    fn acquire_record(&self, driver: &str, volume: &VolumeId) -> Result<VolumeGuard, Error> {
        self.acquire(
            &Call::until(self.clock.now() + RECORD_LOCK_WAIT),
            &format!("record of {driver}/{volume}"),
        )
    }

    pub(crate) fn options(&self) -> &NodeOptions {
        &self.options
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }

    pub(crate) fn programs(&self) -> &Programs {
        &self.programs
    }

    pub(crate) fn finder(&self) -> Finder<'_> {
        Finder {
            links: &self.options.device_links,
            sysfs: &self.options.sysfs,
            wait: self.options.device_wait,
            clock: self.clock.as_ref(),
        }
    }

    /// The block device behind what is mounted here, also when its node itself is (a raw block
    /// volume).
    pub(crate) fn device_of_mount(&self, path: &Path) -> Result<Option<Device>, Error> {
        let table = MountTable::read()?;
        let Some(entry) = table.top(path) else { return Ok(None) };
        let number = match self.roots.locate(path)? {
            Some(place) => mounting::block_number(&place, entry)?.unwrap_or(entry.device),
            None => entry.device,
        };
        self.device_by_number(number, entry)
    }

    /// Other mounts of the same file system, as far as they are under the roots. Network mounts
    /// share one without being the same volume.
    fn elsewhere(&self, table: &MountTable, entry: &Entry) -> Vec<PathBuf> {
        if !entry.is_of_block_device() {
            return Vec::new();
        }
        let others =
            table.of_device(entry.device).filter(|other| other.mount_point != entry.mount_point);
        others
            .map(|other| other.mount_point.clone())
            .filter(|path| self.roots.contain(path))
            .collect()
    }

    fn device_by_number(&self, number: (u32, u32), entry: &Entry) -> Result<Option<Device>, Error> {
        if number.0 == 0 {
            return Ok(None);
        }
        let by_source = PathBuf::from(&entry.source);
        let by_name =
            kernel_name(&self.options.sysfs, number).map(|name| Path::new("/dev").join(name));
        for path in by_name.into_iter().chain(by_source.is_absolute().then_some(by_source)) {
            if let Ok(Some(device)) = Device::at(&path, "", &self.options.sysfs)
                && device.number == number
            {
                return Ok(Some(device));
            }
        }
        Err(Error::internal(format!(
            "the block device {}:{} of {} has no node under /dev",
            number.0,
            number.1,
            entry.mount_point.display()
        )))
    }
}

impl Node for LinuxNode {
    fn lock(&self, call: &Call, driver: &str, volume: &VolumeId) -> Result<NodeGuard, Error> {
        Ok(Box::new(self.acquire(call, &format!("volume {driver}/{volume}"))?))
    }

    fn record(&self, driver: &str, volume: &VolumeId) -> Result<Option<StageRecord>, Error> {
        self.records.load(driver, volume)
    }

    fn record_of_path(&self, path: &Path) -> Result<Option<StageRecord>, Error> {
        let wanted = self.roots.spell(path)?;
        let is_wanted = |path: &Path| self.roots.spell(path).is_ok_and(|path| path == wanted);
        self.records.find(|record| {
            is_wanted(&record.staging_path)
                || record.targets.iter().any(|target| is_wanted(&target.target_path))
        })
    }

    fn records(&self, driver: &str) -> Result<Vec<StageRecord>, Error> {
        self.records.of_driver(driver)
    }

    fn save(&self, record: &StageRecord) -> Result<(), Error> {
        let _guard = self.acquire_record(&record.driver, &record.volume)?;
        self.records.save(record)
    }

    fn forget(&self, driver: &str, volume: &VolumeId) -> Result<(), Error> {
        let _guard = self.acquire_record(driver, volume)?;
        self.records.forget(driver, volume)
    }

    fn mounted(&self, path: &Path) -> Result<Option<Mounted>, Error> {
        let path = self.roots.spell(path)?;
        let table = MountTable::read()?;
        Ok(table.top(&path).map(|entry| Mounted {
            is_read_only: entry.is_read_only(),
            is_dead: entry.is_of_block_device()
                && kernel_name(&self.options.sysfs, entry.device).is_none(),
            // One that is gone, or that has no node here, is none that anybody could use.
            device: self
                .device_by_number(entry.device, entry)
                .ok()
                .flatten()
                .map(|device| device.path),
            elsewhere: self.elsewhere(&table, entry),
        }))
    }

    // Asked on every warm call, which needs neither the device nor the other mounts.
    fn is_mounted(&self, path: &Path) -> Result<bool, Error> {
        Ok(MountTable::read()?.top(&self.roots.spell(path)?).is_some())
    }

    fn run(
        &self,
        call: &Call,
        plan: &Plan,
        policy: &NodePolicy,
        destination: &Path,
        staged: Option<&Path>,
    ) -> Result<Option<PathBuf>, Error> {
        let _guard =
            self.acquire(call, &format!("path {}", self.roots.spell(destination)?.display()))?;
        let device = Run::new(self, call, policy, destination, staged).finish(plan)?;
        Ok(device.map(|device| device.path))
    }

    fn find_device(&self, call: &Call, plan: &Plan, policy: &NodePolicy) -> Result<PathBuf, Error> {
        policy.check(plan)?;
        let mut found = None;
        for step in &plan.steps {
            if let Step::FindDevice(wanted) = step {
                found = Some(self.finder().find(call, wanted)?);
            }
        }
        found
            .map(|device| device.path)
            .ok_or_else(|| Error::unsupported("this kind of volume has no device on the node"))
    }

    fn unmount(&self, call: &Call, path: &Path, remove: RemovePath) -> Result<(), Error> {
        let Some(place) = self.roots.locate(path)? else { return Ok(()) };
        let _guard = match self.acquire(call, &format!("path {}", place.path().display())) {
            Ok(guard) => Some(guard),
            Err(error) if error.kind == ErrorKind::Aborted => return Err(error),
            // A state folder that cannot be written must not keep a mount.
            Err(error) => {
                tracing::warn!(%error, "unmounting without the lock");
                None
            }
        };
        unmount::unmount(call, &place, remove, &self.options.sysfs)
    }

    fn usage(&self, path: &Path) -> Result<Usage, Error> {
        let missing = || Error::not_found(format!("nothing is mounted at {}", path.display()));
        let place = self.roots.locate(path)?.ok_or_else(missing)?;
        let table = MountTable::read()?;
        let entry = table.top(place.path()).ok_or_else(missing)?;
        match mounting::block_number(&place, entry)? {
            Some(number) => match self.device_by_number(number, entry)? {
                Some(device) => Ok(usage::of_device(device.bytes()?)),
                None => Err(missing()),
            },
            None => self.askers.ask(place),
        }
    }

    fn device_size(&self, path: &Path) -> Result<Option<u64>, Error> {
        let path = self.roots.spell(path)?;
        let device = if path.starts_with("/dev") {
            Device::at(&path, "", &self.options.sysfs)?
        } else {
            self.device_of_mount(&path)?
        };
        device.map(|device| device.bytes()).transpose()
    }
}
