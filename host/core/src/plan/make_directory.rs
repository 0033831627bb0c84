//! `make-directory`: a directory with exactly this mode and owner.

use serde::{Deserialize, Serialize};

use super::{DirectoryBase, DirectoryPath, PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Makes a directory, and those above it where they are missing. Nothing else in it is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeDirectory {
    /// Where.
    pub at: DirectoryPath,
    /// Permission bits.
    pub mode: u32,
    /// Owner; absent: whoever it has.
    pub uid: Option<u32>,
    /// Group; absent: whichever it has.
    pub gid: Option<u32>,
}

impl PlanStep for MakeDirectory {
    const NAME: &'static str = "make-directory";

    fn needs_path(&self) -> bool {
        self.at.base == DirectoryBase::Target
    }

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        self.at.check_grant(policy)
    }

    fn input(&self) -> Option<StepOutput> {
        self.at.input()
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.at.describe())
    }
}
