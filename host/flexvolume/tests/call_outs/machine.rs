//! A machine without a kernel: disks that are there while the cloud says that this node holds them,
//! and a mount table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use wharf_core::plan::{FindDevice, Plan, Step};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::{
    self, Call, FoundDevice, Node, NodeGuard, PlanRun, RemovePath, StageRecord, Stats,
};
use wharf_core::types::VolumeId;
use wharf_core::{Blame, Error, ErrorKind};

use super::cloud::{Cloud, THIS_NODE};

pub struct Machine {
    cloud: Arc<Cloud>,
    state: Mutex<State>,
}

#[derive(Default)]
pub struct State {
    pub mounts: BTreeMap<PathBuf, Mounted>,
    pub records: BTreeMap<(String, String), StageRecord>,
    /// The word of a step that fails.
    pub failing: Option<String>,
    pub formatted: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Mounted {
    pub what: String,
    pub read_only: bool,
}

impl Machine {
    pub fn new(cloud: Arc<Cloud>) -> Self {
        Self { cloud, state: Mutex::default() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn find(&self, find: &FindDevice) -> Result<String, Error> {
        let serial = find.serial().unwrap_or_default();
        let disk = serial.strip_prefix("serial-of-").unwrap_or_default();
        let cloud = self.cloud.state();
        let is_here = cloud.holders.get(disk).is_some_and(|holders| holders.contains(THIS_NODE));
        if is_here && cloud.sizes.get(disk).is_some_and(|size| *size >= find.minimum_bytes) {
            return Ok(disk.to_owned());
        }
        Err(Error::new(
            ErrorKind::DeadlineExceeded,
            Blame::Host,
            format!("no device has the serial {serial}"),
        ))
    }
}

impl Node for Machine {
    fn lock(&self, _: &Call, _: &str, _: &VolumeId) -> Result<NodeGuard, Error> {
        Ok(Box::new(()))
    }

    fn record(&self, driver: &str, volume: &VolumeId) -> Result<Option<StageRecord>, Error> {
        Ok(self.state().records.get(&(driver.to_owned(), volume.to_string())).cloned())
    }

    fn record_of_path(&self, path: &Path) -> Result<Option<StageRecord>, Error> {
        let is_at = |record: &&StageRecord| {
            record.staging_path == path
                || record.targets.iter().any(|target| target.target_path == path)
        };
        Ok(self.state().records.values().find(is_at).cloned())
    }

    fn records(&self, driver: &str) -> Result<Vec<StageRecord>, Error> {
        Ok(self
            .state()
            .records
            .values()
            .filter(|record| record.driver == driver)
            .cloned()
            .collect())
    }

    fn save(&self, record: &StageRecord) -> Result<(), Error> {
        self.state()
            .records
            .insert((record.driver.clone(), record.volume.to_string()), record.clone());
        Ok(())
    }

    fn forget(&self, driver: &str, volume: &VolumeId) -> Result<(), Error> {
        self.state().records.remove(&(driver.to_owned(), volume.to_string()));
        Ok(())
    }

    fn mounted(&self, path: &Path) -> Result<Option<ports::Mounted>, Error> {
        let state = self.state();
        let Some(mounted) = state.mounts.get(path) else { return Ok(None) };
        let elsewhere = state
            .mounts
            .iter()
            .filter(|(at, other)| at.as_path() != path && other.what == mounted.what)
            .map(|(at, _)| at.clone())
            .collect();
        let device = Some(PathBuf::from(format!("/dev/{}", mounted.what)));
        Ok(Some(ports::Mounted {
            is_read_only: mounted.read_only,
            is_dead: false,
            device,
            serial: Some(mounted.what.clone()),
            helper_device: None,
            elsewhere,
        }))
    }

    /// Nobody else mounts on this one.
    fn shown_instead(
        &self,
        _: &Plan,
        _: &NodePolicy,
        _: &Path,
        _: Option<&Path>,
    ) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn run(&self, _: &Call, run: &PlanRun<'_>) -> Result<Option<FoundDevice>, Error> {
        let PlanRun { plan, destination, staged, .. } = *run;
        let mut mounts = self.state().mounts.clone();
        let mut disk = None;
        for step in &plan.steps {
            if self.state().failing.as_deref() == Some(step.word()) {
                return Err(Error::unavailable(format!("{} failed", step.word())));
            }
            match step {
                Step::FindDevice(find) => disk = Some(self.find(find)?),
                Step::Format(format) => drop(
                    self.state()
                        .formatted
                        .entry(disk.clone().unwrap())
                        .or_insert_with(|| format.fs_type.clone()),
                ),
                Step::MountDevice(mount) => {
                    let what = disk.clone().unwrap();
                    mount_once(&mut mounts, destination, what, mount.read_only);
                }
                Step::MountStaged(mount) => {
                    let what = mounts[staged.unwrap()].what.clone();
                    mount_once(&mut mounts, destination, what, mount.read_only);
                }
                Step::MountNfs(mount) => {
                    let what = format!("nfs {}", mount.server);
                    mount_once(&mut mounts, destination, what, mount.read_only);
                }
                Step::Grow(_) => {
                    assert!(mounts.contains_key(destination), "what grows is mounted")
                }
                other => unreachable!("{other:?}"),
            }
        }
        self.state().mounts = mounts;
        Ok(disk.map(|disk| FoundDevice {
            path: PathBuf::from(format!("/dev/{disk}")),
            serial: Some(disk),
        }))
    }

    fn find_device(&self, _: &Call, plan: &Plan, _: &NodePolicy) -> Result<PathBuf, Error> {
        let Some(Step::FindDevice(find)) = plan.steps.first() else {
            unreachable!("a disk's plan begins with its device")
        };
        Ok(PathBuf::from(format!("/dev/{}", self.find(find)?)))
    }

    fn unmount(&self, _: &Call, path: &Path, remove: RemovePath) -> Result<(), Error> {
        assert_eq!(remove, RemovePath::No, "kubelet removes the directory itself");
        // As the kernel does.
        if path.as_os_str().len() > 4095 || path.iter().any(|part| part.len() > 255) {
            return Err(Error::internal("File name too long"));
        }
        self.state().mounts.remove(path);
        Ok(())
    }

    fn stats(&self, _: &Call, _: &Path) -> Result<Stats, Error> {
        unreachable!("kubelet measures by itself")
    }

    fn device_size(&self, path: &Path) -> Result<Option<u64>, Error> {
        let disk =
            path.strip_prefix("/dev").map(|disk| disk.to_string_lossy().into_owned()).unwrap();
        Ok(self.cloud.state().sizes.get(&disk).copied())
    }
}

fn mount_once(
    mounts: &mut BTreeMap<PathBuf, Mounted>,
    destination: &Path,
    what: String,
    read_only: bool,
) {
    mounts.entry(destination.to_owned()).or_insert(Mounted { what, read_only });
}
