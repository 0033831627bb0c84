//! A node without a kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use wharf_core::plan::{Plan, Step};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::{
    Call, FoundDevice, Mounted, Node, NodeGuard, Performer, PlanRun, RemovePath, StageRecord,
    Stats, Usage,
};
use wharf_core::types::{Condition, VolumeId};
use wharf_core::{Blame, Error, ErrorKind};

use super::hold::Hold;
use super::journal::Journal;
use super::lock;
use super::machine::{Attached, Device, Machine, Mounted as Mount, serial};

/// The longest path that Linux takes, in bytes (`PATH_MAX` without its zero).
const MAX_PATH: usize = 4095;
/// The longest name in one (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// A machine in memory: a mount table, devices that appear when they are looked for, and records.
#[derive(Debug, Default)]
pub struct FakeNode {
    machine: Mutex<Machine>,
    journal: Journal,
    makes_paths: bool,
    has_no_state: AtomicBool,
    idle_steps: Mutex<Vec<&'static str>>,
    removed: Mutex<Vec<PathBuf>>,
    silence: Mutex<Option<String>>,
}

impl FakeNode {
    /// A node that makes and removes the paths of its mounts on the real file system (directories,
    /// and files for devices), for suites that look. Nothing is mounted on them.
    pub fn with_real_paths() -> Self {
        Self { makes_paths: true, ..Self::default() }
    }

    /// Every mount point, in order.
    pub fn mounts(&self) -> Vec<PathBuf> {
        lock(&self.machine).mounts.keys().cloned().collect()
    }

    /// Whether what is mounted there is read-only; `None`: nothing is.
    pub fn is_read_only(&self, path: &Path) -> Option<bool> {
        lock(&self.machine).mounts.get(path).map(|mounted| mounted.read_only)
    }

    /// What is mounted there: the serial of a device, or an export; `None`: nothing, or neither.
    pub fn shown(&self, path: &Path) -> Option<String> {
        let machine = lock(&self.machine);
        let mounted = machine.mounts.get(path)?;
        mounted.device.as_deref().and_then(serial).or_else(|| mounted.export.clone())
    }

    /// Serials of the devices with a file system, and its type.
    pub fn formatted(&self) -> Vec<(String, String)> {
        let machine = lock(&self.machine);
        let formatted =
            |(path, device): (&PathBuf, &Device)| Some((serial(path)?, device.fs_type.clone()?));
        machine.devices.iter().filter_map(formatted).collect()
    }

    /// Paths that were to be removed when they were unmounted, in order.
    pub fn removed(&self) -> Vec<PathBuf> {
        lock(&self.removed).clone()
    }

    /// From now on the devices that can be found are those that this says at that moment, each by
    /// its serial and with so many bytes.
    pub fn attach_only(
        &self,
        attached: impl Fn() -> BTreeMap<String, u64> + Send + Sync + 'static,
    ) {
        lock(&self.machine).attached = Some(Attached(Arc::new(attached)));
    }

    /// Every plan that was performed without a path, in order.
    pub fn performed(&self) -> Vec<Plan> {
        lock(&self.machine).performed.clone()
    }

    /// Every record, in the order of drivers and volumes.
    pub fn all_records(&self) -> Vec<StageRecord> {
        lock(&self.machine).records.values().cloned().collect()
    }

    /// The mount disappears behind everybody's back, as after a crash.
    pub fn lose_mount(&self, path: &Path) {
        lock(&self.machine).mounts.remove(path);
    }

    /// Steps of this word do nothing from now on, and say that they are done.
    pub fn make_idle(&self, word: &'static str) {
        lock(&self.idle_steps).push(word);
    }

    /// What is mounted answers no longer: why, in the words of its condition.
    pub fn fall_silent(&self, why: &str) {
        *lock(&self.silence) = Some(why.to_owned());
    }

    /// Something else is mounted over what a path shows: this device, or something that is none.
    pub fn mount_over(&self, path: &Path, device: Option<&str>) {
        let mut machine = lock(&self.machine);
        let device = device.map(|serial| machine.device_of(serial));
        machine.mounts.insert(path.to_owned(), Mount { device, ..Mount::default() });
    }

    /// Another export is mounted over what a path shows.
    pub fn mount_export_over(&self, path: &Path, export: &str) {
        let export = Some(export.to_owned());
        lock(&self.machine).mounts.insert(path.to_owned(), Mount { export, ..Mount::default() });
    }

    /// The helper whose mount was made at this path dies, and another one serves it at all its
    /// places.
    pub fn heal(&self, made_at: &Path) {
        let mut machine = lock(&self.machine);
        let healed = machine.new_helper().helper;
        let dead = machine.kept.get(made_at).copied();
        for mounted in machine.mounts.values_mut().filter(|mounted| mounted.helper == dead) {
            mounted.helper = healed;
        }
        machine.kept.extend(healed.map(|number| (made_at.to_owned(), number)));
    }

