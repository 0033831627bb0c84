//! `remove-tree`: a directory and everything in it, gone.

use serde::{Deserialize, Serialize};

use super::{DirectoryBase, DirectoryPath, PlanStep, Thing};
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
    const WORD: &'static str = "remove-tree";

    fn needs_path(&self) -> bool {
        self.at.base == DirectoryBase::Target
    }

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        self.at.check_grant(policy)
    }

    fn needs(&self) -> Option<Thing> {
        self.at.needs()
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::WORD, self.at.describe())
    }
}
