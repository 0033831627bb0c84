//! `set-ownership`: mode and owner of a directory, or of everything in it.

use serde::{Deserialize, Serialize};

use super::{DirectoryPath, PlanStep};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Sets mode and owner of a directory that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetOwnership {
    /// Where; an empty path is the base itself.
    pub at: DirectoryPath,
    /// Permission bits; absent: as they are.
    pub mode: Option<u32>,
    /// Owner; absent: as it is.
    pub uid: Option<u32>,
    /// Group; absent: as it is.
    pub gid: Option<u32>,
    /// Everything below it too; no link is followed and no other mount entered.
    pub recursive: bool,
}

impl PlanStep for SetOwnership {
    const NAME: &'static str = "set-ownership";

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
