//! The API's schemas: a package of Python's index carries them, and the script beside this source
//! asks it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::command::{self, announce};
use crate::workspace::Workspace;

/// Oldest that the chart is for, newest that the schemas are there for, and one between them from
/// which on fields were added that the chart uses.
pub const VERSIONS: [&str; 3] = ["1.26", "1.33", "1.37"];

/// An interpreter that has the schemas.
pub struct Schemas {
    python: PathBuf,
    script: PathBuf,
}

impl Schemas {
    /// Made once for each list of packages, below `target/tools`.
    pub fn find_or_install(workspace: &Workspace) -> Result<Self> {
        let assets = workspace.path("host/dev/xtask/assets");
        let script = assets.join("validate_objects.py");
        let requirements = assets.join("validate_objects.txt");
        let wanted = fs::read_to_string(&requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let directory = workspace.target.join("tools/kubernetes-schemas");
        let (python, stamp) = (directory.join("bin/python"), directory.join("requirements.txt"));
        if !(python.is_file() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted)) {
            install(&directory, &python, &requirements)?;
            fs::write(&stamp, wanted)?;
        }
        Ok(Self { python, script })
    }

    /// What is wrong with these objects, each for its version.
    pub fn complaints<'a>(
        &self,
        objects: impl Iterator<Item = (&'a str, &'a Value)>,
    ) -> Result<Vec<String>> {
        let lines: String = objects
            .map(|(version, object)| json!({ "version": version, "object": object }).to_string())
            .map(|line| line + "\n")
            .collect();
        let mut child = Command::new(&self.python)
            .arg(&self.script)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.python.display()))?;
        // By a thread of its own: it answers before it has read everything.
        let mut input = child.stdin.take().context("a child without standard input")?;
        let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "the check of the schemas failed ({})", output.status);
        writer.join().ok().context("the writer ended badly")??;
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

fn install(directory: &Path, python: &Path, requirements: &Path) -> Result<()> {
    announce("installing the schemas of the Kubernetes API (seconds, once)");
    command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(directory))?;
    let quiet = ["--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=20"];
    command::run(
        Command::new(python)
            .args(["-m", "pip", "install"])
            .args(quiet)
            .arg("--requirement")
            .arg(requirements),
    )
}
