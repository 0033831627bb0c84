//! System packages: which program comes from which, and installing what is missing. With root and
//! `apt-get` it installs; else it prints the one line that would. Called by every command that
//! needs more than a Rust tool chain.

use std::process::Command;
use std::sync::Once;

use anyhow::{Result, bail};

use crate::command::{self, announce};

/// A program that some part needs, and the Debian packages it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Looked for in `PATH`.
    pub program: &'static str,
    /// With these arguments it must succeed: for what a package splits off from its program.
    /// Empty: it is enough that it is there.
    pub probe: &'static [&'static str],
    /// Debian's names of the packages.
    pub packages: &'static [&'static str],
}

impl Need {
    /// A program that is complete if it is there at all.
    pub const fn of(program: &'static str, packages: &'static [&'static str]) -> Self {
        Self { program, probe: &[], packages }
    }

    fn is_there(&self) -> bool {
        command::find_program(self.program).is_some_and(|program| {
            self.probe.is_empty() || command::output(Command::new(program).args(self.probe)).is_ok()
        })
    }
}

/// A C compiler for the few native parts of dependencies.
pub const C_COMPILER: Need = Need::of("cc", &["build-essential"]);
/// ext3 and ext4.
pub const EXT: Need = Need::of("mkfs.ext4", &["e2fsprogs"]);
/// xfs.
pub const XFS: Need = Need::of("mkfs.xfs", &["xfsprogs"]);
/// Loop devices.
pub const LOSETUP: Need = Need::of("losetup", &["mount"]);
/// Superblocks and block devices.
pub const BLKID: Need = Need::of("blkid", &["util-linux"]);
/// What csi-sanity's volumes are made of.
pub const SANITY: &[Need] = &[EXT, XFS, LOSETUP, BLKID, S3FS];
/// What the demonstration works on.
pub const DEMO: &[Need] = &[
    C_COMPILER,
    EXT,
    XFS,
    LOSETUP,
    BLKID,
    S3FS,
    USER_MODE_LINUX,
    MODPROBE,
    IP,
    NFS_SERVER,
    RPCBIND,
    PKILL,
];
/// Virtual environments with pip in them, for the cloud's own clients. Debian's Python has neither.
pub const PYTHON: Need = Need {
    program: "python3",
    probe: &["-c", "import ensurepip, venv"],
    packages: &["python3", "python3-venv"],
};
/// A second kernel that runs as a program, with the NFS client that this one may lack.
pub const USER_MODE_LINUX: Need = Need::of("linux.uml", &["user-mode-linux"]);
/// Loads that kernel's modules.
pub const MODPROBE: Need = Need::of("modprobe", &["kmod"]);
/// Brings up its loopback.
pub const IP: Need = Need::of("ip", &["iproute2"]);
/// The kernel's NFS server.
pub const NFS_SERVER: Need = Need::of("rpc.nfsd", &["nfs-kernel-server"]);
/// Tells NFSv3 clients the server's ports.
pub const RPCBIND: Need = Need::of("rpcbind", &["rpcbind"]);
/// Ends what that server starts by itself.
pub const PKILL: Need = Need::of("pkill", &["procps"]);
/// Mounts buckets.
pub const S3FS: Need = Need::of("s3fs", &["s3fs"]);
/// The smallest program that serves a mount from user space.
pub const BINDFS: Need = Need::of("bindfs", &["bindfs"]);
/// What a machine with an NFS client and server is made with.
pub const NFS: &[Need] = &[USER_MODE_LINUX, MODPROBE, IP, NFS_SERVER, RPCBIND, PKILL];
/// What all tests together work on.
pub const TESTS: &[Need] = &[
    EXT,
    XFS,
    LOSETUP,
    BLKID,
    PYTHON,
    USER_MODE_LINUX,
    MODPROBE,
    IP,
    NFS_SERVER,
    RPCBIND,
    PKILL,
    S3FS,
    BINDFS,
];

/// The packages of what is not there, each once.
pub fn missing(needs: &[Need]) -> Vec<String> {
    missing_where(needs, Need::is_there)
}

fn missing_where(needs: &[Need], is_there: impl Fn(&Need) -> bool) -> Vec<String> {
    let mut packages: Vec<String> = needs
        .iter()
        .filter(|need| !is_there(need))
        .flat_map(|need| need.packages)
        .map(|name| (*name).to_owned())
        .collect();
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

/// Whether [`install`] would do it, and not only say how.
pub fn can_install() -> bool {
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
        let needs = [
            Need::of("a", &["tools"]),
            Need::of("b", &["tools"]),
            Need::of("c", &["other"]),
            Need::of("here", &["present"]),
        ];
        assert_eq!(missing_where(&needs, |need| need.program == "here"), ["other", "tools"]);
    }

    #[test]
    fn a_shell_is_not_missing_and_an_unheard_of_program_is() {
        assert!(missing(&[Need::of("sh", &["dash"])]).is_empty());
        assert_eq!(missing(&[Need::of("no-such-program-anywhere", &["nowhere"])]), ["nowhere"]);
    }

    #[test]
    fn a_program_that_lacks_a_part_of_itself_is_missing_with_all_its_packages() {
        let shell = |probe| Need { program: "sh", probe, packages: &["dash", "dash-extra"] };
        assert!(missing(&[shell(&["-c", "exit 0"])]).is_empty());
        assert_eq!(missing(&[shell(&["-c", "exit 1"])]), ["dash", "dash-extra"]);
    }
}
