//! `set-block-queue`: one setting of the found device's request queue.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Writes one setting of the found device's request queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBlockQueue {
    /// A file name under `queue/`.
    pub key: String,
    /// What to write.
    pub value: String,
}

impl PlanStep for SetBlockQueue {
    const NAME: &'static str = "set-block-queue";

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        policy.check_block_queue(&self.key)
    }

    fn input(&self) -> Option<StepOutput> {
        Some(StepOutput::Device)
    }

    fn describe(&self) -> String {
        format!("{} {}={}", Self::NAME, self.key, self.value)
    }
}
