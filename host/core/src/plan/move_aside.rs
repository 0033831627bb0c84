//! `move-aside`: a directory under another name, instead of deleting it.

use serde::{Deserialize, Serialize};

use super::{DirectoryPath, PlanStep};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Moves a directory to another place under the same base. Never overwrites; moved already: nothing
/// is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveAside {
    /// What.
    pub from: DirectoryPath,
    /// Where to: relative to the same base.
    pub to: String,
}

impl PlanStep for MoveAside {
    const NAME: &'static str = "move-aside";

    fn directory(&self) -> Option<&DirectoryPath> {
        Some(&self.from)
    }

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        self.from.check_grant(policy)
    }

    fn describe(&self) -> String {
        format!("{} {} to {}", Self::NAME, self.from.describe(), self.to)
    }
}
