//! `remove-tree`: a directory and everything in it, gone.

use serde::{Deserialize, Serialize};

use super::{DirectoryPath, PlanStep};
use crate::error::Error;
use crate::policy::NodePolicy;

/// Removes a directory with everything in it. No link is followed and no other mount entered; it
/// may be interrupted and repeated. Gone already: nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveTree {
    /// What.
    pub at: DirectoryPath,
}

impl PlanStep for RemoveTree {
    const NAME: &'static str = "remove-tree";

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