    /// An earlier driver's helper serves something there.
    pub fn mount_earlier(&self, path: &Path, read_only: bool) {
        let mut machine = lock(&self.machine);
        let served = machine.new_helper();
        machine.mounts.insert(path.to_owned(), Mount { read_only, ..served });
    }

    /// Every device is taken away, also from under what is mounted; whoever looks for one finds a
    /// new one.
    pub fn lose_devices(&self) {
        lock(&self.machine).devices.clear();
    }

    /// What is mounted read-only there becomes writable, as where a host was killed before it had
    /// set the flag.
    pub fn lose_read_only(&self, path: &Path) {
        lock(&self.machine)
            .mounts
            .entry(path.to_owned())
            .and_modify(|mounted| mounted.read_only = false);
    }

    /// From now on records can be neither read nor written and nothing can be locked, as on a disk
    /// that is full or broken.
    pub fn lose_state(&self) {
        self.has_no_state.store(true, Ordering::SeqCst);
    }

    fn state(&self) -> Result<(), Error> {
        if self.has_no_state.load(Ordering::SeqCst) {
            Err(Error::internal("the state directory cannot be used"))
        } else {
            Ok(())
        }
    }

    /// The next call of `verb` fails like this: `run`, `unmount`, `find-device`, `save`, or a
    /// step's word for one step inside `run`.
    pub fn fail(&self, verb: &str, error: Error) {
        self.journal.fail(verb, error);
    }

    /// Calls of `verb` stop before they do anything, until the hold is dropped or they are
    /// cancelled.
    pub fn hold(&self, verb: &str) -> Hold {
        self.journal.hold(verb)
    }

    /// What was changed or looked for, in order: `run` and the words of its steps, `unmount`,
    /// `find-device`, `save`, `forget`.
    pub fn calls(&self) -> Vec<&'static str> {
        self.journal.verbs()
    }
}

impl Performer for FakeNode {
    fn perform(&self, call: &Call, plan: &Plan, policy: &NodePolicy) -> Result<(), Error> {
        self.journal.enter(call, "perform")?;
        plan.check_needs_no_path()?;
        policy.check(plan)?;
        lock(&self.machine).performed.push(plan.clone());
        Ok(())
    }

    fn shown_at(&self, driver: &str, volume: &VolumeId) -> Result<Option<PathBuf>, Error> {
        let machine = lock(&self.machine);
        let record = machine.records.get(&(driver.to_owned(), volume.clone()));
        let mut targets = record.iter().flat_map(|record| &record.targets);
        let shown = targets.find(|target| machine.mounts.contains_key(&target.target_path));
        Ok(shown.map(|target| target.target_path.clone()))
    }
}

impl Node for FakeNode {
    /// No other process knows this node.
    fn lock(&self, _call: &Call, _driver: &str, _volume: &VolumeId) -> Result<NodeGuard, Error> {
        self.state()?;
        Ok(Box::new(()))
    }

    fn record(&self, driver: &str, volume: &VolumeId) -> Result<Option<StageRecord>, Error> {
        self.state()?;
        Ok(lock(&self.machine).records.get(&(driver.to_owned(), volume.clone())).cloned())
    }

    fn record_of_path(&self, path: &Path) -> Result<Option<StageRecord>, Error> {
        self.state()?;
        let is_at = |record: &&StageRecord| {
            record.staging_path == path
                || record.targets.iter().any(|target| target.target_path == path)
        };
        Ok(lock(&self.machine).records.values().find(is_at).cloned())
    }

    fn records(&self, driver: &str) -> Result<Vec<StageRecord>, Error> {
        Ok(lock(&self.machine)
            .records
            .values()
            .filter(|record| record.driver == driver)
            .cloned()
            .collect())
    }

    fn save(&self, record: &StageRecord) -> Result<(), Error> {
        self.journal.enter(&endless(), "save")?;
        self.state()?;
        lock(&self.machine)
            .records
            .insert((record.driver.clone(), record.volume.clone()), record.clone());
        Ok(())
    }

    fn forget(&self, driver: &str, volume: &VolumeId) -> Result<(), Error> {
        self.journal.enter(&endless(), "forget")?;
        self.state()?;
        lock(&self.machine).records.remove(&(driver.to_owned(), volume.clone()));
        Ok(())
    }

    fn mounted(&self, path: &Path) -> Result<Option<Mounted>, Error> {
        if !path.is_absolute() {
            return Err(Error::invalid(format!("{} is no absolute path", path.display())));
        }
        Ok(lock(&self.machine).mounted(path))
    }

