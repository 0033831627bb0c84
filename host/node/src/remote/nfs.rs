//! Mounts an NFS export by asking the kernel's client itself: no package is needed on the node. By
//! the calls of Linux 5.2 (fsopen(2), fsconfig(2), fsmount(2)), which give a mount that is nowhere
//! yet; before that by mount(2).

use std::ffi::CString;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, move_mount,
};
use serde::{Deserialize, Serialize};
use wharf_core::Error;

/// Both versions of the protocol; `vers=` says which.
const FS_TYPE: &str = "nfs";
/// What the kernel says of a mount is a line or two.
const MAX_REPORT_BYTES: usize = 1024;

/// An export, as the kernel is asked for it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NfsMount {
    /// `server:/path`, for the mount table; an IPv6 address in brackets.
    pub source: String,
    /// One of the server's.
    pub address: IpAddr,
    /// Options of the kernel's client, one each.
    pub options: Vec<String>,
    /// `MS_*`, of the mount and of the file system.
    pub flags: u32,
}

/// What the kernel said.
pub(super) struct Refusal {
    pub errno: Errno,
    report: String,
}

impl NfsMount {
    /// Mounts at this path, in the current directory.
    pub(super) fn mount_at(&self, at: &Path) -> Result<(), Refusal> {
        match self.mount_for(at)? {
            Some(mount) => Ok(show(&mount, at)?),
            None => Ok(()),
        }
    }

    /// Mounts for this path, in the current directory; `None`: it is there already, because the
    /// kernel cannot do otherwise.
    pub(super) fn mount_for(&self, at: &Path) -> Result<Option<OwnedFd>, Refusal> {
        match self.detached() {
            Ok(mount) => Ok(Some(mount)),
            Err(refusal) if is_old(refusal.errno) => self.mount_before_5_2(at).map(|()| None),
            Err(refusal) => Err(refusal),
        }
    }

    /// A mount that is nowhere, and gone with its last descriptor.
    pub(super) fn detached(&self) -> Result<OwnedFd, Refusal> {
        let context = fsopen(FS_TYPE, FsOpenFlags::FSOPEN_CLOEXEC)?;
        let refused = |errno: Errno| Refusal { errno, report: report(&context) };
        let set = |option: &str| match option.split_once('=') {
            Some((name, value)) => fsconfig_set_string(&context, name, value),
            None => fsconfig_set_flag(&context, option),
        };
        fsconfig_set_string(&context, "source", self.source.as_str()).map_err(refused)?;
        let flags = self.mount_flags();
        for (flag, name) in FILE_SYSTEM_FLAGS {
            if flags.contains(flag) {
                fsconfig_set_flag(&context, name).map_err(refused)?;
            }
        }
        for option in &self.options {
            set(option).map_err(|errno| {
                let name = option.split_once('=').map_or(option.as_str(), |(name, _)| name);
                Refusal { errno, report: format!("option `{name}`: {}", report(&context)) }
            })?;
        }
        fsconfig_set_string(&context, "addr", self.address.to_string()).map_err(refused)?;
        fsconfig_create(&context).map_err(refused)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes(flags)).map_err(refused)
    }

    fn mount_before_5_2(&self, at: &Path) -> Result<(), Refusal> {
        let options = self.options.join(",");
        let data =
            CString::new(format!("{options},addr={}", self.address)).map_err(|_| Errno::INVAL)?;
        mount(self.source.as_str(), at, FS_TYPE, self.mount_flags(), data.as_c_str())?;
        Ok(())
    }

    fn mount_flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags)
    }

    /// In words: which export, and what a person can do about it.
    pub(super) fn error(&self, refusal: &Refusal) -> Error {
        let Refusal { errno, report } = refusal;
        let report = if report.is_empty() { String::new() } else { format!(" ({report})") };
        let what =
            format!("cannot mount {} by way of {}: {errno}{report}", self.source, self.address);
        match *errno {
            Errno::NOENT => {
                Error::not_found(what).with_hint("the server exports no such directory")
            }
            Errno::ACCESS | Errno::PERM => Error::denied(what).with_hint(
                "the server does not export this path to this node (or it does not exist): look at \
                 the export's permission group; the host itself needs CAP_SYS_ADMIN",
            ),
            Errno::NODEV => Error::precondition(what)
                .with_hint("this kernel has no NFS client: load its modules (`modprobe nfs`)"),
            Errno::INVAL => Error::invalid(what)
                .with_hint("an option is not one of the kernel's, or its value is wrong"),
            Errno::PROTONOSUPPORT | Errno::PFNOSUPPORT => Error::precondition(what)
                .with_hint("the server does not speak this version of NFS (`vers=`)"),
            Errno::TIMEDOUT
            | Errno::CONNREFUSED
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::CONNRESET
            | Errno::IO => Error::unavailable(what).with_hint(
                "the server does not answer: look at the mount target, its VPC and security group",
            ),
            _ => Error::internal(what).with_hint("the kernel log (`dmesg`) says why"),
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, report: String::new() }
    }
}

/// Moves a mount that is nowhere to a path in the current directory.
pub(super) fn show(mount: &OwnedFd, at: &Path) -> Result<(), Errno> {
    move_mount(mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// A kernel without these calls; a container's filter of system calls may say the one for the
/// other.
fn is_old(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::PERM)
}

/// Flags that are the file system's, by the name that fsconfig(2) takes.
const FILE_SYSTEM_FLAGS: [(MountFlags, &str); 4] = [
    (MountFlags::RDONLY, "ro"),
    (MountFlags::SYNCHRONOUS, "sync"),
    (MountFlags::DIRSYNC, "dirsync"),
    (MountFlags::LAZYTIME, "lazytime"),
];

/// Flags that are the mount's own. `relatime` is what there is without one.
const MOUNT_FLAGS: [(MountFlags, MountAttrFlags); 8] = [
    (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
    (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
    (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
    (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
    (MountFlags::STRICTATIME, MountAttrFlags::MOUNT_ATTR_STRICTATIME),
    (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    (MountFlags::NOSYMFOLLOW, MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW),
];

fn attributes(flags: MountFlags) -> MountAttrFlags {
    MOUNT_FLAGS
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .fold(MountAttrFlags::empty(), |all, (_, attribute)| all | *attribute)
}

/// What the kernel has to say of a mount that it refused: lines that begin with a letter for how
/// bad it is.
fn report(context: &OwnedFd) -> String {
    let mut said = Vec::new();
    let mut buffer = [0; 256];
    while said.len() < MAX_REPORT_BYTES
        && let Ok(read @ 1..) = rustix::io::read(context, &mut buffer)
    {
        let line = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default()).into_owned();
        said.push(line.get(2..).unwrap_or_default().trim().to_owned());
    }
    said.join("; ")
}
