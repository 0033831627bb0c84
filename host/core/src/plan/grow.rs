//! `grow`: a file system as large as its device.

use serde::{Deserialize, Serialize};

use super::PlanStep;
use crate::error::Error;
use crate::policy::NodePolicy;

/// Grows the file system to the size of its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grow {
    /// `ext4`, `xfs`, …; empty: what the device has.
    pub fs_type: String,
}

impl PlanStep for Grow {
    const NAME: &'static str = "grow";

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        policy.check_filesystem_if_named(&self.fs_type)
    }

    /// It may grow what is mounted on the call's path, so it needs no device.
    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        None
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.fs_type).trim_end().to_owned()
    }
}
