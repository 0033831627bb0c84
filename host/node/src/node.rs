//! [`LinuxNode`]: the port's methods, each a few lines that hand over to the file that knows how.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wharf_core::plan::{Plan, Step};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::{
    Call, CallSecrets, Clock, FoundDevice, Mounted, Node, NodeGuard, Performer, PlanRun,
    RemovePath, StageRecord, Stats,
};
use wharf_core::types::VolumeId;
use wharf_core::{Error, ErrorKind};

use crate::clock::SystemClock;
use crate::context::NodeContext;
use crate::disk::device::Device;
use crate::disk::find::Finder;
use crate::disk::ownership::RecordedUses;
use crate::helper_keys::HelperKeys;
use crate::mounts::mounting::describe;
use crate::mounts::table::{Entry, MountTable};
use crate::mounts::{device, health, unmount};
use crate::options::NodeOptions;
use crate::run::Run;
use crate::state::lock::VolumeGuard;
use crate::state::records::Records;
use crate::steps::{ShownMount, performer};
use crate::survey::{self, Survey};

/// Writing a record takes milliseconds; whoever still holds its lock after this hangs.
const RECORD_LOCK_WAIT: Duration = Duration::from_secs(10);

/// This machine.
pub struct LinuxNode {
    context: NodeContext,
    records: Records,
}

impl LinuxNode {
    /// Looks at nothing and makes nothing yet, so that it costs nothing in a process that only
    /// answers `init`.
    pub fn new(options: NodeOptions) -> Self {
        Self::with_clock(options, Arc::new(SystemClock))
    }

    /// With the clock that the calls' deadlines are measured by.
    pub fn with_clock(options: NodeOptions, clock: Arc<dyn Clock>) -> Self {
        let records = Records::new(&options.state_directory);
        Self { context: NodeContext::new(options, clock), records }
    }

    /// With somebody who renders the keys of mount helpers.
    #[must_use]
    pub fn with_helper_keys(mut self, keys: Arc<dyn HelperKeys>) -> Self {
        self.context.keys = Some(keys);
        self
    }

    /// What is written down of a driver's volumes, and what the mount table shows of them.
    ///
    /// # Errors
    /// When records or the mount table cannot be read.
    pub fn survey(&self, driver: &str) -> Result<Survey, Error> {
        survey::survey(&self.context, &self.records, driver)
    }

    /// How many processes wait for a server or work on directories at present, those included that
    /// cannot be killed.
    pub fn waiting_processes(&self) -> usize {
        self.context.remote.under_way()
    }

    fn finder(&self) -> Finder<'_> {
        Finder::of(&self.context.options, self.context.clock.as_ref())
    }

    fn acquire_record(&self, driver: &str, volume: &VolumeId) -> Result<VolumeGuard, Error> {
        self.context.acquire(
            &Call::until(self.context.clock.now() + RECORD_LOCK_WAIT),
            &format!("record of {driver}/{volume}"),
        )
    }

    /// What a disk is compared with: the volume's own paths, and what the others are.
    fn recorded_uses(&self, run: &PlanRun<'_>) -> Result<RecordedUses, Error> {
        let own_paths = run.staged.into_iter().chain([run.destination]);
        let (own, others): (Vec<_>, Vec<_>) = self
            .records
            .readable()?
            .into_iter()
            .partition(|record| record.driver == run.driver && record.volume == *run.volume);
        let spell = |path: &Path| self.context.roots.spell(path).ok();
        let paths = own_paths.chain(own.iter().flat_map(paths_of)).filter_map(spell).collect();
        let other_paths = others.iter().flat_map(paths_of).filter_map(spell).collect();
        let serial_of = |record: StageRecord| {
            let volume = format!("{} of {}", record.volume, record.driver);
            Some((record.serial?, volume))
        };
        Ok(RecordedUses {
            paths,
            others: others.into_iter().filter_map(serial_of).collect(),
            other_paths,
        })
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
            .filter(|path| self.context.roots.contain(path))
            .collect()
    }
}

/// Where a record has its volume staged and published.
fn paths_of(record: &StageRecord) -> impl Iterator<Item = &Path> {
    let targets = record.targets.iter().map(|target| target.target_path.as_path());
    std::iter::once(record.staging_path.as_path()).chain(targets)
}

impl Performer for LinuxNode {
    fn perform(&self, call: &Call, plan: &Plan, policy: &NodePolicy) -> Result<(), Error> {
        plan.check_needs_no_path()?;
        let run = PlanRun {
            plan,
            policy,
            driver: "",
            volume: &VolumeId::new(""),
            destination: Path::new(""),
            staged: None,
            secrets: CallSecrets::NONE,
        };
        Run::new(&self.context, call, &run, &|| Ok(RecordedUses::default())).finish(plan).map(drop)
    }

