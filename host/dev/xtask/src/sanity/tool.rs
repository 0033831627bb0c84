//! The csi-sanity program, at the version that the table of allowed skips was written for.
//! Installed below `target/`, once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::command::{self, announce};
use crate::go;
use crate::workspace::Workspace;

const MODULE: &str = "github.com/kubernetes-csi/csi-test/v5";
const VERSION: &str = "v5.4.0";

/// The first Go that builds this version; Debian 12's own (1.19) does not.
const OLDEST_GO: (u32, u32) = (1, 23);

/// The program: the one below `target/`, one in `PATH` of the same version, or a new one.
pub fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    let directory = workspace.target.join("tools");
    let own = directory.join("csi-sanity");
    let candidates = [Some(own.clone()), command::find_program("csi-sanity")];
    if let Some(found) = candidates.into_iter().flatten().find(|path| is_wanted_version(path)) {
        return Ok(found);
    }
    install(&directory)?;
    ensure!(
        is_wanted_version(&own),
        "`go install` made no csi-sanity {VERSION} in {}",
        directory.display()
    );
    Ok(own)
}

fn install(directory: &Path) -> Result<()> {
    let go = go::find(OLDEST_GO, &format!("csi-sanity {VERSION}"))?;
    announce(&format!("building csi-sanity {VERSION} (about two minutes, once)"));
    std::fs::create_dir_all(directory)?;
    command::run(
        Command::new(go)
            .args(["install", &format!("{MODULE}/cmd/csi-sanity@{VERSION}")])
            .env("GOBIN", directory),
    )
}

/// Go writes the module's version into the program; reading it there needs no Go.
fn is_wanted_version(program: &Path) -> bool {
    let mark = format!("{MODULE}\t{VERSION}\t");
    std::fs::read(program)
        .is_ok_and(|bytes| bytes.windows(mark.len()).any(|window| window == mark.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_another_version_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("csi-sanity");
        std::fs::write(&program, format!("\0mod\t{MODULE}\tv5.3.1\th1:")).unwrap();
        assert!(!is_wanted_version(&program));
        std::fs::write(&program, format!("\0mod\t{MODULE}\t{VERSION}\th1:")).unwrap();
        assert!(is_wanted_version(&program));
    }
}
