//! `mount-device`: the found device's file system on the call's path.

use serde::{Deserialize, Serialize};

use super::PlanStep;
use crate::error::Error;
use crate::policy::NodePolicy;

/// Mounts the found device on the call's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountDevice {
    /// `ext4`, `xfs`, …
    pub fs_type: String,
    /// Mount options.
    pub flags: Vec<String>,
    /// Nothing is written through this mount.
    pub read_only: bool,
}

impl PlanStep for MountDevice {
    const WORD: &'static str = "mount-device";

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        policy.check_filesystem(&self.fs_type)
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::WORD, self.fs_type)
    }
}
