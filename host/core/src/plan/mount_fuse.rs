//! `mount-fuse`: a file system that a helper program serves, on the call's path.

use serde::{Deserialize, Serialize};

use super::{PlanStep, StepOutput};
use crate::error::Error;
use crate::policy::NodePolicy;
use crate::types::Parameters;

/// Has a granted helper serve a file system on the call's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountFuse {
    /// The operator's name for the helper program.
    pub helper: String,
    /// What the mount table shows as the source.
    pub source: String,
    /// For the helper, one argument each.
    pub arguments: Vec<String>,
    /// The credential that the helper gets in files; absent: it needs none.
    pub credential: Option<HelperCredential>,
    /// When the mount counts as made.
    pub ready: Readiness,
    /// Nothing is written through this mount.
    pub read_only: bool,
}

/// A credential, rendered into the files that a helper reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelperCredential {
    /// The operator's name of the account.
    pub account: String,
    /// Which files the account's component renders.
    pub form: String,
    /// What it puts into them besides the credential. Nothing secret.
    pub values: Parameters,
}

/// When a helper's mount counts as made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// Once the mount table shows it.
    Mounted,
    /// Once the file system answers a question about its root.
    Answers,
}

impl PlanStep for MountFuse {
    const NAME: &'static str = "mount-fuse";

    fn check_grant(&self, policy: &NodePolicy) -> Result<(), Error> {
        let account = self.credential.as_ref().map(|credential| credential.account.as_str());
        policy.check_helper(&self.helper, account)
    }

    fn output(&self) -> Option<StepOutput> {
        Some(StepOutput::FileSystem)
    }

    fn for_reading(self, _is_shared: bool) -> Option<Self> {
        Some(Self { read_only: true, ..self })
    }

    fn describe(&self) -> String {
        format!("{} {}", Self::NAME, self.helper)
    }
}