    fn shown_at(&self, driver: &str, volume: &VolumeId) -> Result<Option<PathBuf>, Error> {
        let Some(record) = self.records.load(driver, volume)? else { return Ok(None) };
        let table = MountTable::read()?;
        let is_shown = |path: &PathBuf| {
            self.context.roots.spell(path).is_ok_and(|path| table.top(&path).is_some())
        };
        Ok(record.targets.into_iter().map(|target| target.target_path).find(is_shown))
    }
}

impl Node for LinuxNode {
    fn lock(&self, call: &Call, driver: &str, volume: &VolumeId) -> Result<NodeGuard, Error> {
        Ok(Box::new(self.context.acquire(call, &format!("volume {driver}/{volume}"))?))
    }

    fn record(&self, driver: &str, volume: &VolumeId) -> Result<Option<StageRecord>, Error> {
        self.records.load(driver, volume)
    }

    fn record_of_path(&self, path: &Path) -> Result<Option<StageRecord>, Error> {
        let wanted = self.context.roots.spell(path)?;
        let is_wanted =
            |path: &Path| self.context.roots.spell(path).is_ok_and(|path| path == wanted);
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
        let path = self.context.roots.spell(path)?;
        let table = MountTable::read()?;
        let Some(entry) = table.top(&path) else { return Ok(None) };
        // One that is gone, or that has no node here, is none that anybody could use.
        let device = device::of_entry(&self.context, &path, entry).ok().flatten();
        Ok(Some(Mounted {
            is_read_only: entry.is_read_only(),
            is_dead: entry.is_of_block_device() && device::is_gone(&self.context, entry.device),
            serial: device.as_ref().and_then(|device| self.finder().serial_of(device)),
            device: device.map(|device| device.path),
            helper_device: entry.is_of_helper().then_some(entry.device),
            elsewhere: self.elsewhere(&table, entry),
        }))
    }

    fn shown_instead(
        &self,
        plan: &Plan,
        policy: &NodePolicy,
        path: &Path,
        staged: Option<&Path>,
    ) -> Result<Option<String>, Error> {
        let path = self.context.roots.spell(path)?;
        // A record may hold a path that is none; nothing can be staged there.
        let staged = staged.and_then(|staged| self.context.roots.spell(staged).ok());
        let table = MountTable::read()?;
        let Some(entry) = table.top(&path) else { return Ok(None) };
        let (context, staged) = (&self.context, staged.as_deref());
        let seen = ShownMount { context, policy, table: &table, entry, staged };
        for step in &plan.steps {
            if !performer(step).is_shown(&seen)? {
                return Ok(Some(describe(entry)));
            }
        }
        Ok(None)
    }

    // Asked on every warm call, which needs neither the device nor the other mounts.
    fn is_mounted(&self, path: &Path) -> Result<bool, Error> {
        Ok(MountTable::read()?.top(&self.context.roots.spell(path)?).is_some())
    }

    fn is_same_path(&self, one: &Path, other: &Path) -> bool {
        match (self.context.roots.spell(one), self.context.roots.spell(other)) {
            (Ok(one), Ok(other)) => one == other,
            (_, _) => one == other,
        }
    }

    fn run(&self, call: &Call, run: &PlanRun<'_>) -> Result<Option<FoundDevice>, Error> {
        let destination = self.context.roots.spell(run.destination)?;
        let _guard = self.context.acquire(call, &format!("path {}", destination.display()))?;
        let recorded_uses = || self.recorded_uses(run);
        let device = Run::new(&self.context, call, run, &recorded_uses).finish(run.plan)?;
        Ok(device.map(|device| FoundDevice {
            path: device.path.clone(),
            serial: device.serial.clone(),
            guard: Box::new(device),
        }))
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
        let Some(place) = self.context.roots.locate(path)? else { return Ok(()) };
        let _guard = match self.context.acquire(call, &format!("path {}", place.path().display())) {
            Ok(guard) => Some(guard),
            Err(error) if error.kind == ErrorKind::Aborted => return Err(error),
            // A state directory that cannot be written must not keep a mount.
            Err(error) => {
                tracing::warn!(%error, "unmounting without the lock");
                None
            }
        };
        unmount::unmount(&self.context, call, &place, remove)
    }

    fn stats(&self, call: &Call, path: &Path) -> Result<Stats, Error> {
        let missing = || Error::not_found(format!("nothing is mounted at {}", path.display()));
        let place = self.context.roots.locate(path)?.ok_or_else(missing)?;
        let table = MountTable::read()?;
        let entry = table.top(place.path()).ok_or_else(missing)?;
        health::of(&self.context, call, &place, entry)
    }

    fn device_size(&self, path: &Path) -> Result<Option<u64>, Error> {
        let path = self.context.roots.spell(path)?;
        let device = if path.starts_with("/dev") {
            Device::at(&path, "", &self.context.options.sysfs)?
        } else {
            device::of_path(&self.context, &path)?
        };
        device.map(|device| device.bytes()).transpose()
    }
}