    fn shown_instead(
        &self,
        plan: &Plan,
        _policy: &NodePolicy,
        path: &Path,
        staged: Option<&Path>,
    ) -> Result<Option<String>, Error> {
        Ok(lock(&self.machine).shown_instead(plan, path, staged))
    }

    fn run(&self, call: &Call, run: &PlanRun<'_>) -> Result<Option<FoundDevice>, Error> {
        let PlanRun { plan, destination, staged, .. } = *run;
        self.journal.enter(call, "run")?;
        run.policy.check(plan)?;
        let mut draft = lock(&self.machine).clone();
        let mut device = None;
        for step in &plan.steps {
            if call.is_cancelled() {
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    Blame::Host,
                    "the caller stopped waiting; nothing was changed",
                ));
            }
            self.journal.enter(call, step.name())?;
            if !lock(&self.idle_steps).contains(&step.name()) {
                draft.perform(step, &mut device, destination, staged)?;
            }
        }
        if self.makes_paths && draft.mounts.contains_key(destination) {
            make(destination, plan.steps.iter().any(|step| matches!(step, Step::BlockDevice(_))))
                .map_err(|error| cannot("make", destination, &error))?;
        }
        let mut machine = lock(&self.machine);
        machine.mounts.extend(draft.mounts.remove_entry(destination));
        machine.kept.extend(draft.kept.remove_entry(destination));
        if let Some(path) = &device {
            machine.devices.extend(draft.devices.remove_entry(path));
        }
        Ok(device.map(|path| FoundDevice { serial: serial(&path), path, guard: Box::new(()) }))
    }

    fn find_device(&self, call: &Call, plan: &Plan, policy: &NodePolicy) -> Result<PathBuf, Error> {
        self.journal.enter(call, "find-device")?;
        policy.check(plan)?;
        let find = plan.steps.iter().find_map(|step| match step {
            Step::FindDevice(find) => Some(find),
            _ => None,
        });
        let find = find.ok_or_else(|| Error::invalid("the plan looks for no device"))?;
        lock(&self.machine).find(find)
    }

    fn unmount(&self, call: &Call, path: &Path, remove: RemovePath) -> Result<(), Error> {
        self.journal.enter(call, "unmount")?;
        // As the kernel does.
        if path.as_os_str().len() > MAX_PATH || path.iter().any(|name| name.len() > MAX_NAME) {
            return Err(Error::internal("File name too long"));
        }
        if remove == RemovePath::Yes {
            lock(&self.removed).push(path.to_owned());
        }
        if self.makes_paths && remove == RemovePath::Yes {
            unmake(path).map_err(|error| cannot("remove", path, &error))?;
        }
        lock(&self.machine).mounts.remove(path);
        Ok(())
    }

    fn stats(&self, _call: &Call, path: &Path) -> Result<Stats, Error> {
        let machine = lock(&self.machine);
        let of_helper = machine.mounts.get(path).and_then(|mounted| mounted.helper).map(|_| 0);
        let bytes = machine
            .device_size(path)
            .or(of_helper)
            .ok_or_else(|| Error::not_found(format!("nothing is mounted at {}", path.display())))?;
        let usage = Usage {
            total_bytes: bytes,
            available_bytes: bytes / 2,
            used_bytes: bytes - bytes / 2,
            total_inodes: 1024,
            free_inodes: 1000,
        };
        Ok(match &*lock(&self.silence) {
            Some(why) => Stats { usage: None, condition: Condition::abnormal(why) },
            None => Stats { usage: Some(usage), condition: Condition::normal("it answers") },
        })
    }

    fn device_size(&self, path: &Path) -> Result<Option<u64>, Error> {
        Ok(lock(&self.machine).device_size(path))
    }
}

fn make(path: &Path, is_file: bool) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if is_file {
        fs::File::options().create(true).append(true).open(path).map(drop)
    } else {
        fs::create_dir_all(path)
    }
}

/// An empty directory or file; a missing one is fine.
fn unmake(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
    removed
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::internal(format!("cannot {verb} {}: {error}", path.display()))
}

/// Lets every step, file system and directory of the fakes through.
pub fn generous_policy() -> NodePolicy {
    NodePolicy {
        steps: Step::NAMES.iter().map(|word| (*word).to_owned()).collect(),
        filesystems: ["ext4", "xfs"].map(str::to_owned).to_vec(),
        block_queue: vec!["read_ahead_kb".into()],
        ..NodePolicy::default()
    }
}

/// Bookkeeping has no caller that could stop waiting.
fn endless() -> Call {
    Call::until(std::time::Duration::MAX)
}
