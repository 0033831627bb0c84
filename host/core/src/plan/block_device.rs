//! `block-device`: the raw device on the call's path.

use serde::{Deserialize, Serialize};

use super::{PlanStep, Thing};
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

    fn needs(&self) -> Option<Thing> {
        Some(Thing::Device)
    }

    fn gives(&self) -> Option<Thing> {
        Some(Thing::RawDevice)
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        Some(Self { read_only: true })
    }
}
