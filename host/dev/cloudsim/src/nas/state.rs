//! What the region remembers of file storage. Everything that belongs to a file system is in it.
//! States follow from times, so that nothing has to happen for them to change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// All file systems, by id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Nas {
    pub(crate) file_systems: BTreeMap<String, FileSystem>,
}

/// `FileSystemType`, as far as it is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Standard,
    Extreme,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Extreme => "extreme",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileSystem {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) kind: Kind,
    pub(crate) storage_type: String,
    pub(crate) protocol: String,
    pub(crate) zone: String,
    pub(crate) description: String,
    /// In GiB; of an extreme file system alone.
    pub(crate) capacity_gib: Option<u64>,
    pub(crate) encrypt_type: u64,
    pub(crate) kms_key: String,
    pub(crate) resource_group: String,
    pub(crate) life: Life,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) mount_targets: Vec<MountTarget>,
    pub(crate) access_points: Vec<AccessPoint>,
    pub(crate) quotas: Vec<DirQuota>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountTarget {
    pub(crate) domain: String,
    pub(crate) access_group: String,
    pub(crate) vpc: String,
    pub(crate) vswitch: String,
    /// By `ModifyMountTarget`.
    pub(crate) inactive: bool,
    pub(crate) life: Life,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccessPoint {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) domain: String,
    pub(crate) access_group: String,
    pub(crate) vpc: String,
    pub(crate) vswitch: String,
    pub(crate) root: String,
    /// User, group and mode with which the root was to be made.
    pub(crate) owner: Option<(u32, u32, String)>,
    pub(crate) user: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) secondary_groups: Vec<u32>,
    pub(crate) ram: bool,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) life: Life,
}

/// A quota of one user, one group or everybody on one directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DirQuota {
    pub(crate) path: String,
    /// The directory that it was set on: one that comes later by the same name has none.
    pub(crate) inode: u64,
    pub(crate) user_type: String,
    pub(crate) user: String,
    pub(crate) quota_type: String,
    pub(crate) size_gib: Option<u64>,
    pub(crate) files: Option<u64>,
    pub(crate) ready_at: Millis,
}

/// From when something is there, and when it goes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) created: Millis,
    pub(crate) ready_at: Millis,
    pub(crate) gone_at: Option<Millis>,
}

impl Life {
    pub(crate) fn from(now: Millis, delay: Millis) -> Self {
        Self { created: now, ready_at: now.saturating_add(delay), gone_at: None }
    }

    /// `Pending`, `Deleting`, or what it is in between.
    pub(crate) fn status(&self, now: Millis, between: &'static str) -> &'static str {
        match self.gone_at {
            Some(_) => "Deleting",
            None if self.ready_at > now => "Pending",
            None => between,
        }
    }

    fn is_gone(&self, now: Millis) -> bool {
        self.gone_at.is_some_and(|at| at <= now)
    }
}

impl FileSystem {
    /// `Status` of the API.
    pub(crate) fn status(&self, now: Millis) -> &'static str {
        self.life.status(now, "Running")
    }
}

impl MountTarget {
    /// `Status` of the API.
    pub(crate) fn status(&self, now: Millis) -> &'static str {
        self.life.status(now, if self.inactive { "Inactive" } else { "Active" })
    }
}

impl Nas {
    /// Forgets what is gone by now; answers the file systems among it.
    pub(crate) fn progress(&mut self, now: Millis) -> Vec<String> {
        let gone = self.file_systems.values().filter(|system| system.life.is_gone(now));
        let gone: Vec<String> = gone.map(|system| system.id.clone()).collect();
        self.file_systems.retain(|id, _| !gone.contains(id));
        for system in self.file_systems.values_mut() {
            system.mount_targets.retain(|target| !target.life.is_gone(now));
            system.access_points.retain(|point| !point.life.is_gone(now));
        }
        gone
    }

    /// When [`Nas::progress`] has something to do next.
    pub(crate) fn next_change(&self) -> Option<Millis> {
        let lives = self.file_systems.values().flat_map(|system| {
            let targets = system.mount_targets.iter().map(|target| target.life);
            let points = system.access_points.iter().map(|point| point.life);
            std::iter::once(system.life).chain(targets).chain(points)
        });
        lives.filter_map(|life| life.gone_at).min()
    }
}
