//! System packages: which program comes from which, and installing what is missing. With root and `apt-get` it installs; else it prints
//! the one line that would. Called by every command that needs more than a Rust tool chain.

use std::process::Command;
use std::sync::Once;

use anyhow::{Result, bail};

use crate::command::{self, announce};

/// A program that some part needs, and the Debian package it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Looked for in `PATH`.
    pub program: &'static str,
    /// Debian's name of the package.
    pub package: &'static str,
}

const fn need(program: &'static str, package: &'static str) -> Need {
    Need { program, package }
}

/// A C compiler for the few native parts of dependencies.
pub const C_COMPILER: Need = need("cc", "build-essential");
/// ext3 and ext4.
pub const EXT: Need = need("mkfs.ext4", "e2fsprogs");
/// xfs.
pub const XFS: Need = need("mkfs.xfs", "xfsprogs");
/// Loop devices.
pub const LOSETUP: Need = need("losetup", "mount");
/// Superblocks and block devices.
pub const BLKID: Need = need("blkid", "util-linux");
/// What the node tests work on.
pub const BLOCK_DEVICES: &[Need] = &[EXT, XFS, LOSETUP, BLKID];

/// The packages whose programs are not there, each once.
pub fn missing(needs: &[Need]) -> Vec<String> {
    missing_where(needs, |program| command::find_program(program).is_some())
}

fn missing_where(needs: &[Need], is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut packages: Vec<String> = needs.iter().filter(|need| !is_there(need.program)).map(|need| need.package.to_owned()).collect();
    packages.sort();
    packages.dedup();
    packages
}

/// Installs what is missing of these. Nothing missing: does nothing and says nothing.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// Installs Debian packages, or says how.
pub fn install(packages: &[String]) -> Result<()> {
    let line = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !can_install() {
        bail!("these system packages are missing; as root, run: {line}");
    }
    announce(&format!("installing system packages: {}", packages.join(" ")));
    update_lists()?;
    command::run(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

/// Fetches the package lists, once in the life of this process.
pub fn update_lists() -> Result<()> {
    static ONCE: Once = Once::new();
    let mut done = Ok(());
    ONCE.call_once(|| done = command::run(apt().arg("update")));
    done
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
    apt
}

fn can_install() -> bool {
    is_root() && command::find_program("apt-get").is_some()
}

/// Whether this process may mount and install.
pub fn is_root() -> bool {
    command::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_brings_several_missing_programs_is_named_once() {
        let needs = [need("a", "tools"), need("b", "tools"), need("c", "other"), need("here", "present")];
        assert_eq!(missing_where(&needs, |program| program == "here"), ["other", "tools"]);
    }

    #[test]
    fn a_shell_is_not_missing_and_an_unheard_of_program_is() {
        assert!(missing(&[need("sh", "dash")]).is_empty());
        assert_eq!(missing(&[need("no-such-program-anywhere", "nowhere")]), ["nowhere"]);
    }
}
