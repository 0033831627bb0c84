//! `mount-staged`: what the volume was staged as, on the call's path.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
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
    const NAME: &'static str = "mount-staged";

    fn check_grant(&self, _policy: &NodePolicy) -> Result<(), Error> {
        Ok(())
    }

    fn input(&self) -> Option<StepOutput> {
        Some(StepOutput::Staged)
    }

    fn output(&self) -> Option<StepOutput> {
        Some(StepOutput::FileSystem)
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        Some(Self { read_only: true, ..self })
    }
}
