//! The part `conformance`: `examples/conformance`, which a backend's author copies, against the
//! smallest component. It is outside of the workspace, as an author's crate is; what it shares with
//! the workspace is compiled once, as it has the same versions and features and this target
//! directory.

use std::fs;

use anyhow::{Context, Result};

use crate::command;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Where the crate is.
const CRATE: &str = "examples/conformance";

/// For the table of parts.
pub fn part(workspace: &Workspace) -> Result<Tally> {
    let own = workspace.path(CRATE);
    fs::copy(workspace.path("Cargo.lock"), own.join("Cargo.lock"))
        .with_context(|| format!("cannot copy Cargo.lock into {CRATE}"))?;
    let mut cargo = command::cargo();
    cargo
        .args(["test", "--manifest-path"])
        .arg(own.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &workspace.target)
        .env("WHARF_COMPONENT", workspace.target.join("wharf/hello.wasm"));
    command::run(&mut cargo)?;
    Ok(Tally::one_passed())
}
