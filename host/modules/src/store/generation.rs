//! One installed build of a component.

use std::fmt;

use serde::{Deserialize, Serialize};
use wharf_core::manifest::{ComponentName, Manifest, NotAName, World};
use wharf_core::text;
use wharf_runtime::Checked;

use super::digest::Digest;

/// A reason is a record's, a terminal's and a message's: what a compiler or a guest says in more is
/// cut.
const REASON_BYTES: usize = 4 << 10;

/// What a component is called: its kind and its name. Kinds have names of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComponentId {
    /// Its kind.
    pub world: World,
    /// Its name among those of its kind.
    pub name: ComponentName,
}

impl ComponentId {
    /// The component of this kind and name.
    ///
    /// # Errors
    /// When this is no name.
    pub fn new(world: World, name: &str) -> Result<Self, NotAName> {
        Ok(Self { world, name: name.parse()? })
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.world.noun(), self.name)
    }
}

/// The record of one generation. The manifest is a copy for people: calls run with the one that was
/// read from the compiled bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Generation {
    /// Counts up from 1 for each component; never used twice.
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
    /// Whose generation it is.
    pub fn id(&self) -> ComponentId {
        ComponentId { world: self.manifest.world, name: self.manifest.name.clone() }
    }

    /// Whether it was checked, and can run.
    pub fn is_checked(&self) -> bool {
        matches!(self.state, State::Checked { .. })
    }

    /// Whether checking it failed.
    pub fn is_rejected(&self) -> bool {
        matches!(self.state, State::Rejected { .. })
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Manifest { name, version, .. } = &self.manifest;
        write!(f, "{name} {version} (generation {})", self.number)
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
    Checked {
        /// What it said then, and says as long as it is installed. Missing in records of builds
        /// that did not keep it: such a generation is checked again when it is loaded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<Box<Checked>>,
    },
    /// It was not, and why.
    Rejected {
        /// In words for a person.
        reason: Reason,
    },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Staged => f.write_str("staged"),
            Self::Checked { .. } => f.write_str("checked"),
            Self::Rejected { reason } => write!(f, "rejected: {reason}"),
        }
    }
}

/// Why a component was rejected: at most 4 KiB, and printable, whoever said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Reason(String);

impl From<String> for Reason {
    fn from(said: String) -> Self {
        Self(text::lines(said.trim_end(), REASON_BYTES))
    }
}

impl From<Reason> for String {
    fn from(reason: Reason) -> Self {
        reason.0
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_printable_also_one_that_is_read_from_a_record() {
        let long = format!("it says \u{1b}[2J{}", "x".repeat(10_000));
        let reason = String::from(Reason::from(long.clone()));
        assert!(reason.len() <= 4096 && reason.starts_with("it says  [2J"), "{reason}");
        let record = serde_json::json!({ "name": "rejected", "reason": long });
        let state: State = serde_json::from_value(record).unwrap();
        assert_eq!(state.to_string(), format!("rejected: {reason}"));
    }
}
