//! `make-directory`: a directory with exactly this mode and owner.

use serde::{Deserialize, Serialize};

use super::{DirectoryPath, PlanStep};
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

    fn directory(&self) -> Option<&DirectoryPath> {
        Some(&self.at)
    }

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        self.at.check_grant(policy)
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.at.describe())
    }
}
