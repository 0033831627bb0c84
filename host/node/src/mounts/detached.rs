//! A bind mount that is made out of sight, given its flags, and then put in place
//! (mount_setattr(2), Linux 5.12).

use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::libc;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_bind, move_mount,
    open_tree,
};

use crate::mounts::paths::Opened;

/// `struct mount_attr`, in its first version (`MOUNT_ATTR_SIZE_VER0`).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// `MOUNT_ATTR_*` of mount_setattr(2). Access times are a field of two bits and not flags: what is
/// there is cleared first.
const ATTRIBUTES: [(MountFlags, u64); 6] = [
    (MountFlags::RDONLY, 0x1),
    (MountFlags::NOSUID, 0x2),
    (MountFlags::NODEV, 0x4),
    (MountFlags::NOEXEC, 0x8),
    (MountFlags::NODIRATIME, 0x80),
    (MountFlags::NOSYMFOLLOW, 0x20_0000),
];
const ACCESS_TIMES: u64 = 0x70;
const NO_ACCESS_TIMES: u64 = 0x10;
const STRICT_ACCESS_TIMES: u64 = 0x20;

/// Shows `source` at `target` with these flags. On a kernel that cannot do it in one, without them.
pub(super) fn bind(source: &Opened, target: &Opened, flags: MountFlags) -> Result<(), Errno> {
    match tree(source, flags) {
        Ok(tree) => {
            let both_open =
                MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(tree, "", target.as_fd(), "", both_open)
        }
        // A container's filter of system calls may say the one for the other.
        Err(Errno::NOSYS | Errno::PERM) => mount_bind(source.stable_path(), target.stable_path()),
        Err(error) => Err(error),
    }
}

fn tree(source: &Opened, flags: MountFlags) -> Result<OwnedFd, Errno> {
    let options = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(source.as_fd(), "", options)?;
    add_flags(&tree, flags)?;
    Ok(tree)
}

/// Gives a mount these flags beside those that it has.
pub(crate) fn add_flags(mount: &OwnedFd, flags: MountFlags) -> Result<(), Errno> {
    let has_times = flags.intersects(MountFlags::NOATIME | MountFlags::RELATIME);
    set(
        mount,
        &MountAttr {
            set: attributes(flags) | access_times(flags),
            clear: if has_times { ACCESS_TIMES } else { 0 },
            propagation: 0,
            user_namespace: 0,
        },
    )
}

/// Gives a mount these flags in place of those that it has, and a propagation (`MS_SHARED`, …).
pub(crate) fn replace_flags(
    mount: &OwnedFd,
    flags: MountFlags,
    propagation: MountPropagationFlags,
) -> Result<(), Errno> {
    let has_times = flags.intersects(MountFlags::NOATIME | MountFlags::RELATIME);
    set(
        mount,
        &MountAttr {
            set: attributes(flags)
                | if has_times { access_times(flags) } else { STRICT_ACCESS_TIMES },
            // `nosymfollow` can be taken away since Linux 5.14 only, and nobody gives it to a mount
            // of which a copy is made.
            clear: attributes(MountFlags::all() - MountFlags::NOSYMFOLLOW) | ACCESS_TIMES,
            propagation: propagation.bits().into(),
            user_namespace: 0,
        },
    )
}

fn attributes(flags: MountFlags) -> u64 {
    ATTRIBUTES
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .fold(0, |all, (_, attribute)| all | attribute)
}

/// `relatime` is no bit of its own.
fn access_times(flags: MountFlags) -> u64 {
    if flags.contains(MountFlags::NOATIME) { NO_ACCESS_TIMES } else { 0 }
}

#[allow(unsafe_code, reason = "neither rustix nor nix wraps mount_setattr(2)")]
fn set(tree: &OwnedFd, attributes: &MountAttr) -> Result<(), Errno> {
    // SAFETY: the path is an empty C string, and the kernel reads as many bytes of the struct as
    // its size says.
    let result: c_long = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL))
}
