//! `block-device`: the raw device on the call's path.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Puts the found device at the call's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// The workload only reads.
    pub read_only: bool,
}

impl PlanStep for BlockDevice {
    const NAME: &'static str = "block-device";

    fn check_grant(&self, _policy: &NodePolicy) -> Result<(), Error> {
        Ok(())
    }

    fn input(&self) -> Option<StepOutput> {
        Some(StepOutput::Device)
    }

    fn output(&self) -> Option<StepOutput> {
        Some(StepOutput::RawDevice)
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        Some(Self { read_only: true })
    }
}
