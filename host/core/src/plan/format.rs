//! `format`: a file system where there is provably none.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Makes a file system, only on a provably blank device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    /// `ext4`, `xfs`, …
    pub fs_type: String,
    /// For the mkfs program, one argument each.
    pub arguments: Vec<String>,
}

impl PlanStep for Format {
    const NAME: &'static str = "format";

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        policy.check_filesystem(&self.fs_type)
    }

    fn input(&self) -> Option<StepOutput> {
        Some(StepOutput::Device)
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        None
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.fs_type)
    }
}
