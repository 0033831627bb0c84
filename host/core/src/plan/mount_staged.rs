//! `mount-staged`: what the volume was staged as, on the call's path.

use serde::{Deserialize, Serialize};

use super::{PlanStep, Thing};
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

    fn needs(&self) -> Option<Thing> {
        Some(Thing::Staged)
    }

    fn gives(&self) -> Option<Thing> {
        Some(Thing::FileSystem)
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        Some(Self { read_only: true, ..self })
    }
}
