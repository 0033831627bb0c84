//! Where things are in the source tree, as `cargo metadata` tells it. Called by every command;
//! starts nothing else.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command;

/// The workspace that the command was started in.
#[derive(Debug, Deserialize)]
pub struct Workspace {
    /// The directory of the root `Cargo.toml`.
    #[serde(rename = "workspace_root")]
    pub root: PathBuf,
    /// Where cargo builds into.
    #[serde(rename = "target_directory")]
    pub target: PathBuf,
    /// The members, without anything from a registry.
    pub packages: Vec<Package>,
}

/// One member of the workspace.
#[derive(Debug, Deserialize)]
pub struct Package {
    /// As in its `Cargo.toml`.
    pub name: String,
    /// As in its `Cargo.toml`, or inherited from the workspace.
    pub version: String,
    manifest_path: PathBuf,
    /// All kinds: normal, build and dev.
    pub dependencies: Vec<Dependency>,
}

/// One line under a package's dependencies.
#[derive(Debug, Deserialize)]
pub struct Dependency {
    /// The name of the package that is depended on.
    pub name: String,
    /// `None` for a normal dependency, else `build` or `dev`.
    pub kind: Option<String>,
}

impl Workspace {
    /// Asks cargo about the workspace around the current directory. Needs no network and no lock
    /// file.
    pub fn load() -> Result<Self> {
        let text = command::output(command::cargo().args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
        ]))?;
        serde_json::from_str(&text).context("cannot read the answer of `cargo metadata`")
    }

    /// A path below the root.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// Where built components go unless a command says otherwise.
    pub fn components(&self) -> PathBuf {
        self.target.join("wharf")
    }
}

impl Package {
    /// Its `Cargo.toml`.
    pub fn manifest(&self) -> &Path {
        &self.manifest_path
    }

    /// The directory of its `Cargo.toml`.
    pub fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("."))
    }
}
