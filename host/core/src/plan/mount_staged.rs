//! `mount-staged`: what the volume was staged as, on the call's path.

use serde::{Deserialize, Serialize};

use super::PlanStep;
use crate::error::Error;
use crate::policy::NodePolicy;

/// Shows what the volume was staged as at the call's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStaged {
    /// Mount options.
    pub flags: Vec<String>,
    /// Nothing is written through this mount.
    pub read_only: bool,
}

impl PlanStep for MountStaged {
    const WORD: &'static str = "mount-staged";

    fn check_grant(&self, _policy: &NodePolicy) -> Result<(), Error> {
        Ok(())
    }
}
