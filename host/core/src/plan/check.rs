//! `check`: a file system without errors.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Checks the file system and repairs what is safe to repair, if there is one and it is not
/// mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// `ext4`, `xfs`, …; empty: what the device has.
    pub fs_type: String,
}

impl PlanStep for Check {
    const NAME: &'static str = "check";

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        policy.check_filesystem_if_named(&self.fs_type)
    }

    fn input(&self) -> Option<StepOutput> {
        Some(StepOutput::Device)
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        None
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.fs_type).trim_end().to_owned()
    }
}
