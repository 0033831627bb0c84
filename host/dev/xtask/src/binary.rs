//! The `wharf` binary, built for the commands that run it.

use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::command::{self, announce};
use crate::workspace::Workspace;

/// Among what the binary is built. Cargo chooses features of shared dependencies by what is built
/// together, so asking for the other company compiles a part of them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// The binary and what it needs: the shortest way from a fresh clone. Chosen among all packages
    /// and not as one, so that its dependencies have the features that all of them ask for and are
    /// compiled once.
    Alone,
    /// With all tests of the workspace, which are wanted anyway, and with every feature.
    Tests,
}

impl Company {
    /// The arguments for cargo.
    pub const fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Alone => &["build", "--bin", "wharf"],
            Self::Tests => &["build", "--workspace", "--all-targets", "--features", "wharf/otlp"],
        }
    }
}

/// Builds the binary and says where it is.
pub fn build(workspace: &Workspace, company: Company) -> Result<PathBuf> {
    announce("building the wharf binary (minutes the first time)");
    command::run(command::cargo().current_dir(&workspace.root).args(company.arguments()))?;
    let binary = workspace.target.join("debug/wharf");
    ensure!(binary.is_file(), "cargo built no {}", binary.display());
    Ok(binary)
}
