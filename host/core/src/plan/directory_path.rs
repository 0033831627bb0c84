//! Where the steps that work on directories work.

use serde::{Deserialize, Serialize};

use super::StepOutput;
use crate::error::Error;
use crate::policy::NodePolicy;

/// A path below something that the host opens; no link is followed out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryPath {
    /// Below what.
    pub base: DirectoryBase,
    /// Relative, without `..`.
    pub path: String,
}

/// What a [`DirectoryPath`] begins at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryBase {
    /// A directory of the node, by the operator's name for it.
    Granted(String),
    /// What this plan mounted on the call's path.
    Target,
    /// The private mount that only this plan sees and that is gone afterwards.
    Scratch,
}

impl DirectoryPath {
    /// What a plan mounted itself was granted by the step that mounted it.
    pub(super) fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        match &self.base {
            DirectoryBase::Granted(name) => policy.check_directory(name),
            DirectoryBase::Target | DirectoryBase::Scratch => Ok(()),
        }
    }

    pub(super) fn input(&self) -> Option<StepOutput> {
        match self.base {
            DirectoryBase::Granted(_) => None,
            DirectoryBase::Target => Some(StepOutput::FileSystem),
            DirectoryBase::Scratch => Some(StepOutput::Scratch),
        }
    }

    pub(super) fn describe(&self) -> String {
        let base = match &self.base {
            DirectoryBase::Granted(name) => name,
            DirectoryBase::Target => "target",
            DirectoryBase::Scratch => "scratch",
        };
        format!("{base}:{}", self.path)
    }
}
