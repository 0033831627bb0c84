//! What the decisions need from the world. Each port has one real implementation and one fake that
//! keeps state; both pass the same conformance suite in `wharf-testing`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::plan::Plan;
use crate::policy::NodePolicy;
use crate::secret::Secret;
use crate::types::{Condition, VolumeId};
pub use crate::verbs::{Ask, Backend, Describe};

/// Monotonic time since an arbitrary start.
pub type Instant = Duration;

/// Time. Monotonic; `sleep` returns early when the call is cancelled.
pub trait Clock: Send + Sync {
    /// Monotonic time.
    fn now(&self) -> Instant;
    /// Blocks this thread for so long, or until `call` is cancelled.
    fn sleep(&self, duration: Duration, call: &Call);
    /// A thread has waited for so long for what another one learns from the cloud. For clocks that
    /// account for time; it is over when this is called.
    fn note_wait(&self, _waited: Duration) {}
}

/// One call of a front end: its deadline and whether anybody still waits for it.
#[derive(Debug, Clone)]
pub struct Call {
    deadline: Instant,
    cancelled: Arc<AtomicBool>,
}

impl Call {
    /// A call that must have answered by then.
    pub fn until(deadline: Instant) -> Self {
        Self { deadline, cancelled: Arc::new(AtomicBool::new(false)) }
    }

    /// When the caller stops waiting.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The same call with less time, for something that it waits for: whoever cancels one cancels
    /// both.
    #[must_use]
    pub fn no_later_than(&self, deadline: Instant) -> Self {
        Self { deadline: self.deadline.min(deadline), cancelled: Arc::clone(&self.cancelled) }
    }

    /// Time left; zero when it is over.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.deadline.saturating_sub(now)
    }

    /// Says that nobody waits any more (the client hung up, or the server drains). Work stops at
    /// the next safe place.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether [`Call::cancel`] was called on this call or a clone of it.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// What is known of a volume on this node: one small file per volume, in [`Node`]'s state
/// directory. The mount table is the truth wherever the two differ.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StageRecord {
    /// The CSI driver name.
    pub driver: String,
    /// The volume.
    pub volume: VolumeId,
    /// Where it is staged.
    pub staging_path: PathBuf,
    /// How it was asked for.
    pub capability: crate::types::Capability,
    /// What `create` returned, as the caller gave it. Holds no secret: front ends strip those.
    pub context: crate::types::Parameters,
    /// What `attach` returned.
    pub publish_context: crate::types::Parameters,
    /// The block device, where there is one (`/dev/…`, resolved).
    pub device: Option<PathBuf>,
    /// The serial that it reports, if it does. No two volumes have the same.
    #[serde(default)]
    pub serial: Option<String>,
    /// What staged it, so that it can be repeated. Absent in records of earlier versions, and where
    /// nothing was staged.
    #[serde(default)]
    pub plan: Option<Plan>,
    /// Whether every step of the plan was done. False: killed on the way, the next call goes
    /// through the plan again.
    pub complete: bool,
    /// Where it is published.
    pub targets: Vec<PublishRecord>,
}

/// One published target of a staged (or stage-less) volume.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PublishRecord {
    /// The path that was asked for.
    pub target_path: PathBuf,
    /// How it was asked for.
    pub capability: crate::types::Capability,
    /// Read-only.
    pub read_only: bool,
    /// What published it. Absent in records of earlier versions.
    #[serde(default)]
    pub plan: Option<Plan>,
    /// Whether what is mounted there proves that every step of the plan was done. False: killed on
    /// the way, or on it; the next call goes through the plan again. Absent in records of earlier
    /// versions.
    #[serde(default = "was_complete")]
    pub complete: bool,
}

/// Earlier versions believed every mount.
fn was_complete() -> bool {
    true
}

