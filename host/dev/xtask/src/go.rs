//! The Go that builds other projects' tools.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command;

/// A Go at least this new, for this purpose.
pub fn find(oldest: (u32, u32), what_for: &str) -> Result<PathBuf> {
    let (major, minor) = oldest;
    let Some(go) = command::find_program("go") else {
        bail!(
            "{what_for} is missing, and so is Go to build it: install Go {major}.{minor} or newer (https://go.dev/dl)"
        );
    };
    let version = command::output(Command::new(&go).args(["env", "GOVERSION"]))?;
    let known =
        parse_version(&version).with_context(|| format!("cannot read Go's version {version:?}"))?;
    let version = version.trim();
    ensure!(known >= oldest, "{what_for} needs Go {major}.{minor} or newer, this is {version}");
    Ok(go)
}

/// `go1.26.8` or `go1.23` to its first two numbers.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("go")?.split(['.', '-', ' ', 'r', 'b']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions_compare_by_number() {
        assert_eq!(parse_version("go1.26.8\n"), Some((1, 26)));
        assert_eq!(parse_version("go1.27rc1"), Some((1, 27)));
        assert!(parse_version("go1.9").unwrap() < (1, 23));
        assert_eq!(parse_version("devel"), None);
    }
}
