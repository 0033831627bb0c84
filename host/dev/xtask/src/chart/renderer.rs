//! The program that renders the chart: Helm's own engine, without Helm's client. It is built from
//! `assets/render-chart` once for each state of that source; all of Helm would take thrice as long.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::command::{self, announce};
use crate::go;
use crate::workspace::Workspace;

/// What Helm at the version in `go.mod` is written in.
const OLDEST_GO: (u32, u32) = (1, 24);

const SOURCES: [&str; 3] = ["go.mod", "go.sum", "main.go"];

/// What a chart becomes with some values.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Rendered {
    /// What is said to whoever installed it.
    pub notes: String,
    /// The objects, in the order of the files.
    pub objects: Vec<Value>,
}

/// The program.
pub struct Renderer {
    program: PathBuf,
    chart: PathBuf,
}

impl Renderer {
    /// The one below `target/`, or a new one.
    pub fn find_or_build(workspace: &Workspace, chart: &Path) -> Result<Self> {
        let source = workspace.path("host/dev/xtask/assets/render-chart");
        let program =
            workspace.target.join("tools").join(format!("render-chart-{}", state(&source)?));
        if !program.is_file() {
            build(&source, &program)?;
        }
        Ok(Self { program, chart: chart.to_owned() })
    }

    /// Renders with these values, for this version of Kubernetes.
    ///
    /// # Errors
    /// What the chart or the API says against it.
    pub fn render(&self, values: &Path, kubernetes: &str) -> Result<Rendered> {
        let text = command::output(
            Command::new(&self.program).arg(&self.chart).arg(kubernetes).arg(values),
        )?;
        serde_json::from_str(&text).context("the renderer printed something else than objects")
    }
}

fn state(source: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    for name in SOURCES {
        let path = source.join(name);
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        digest.update(content);
    }
    Ok(format!("{:.12x}", digest.finalize()))
}

fn build(source: &Path, program: &Path) -> Result<()> {
    let go = go::find(OLDEST_GO, "the chart's renderer")?;
    announce("building the chart's renderer (about two minutes, once)");
    command::run(
        Command::new(go)
            .current_dir(source)
            .args(["build", "-trimpath", "-mod=readonly", "-o"])
            .arg(program)
            .arg(".")
            .stdin(Stdio::null()),
    )?;
    ensure!(program.is_file(), "`go build` made no {}", program.display());
    Ok(())
}