/// A mount, as the kernel reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounted {
    /// Nothing can be written through it.
    pub is_read_only: bool,
    /// The block device under it was taken away; it answers nothing but errors.
    pub is_dead: bool,
    /// The block device under it (`/dev/…`, resolved), or the raw device that it shows; absent
    /// where there is none, or none any more.
    pub device: Option<PathBuf>,
    /// The serial that this device reports, or the disk that it is a partition of.
    pub serial: Option<String>,
    /// Major and minor number of the file system, where a helper process serves it (FUSE). All
    /// mounts of it have the same, and no other file system has it meanwhile.
    pub helper_device: Option<(u32, u32)>,
    /// Where else, among the paths that this host answers for, the same file system of a block
    /// device is mounted.
    pub elsewhere: Vec<PathBuf>,
}

/// A plan to be run, and for what.
#[derive(Debug, Clone, Copy)]
pub struct PlanRun<'a> {
    /// What must be true.
    pub plan: &'a Plan,
    /// What the operator grants.
    pub policy: &'a NodePolicy,
    /// The CSI driver name.
    pub driver: &'a str,
    /// Whose volume's plan it is.
    pub volume: &'a VolumeId,
    /// Where its mount or its device lands; made when it is missing.
    pub destination: &'a Path,
    /// What [`crate::plan::MountStaged`] shows: the staging path, in a call that has another one.
    pub staged: Option<&'a Path>,
    /// What came with the call, for the keys of a mount helper: an account may have them for a
    /// source. Never written down.
    pub secrets: CallSecrets<'a>,
}

/// Secrets of a call, as far as accounts have them for a source.
#[derive(Debug, Clone, Copy)]
pub enum CallSecrets<'a> {
    /// It brought these.
    Brought(&'a [(String, Secret)]),
    /// It brought none, and a later call may: an account that has them for a source has no
    /// credential yet, whatever other sources it has. They are for volumes that bring none at all.
    Later,
}

impl CallSecrets<'_> {
    /// It brought none, and none will come.
    pub const NONE: Self = Self::Brought(&[]);
}

/// A block device that a plan found.
pub struct FoundDevice {
    /// Its node (`/dev/…`, resolved).
    pub path: PathBuf,
    /// The serial that it reports, if it does.
    pub serial: Option<String>,
    /// Nobody else on the node decides whose device it is while this lives: until it is written
    /// down, which is all that says so of one that is not mounted.
    pub guard: NodeGuard,
}

impl fmt::Debug for FoundDevice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, serial, guard: _ } = self;
        let mut shown = formatter.debug_struct("FoundDevice");
        shown.field("path", path).field("serial", serial).finish_non_exhaustive()
    }
}

/// Bytes and inodes of a mounted volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Usage {
    /// Whole size.
    pub total_bytes: u64,
    /// Free for an ordinary user.
    pub available_bytes: u64,
    /// In use.
    pub used_bytes: u64,
    /// All inodes; zero where the file system has no such number.
    pub total_inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
}

/// What can be said of a volume that is mounted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// Its space; absent where what answers for it gave no figures in time.
    pub usage: Option<Usage>,
    /// Whether it works.
    pub condition: Condition,
}

