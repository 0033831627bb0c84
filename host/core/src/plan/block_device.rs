//! `block-device`: the raw device on the call's path.

use serde::{Deserialize, Serialize};

use super::PlanStep;
use crate::error::Error;
use crate::policy::NodePolicy;

/// Puts the found device at the call's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// The workload only reads.
    pub read_only: bool,
}

impl PlanStep for BlockDevice {
    const WORD: &'static str = "block-device";

    fn check_grant(&self, _policy: &NodePolicy) -> Result<(), Error> {
        Ok(())
    }
}
