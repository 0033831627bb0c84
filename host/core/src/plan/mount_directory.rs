//! `mount-directory`: a directory of the node on the call's path.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Shows a granted directory at the call's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountDirectory {
    /// Which.
    pub at: GrantedDirectory,
    /// Mount options.
    pub flags: Vec<String>,
    /// Nothing is written through this mount.
    pub read_only: bool,
}

/// A directory that the operator named, and a path under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedDirectory {
    /// The operator's name for the directory.
    pub root: String,
    /// Relative; no link is followed out of the root.
    pub path: String,
}

impl PlanStep for MountDirectory {
    const NAME: &'static str = "mount-directory";

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        policy.check_directory(&self.at.root)
    }

    fn output(&self) -> Option<StepOutput> {
        Some(StepOutput::FileSystem)
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        Some(Self { read_only: true, ..self })
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.at.root)
    }
}