/// The machine: the only way in which the host changes a node. Every method does nothing when its
/// work is done already, and leaves the mount table as it was when it fails.
pub trait Node: Send + Sync {
    /// Keeps other processes from working on this volume while the guard lives: a server and any
    /// number of FlexVolume processes share a node. `Aborted` when another one holds it until
    /// the call's deadline. The kernel gives it back however the holder ends.
    fn lock(&self, call: &Call, driver: &str, volume: &VolumeId) -> Result<NodeGuard, Error>;
    /// The record of a volume, if there is one. A record that cannot be read is an error, never
    /// "none".
    fn record(&self, driver: &str, volume: &VolumeId) -> Result<Option<StageRecord>, Error>;
    /// The record whose staging path or target path is this one.
    fn record_of_path(&self, path: &Path) -> Result<Option<StageRecord>, Error>;
    /// Every record of a driver.
    fn records(&self, driver: &str) -> Result<Vec<StageRecord>, Error>;
    /// Writes the record by atomic rename.
    fn save(&self, record: &StageRecord) -> Result<(), Error>;
    /// Removes the record; a missing one is fine.
    fn forget(&self, driver: &str, volume: &VolumeId) -> Result<(), Error>;
    /// What is mounted at exactly this path, according to the kernel's mount table.
    fn mounted(&self, path: &Path) -> Result<Option<Mounted>, Error>;
    /// Whether exactly this path is a mount point.
    fn is_mounted(&self, path: &Path) -> Result<bool, Error> {
        Ok(self.mounted(path)?.is_some())
    }
    /// What a path shows instead of the mount that a plan makes there, in a few words; `None`: that
    /// mount, nothing at all, or one that cannot be distinguished from others. `staged` is what
    /// [`crate::plan::MountStaged`] shows. The mount table says it, and of a helper's mount whoever
    /// keeps it. No server or disk is asked, and no helper but that of an earlier driver, for a few
    /// seconds.
    fn shown_instead(
        &self,
        plan: &Plan,
        policy: &NodePolicy,
        path: &Path,
        staged: Option<&Path>,
    ) -> Result<Option<String>, Error>;
    /// Whether two paths are spellings of one.
    fn is_same_path(&self, one: &Path, other: &Path) -> bool {
        one == other
    }
    /// Runs a plan. Each step is checked against the policy before the first one runs, and the
    /// device that it finds is refused when it is not free to be this volume. Returns that device,
    /// if the plan looked for one.
    fn run(&self, call: &Call, run: &PlanRun<'_>) -> Result<Option<FoundDevice>, Error>;
    /// Runs only the `find-device` steps of a plan.
    fn find_device(&self, call: &Call, plan: &Plan, policy: &NodePolicy) -> Result<PathBuf, Error>;
    /// Unmounts everything that is mounted on this path, then removes the path itself when `remove`
    /// says so (an empty directory, or the file that held a device). Nothing else is ever deleted.
    /// Missing is fine.
    fn unmount(&self, call: &Call, path: &Path, remove: RemovePath) -> Result<(), Error>;
    /// Space and condition of the mounted volume, or of the device at this path. A server, a
    /// process or a disk that does not answer is a condition; it is waited for as long as this node
    /// waits for such, and no longer than the call. `NotFound` when nothing is mounted there.
    fn stats(&self, call: &Call, path: &Path) -> Result<Stats, Error>;
    /// Bytes of the block device behind this path (a device, or a mount point), if there is one.
    fn device_size(&self, path: &Path) -> Result<Option<u64>, Error>;
}

/// The machine that the controller runs on, for plans that a backend asks it to perform.
pub trait Performer: Send + Sync {
    /// Runs a plan that has no path of a call: what it mounts is a scratch mount, which is gone
    /// when this returns. Each step is checked against `policy`, and a plan with a step that needs
    /// a path is refused, before the first step runs. What is true already is left alone.
    ///
    /// # Errors
    /// A step's own; `Aborted` when it made some way and has to be asked again.
    fn perform(&self, call: &Call, plan: &Plan, policy: &NodePolicy) -> Result<(), Error>;

    /// Where this machine shows the volume to a workload: by its records, and by its mount table.
    ///
    /// # Errors
    /// When one of them cannot be read.
    fn shown_at(&self, driver: &str, volume: &VolumeId) -> Result<Option<PathBuf>, Error>;
}

/// The right to work on one volume of this node; given back when it is dropped.
pub type NodeGuard = Box<dyn Send>;

/// What [`Node::unmount`] leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovePath {
    /// The mount point is removed (CSI requires it of a target path).
    Yes,
    /// The caller owns the mount point (kubelet removes it itself).
    No,
}
