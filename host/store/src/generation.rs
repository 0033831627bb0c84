//! One installed build of a backend.

use serde::{Deserialize, Serialize};
use wharf_core::manifest::Manifest;

use crate::digest::Digest;

/// The record of one generation. The manifest is the component's own, copied here so that a call
/// need not parse the component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Generation {
    /// Counts up from 1 for each backend; never used twice.
    pub number: u64,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Seconds since 1970-01-01 UTC.
    pub installed_at: u64,
    /// How far it has come.
    pub state: State,
    /// What the component says of itself.
    pub manifest: Manifest,
}

impl Generation {
    /// Whether checking it failed.
    pub fn is_rejected(&self) -> bool {
        matches!(self.state, State::Rejected { .. })
    }
}

/// How far a generation has come. Which one is active is not written here but in one place,
/// `active`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum State {
    /// Its bytes are in the store.
    Staged,
    /// It was compiled, instantiated and described itself.
    Checked,
    /// It was not, and why.
    Rejected {
        /// In words for a person.
        reason: String,
    },
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Staged => f.write_str("staged"),
            Self::Checked => f.write_str("checked"),
            Self::Rejected { reason } => write!(f, "rejected: {reason}"),
        }
    }
}
