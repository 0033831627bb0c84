//! Which system calls change the machine.

use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// A call that is about to change something.
pub(super) struct Call {
    pub(super) name: &'static str,
}

/// Calls that always change something.
const ALWAYS: &[(i64, &str)] = &[
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount2"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_open_tree, "open_tree"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_mknodat, "mknodat"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_fchownat, "fchownat"),
    (libc::SYS_execve, "execve"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "rmdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, "symlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, "chmod"),
];

/// Calls that change something when they go to a file or a device, and not to a pipe, a socket or a
/// terminal.
const WRITES: &[(i64, &str)] = &[
    (libc::SYS_write, "write"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_writev, "writev"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_copy_file_range, "copy_file_range"),
];

/// `ioctl`s of block devices and file systems that change them: discard, zero out, grow, trim.
const IOCTLS: &[u64] = &[
    0x1277,      // BLKDISCARD
    0x127d,      // BLKSECDISCARD
    0x127f,      // BLKZEROOUT
    0x4004_6608, // EXT4_IOC_GROUP_EXTEND, 32 bits
    0x4008_6607, // EXT4_IOC_GROUP_EXTEND
    0x4008_6610, // EXT4_IOC_RESIZE_FS
    0x4010_586e, // XFS_IOC_FSGROWFSDATA
    0xc018_5879, // FITRIM
];

/// The call that a thread stands before, if it changes something.
pub(super) fn at(thread: Pid) -> Option<Call> {
    let Entry { number, arguments } = entry(thread)?;
    let named = |table: &[(i64, &'static str)]| {
        table.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
    };
    if let Some(name) = named(ALWAYS) {
        return Some(Call { name });
    }
    let [first, second, third, ..] = arguments;
    if let Some(name) = named(WRITES) {
        return target(thread, first).filter(|target| is_kept(target)).map(|_| Call { name });
    }
    if number == libc::SYS_openat {
        return creates(third).then_some(Call { name: "openat" });
    }
    #[cfg(target_arch = "x86_64")]
    if number == libc::SYS_open {
        return creates(second).then_some(Call { name: "open" });
    }
    (number == libc::SYS_ioctl && IOCTLS.contains(&(second & 0xffff_ffff)))
        .then_some(Call { name: "ioctl" })
}

/// A system call as a thread stands before it.
struct Entry {
    number: i64,
    arguments: [u64; 6],
}

/// `None`: the thread stands behind a call, or is gone.
fn entry(thread: Pid) -> Option<Entry> {
    let Ok(info) = ptrace::syscall_info(thread) else { return entry_by_registers(thread) };
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the kernel fills in `entry` for exactly this operation.
    let entry = unsafe { info.u.entry };
    Some(Entry { number: i64::try_from(entry.nr).ok()?, arguments: entry.args })
}

/// Where the kernel does not say which stop it is: user-mode Linux. Before a call, and nearly never
/// behind one, the register of its result says that it does not exist.
#[cfg(target_arch = "x86_64")]
fn entry_by_registers(thread: Pid) -> Option<Entry> {
    let registers = ptrace::getregs(thread).ok()?;
    if registers.rax.cast_signed() != -i64::from(libc::ENOSYS) {
        return None;
    }
    let nix::libc::user_regs_struct { rdi, rsi, rdx, r10, r8, r9, .. } = registers;
    Some(Entry {
        number: registers.orig_rax.cast_signed(),
        arguments: [rdi, rsi, rdx, r10, r8, r9],
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn entry_by_registers(_thread: Pid) -> Option<Entry> {
    None
}

fn creates(flags: u64) -> bool {
    let bits = u64::from((libc::O_CREAT | libc::O_TRUNC).unsigned_abs());
    flags & bits != 0
}

fn target(thread: Pid, descriptor: u64) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).ok()
}

/// A file or a device that is still there afterwards. Logs do not count: nothing is decided by
/// them.
fn is_kept(target: &Path) -> bool {
    let plain =
        target.is_absolute() && !target.starts_with("/proc") && !target.starts_with("/dev/pts");
    plain
        && target != Path::new("/dev/null")
        && target.extension().is_none_or(|extension| extension != "log")
}
