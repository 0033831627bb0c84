//! `mount-device`: the found device's file system on the call's path.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Mounts the found device on the call's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountDevice {
    /// `ext4`, `xfs`, …; empty: what the device has. Another type of the same family is mounted as
    /// what it is, another family is an error.
    pub fs_type: String,
    /// Mount options.
    pub flags: Vec<String>,
    /// Nothing is written through this mount.
    pub read_only: bool,
}

impl PlanStep for MountDevice {
    const NAME: &'static str = "mount-device";

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        policy.check_filesystem_if_named(&self.fs_type)
    }

    fn input(&self) -> Option<StepOutput> {
        Some(StepOutput::Device)
    }

    fn output(&self) -> Option<StepOutput> {
        Some(StepOutput::FileSystem)
    }

    /// Reading alone may still replay the journal, which writes. Where others may read the disk at
    /// the same time, nobody may: `norecovery` is understood by ext4's driver (`noload`) and XFS.
    fn for_reading(mut self, is_shared: bool) -> Option<Self> {
        self.read_only = true;
        if is_shared {
            self.flags.push("norecovery".to_owned());
        }
        Some(self)
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.fs_type).trim_end().to_owned()
    }
}
