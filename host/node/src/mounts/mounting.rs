//! Mounts: a device, a bind of what is staged or of a granted directory, a raw device on a file.
//! Each looks first and does nothing when it is so already.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount};
use wharf_core::ports::Call;
use wharf_core::{Blame, Error, ErrorKind};

use crate::child::{Child, Files};
use crate::context::NodeContext;
use crate::disk::device::{Device, split_number};
use crate::mounts::options::MountOptions;
use crate::mounts::paths::{MountTarget, Opened};
use crate::mounts::table::{Entry, MountTable, part_of};
use crate::undo::UndoLog;

/// Nothing was written yet to what is taken back.
const UNDO_BOUND: Duration = Duration::from_secs(30);

/// Flags that belong to one mount and not to the file system, by their name in the mount table.
pub(crate) const OWN_FLAGS: [(&str, MountFlags); 8] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("nosymfollow", MountFlags::NOSYMFOLLOW),
];

/// Mounts the device's file system here.
///
/// # Errors
/// `FailedPrecondition` when something else is mounted here, `AlreadyExists` when it is the device,
/// but not the way that is asked for.
pub(crate) fn mount_device(
    context: &NodeContext,
    call: &Call,
    undo: &mut UndoLog,
    target: &MountTarget,
    device: &Device,
    fs_type: &str,
    options: &MountOptions,
) -> Result<(), Error> {
    if let Some(entry) = MountTable::read()?.top(target.path()) {
        if entry.device != device.number || entry.root != Path::new("/") || entry.fs_type != fs_type
        {
            return Err(occupied(target, entry).with_hint(format!(
                "{} ({fs_type}) was to be mounted there; unmount the other first",
                device.path.display()
            )));
        }
        check_writable_alike(target, entry, options)?;
        return set_propagation(target, options);
    }
    let opened = target.open_or_create_directory(undo)?;
    // Replays a journal, which may take long, and waits for ever where the disk hangs.
    let work = format!("mounting {} at {}", device.path.display(), target.path().display());
    let data = options.data();
    let mounted = context.ask_kernel(call, &work, &[opened.as_fd()], || {
        let at = opened.stable_path();
        mount(&device.path, at, fs_type, options.flags, data.as_c_str())
            .map_err(Errno::raw_os_error)
    })?;
    mounted.map_err(|error| {
        cannot_mount(target, device, fs_type, options, Errno::from_raw_os_error(error))
    })?;
    remember(target, undo)?;
    match MountTable::read()?.top(target.path()) {
        Some(entry) if entry.device == device.number => set_propagation(target, options),
        Some(entry) => Err(Error::internal(format!(
            "{} was to be mounted, but {} came up",
            device.path.display(),
            describe(entry)
        ))),
        None => Err(Error::aborted(format!(
            "{} was unmounted or covered at the same moment",
            target.path().display()
        ))),
    }
}

fn cannot_mount(
    target: &MountTarget,
    device: &Device,
    fs_type: &str,
    options: &MountOptions,
    error: Errno,
) -> Error {
    let names = options.names();
    let what = format!(
        "cannot mount {} on {} as {fs_type} (options `{names}`): {error}",
        device.path.display(),
        target.path().display()
    );
    match error {
        Errno::INVAL => Error::precondition(what).with_hint(format!(
            "the device holds no {fs_type} file system, or an option is not one of {fs_type}'s; \
             the kernel log says which"
        )),
        Errno::NODEV => Error::precondition(what)
            .with_hint(format!("this kernel does not know {fs_type}; load its module")),
        Errno::BUSY => Error::precondition(what).with_hint("the device is in use"),
        Errno::PERM | Errno::ACCESS => Error::precondition(what).with_hint(
            "run as root with the capability CAP_SYS_ADMIN (a privileged container has it)",
        ),
        _ => Error::internal(what).with_hint("the kernel log (`dmesg`) says why"),
    }
}

pub(crate) fn check_writable_alike(
    target: &MountTarget,
    entry: &Entry,
    options: &MountOptions,
) -> Result<(), Error> {
    if entry.is_read_only() == options.is_read_only() {
        return Ok(());
    }
    let (is, wanted) =
        if entry.is_read_only() { ("read-only", "writable") } else { ("writable", "read-only") };
    let hint = if entry.is_read_only() {
        "unmount it first; if it was writable before, the kernel made it read-only after an error: \
         see its log"
    } else {
        "unmount it first"
    };
    Err(Error::new(
        ErrorKind::AlreadyExists,
        Blame::User,
        format!("{} is mounted {is}, {wanted} was asked for", target.path().display()),
    )
    .with_hint(hint))
}

/// Shows a directory or a file that is on some mount here as well.
pub(crate) fn bind(
    source: &Opened,
    source_path: &Path,
    target: &MountTarget,
    options: &MountOptions,
    undo: &mut UndoLog,
) -> Result<(), Error> {
    let table = MountTable::read()?;
    let (source_mount, root) = origin(&table, source, source_path)?;
    if let Some(entry) = table.top(target.path()) {
        if entry.device != source_mount.device || entry.root != root {
            return Err(occupied(target, entry).with_hint(format!(
                "{} was to be shown there; unmount the other first",
                source_path.display()
            )));
        }
        if entry.is_read_only_here() && !options.is_read_only() && !source_mount.is_read_only() {
            return check_writable_alike(target, entry, options);
        }
    } else {
        let opened = match source.file_type()? {
            FileType::Directory => target.open_or_create_directory(undo)?,
            _ => target.open_or_create_file(undo)?,
        };
        bind_here(source, source_path, &opened, target, options, undo)?;
    }
    // Before Linux 5.12 the flags come after the bind, and a process that was killed in between
    // left it without them.
    add_flags(target, options)?;
    set_propagation(target, options)
}

/// Where the source comes from: its mount, and its path inside that file system.
fn origin<'a>(
    table: &'a MountTable,
    source: &Opened,
    path: &Path,
) -> Result<(&'a Entry, PathBuf), Error> {
    let entry = table.by_id(source.mount_id()?).ok_or_else(|| {
        Error::aborted(format!("{} was unmounted at the same moment", path.display()))
    })?;
    let (_, root) = part_of(entry, path).ok_or_else(|| {
        Error::aborted(format!("{} was moved at the same moment", path.display()))
    })?;
    Ok((entry, root))
}

/// Appears with its flags or not at all, so that a process that is killed leaves no writable mount
/// where a read-only one was asked for: kubelet would not call again.
fn bind_here(
    source: &Opened,
    source_path: &Path,
    opened: &Opened,
    target: &MountTarget,
    options: &MountOptions,
    undo: &mut UndoLog,
) -> Result<(), Error> {
    let wanted = own_flags(options);
    let bound = if wanted.is_empty() {
        mount_bind(source.stable_path(), opened.stable_path())
    } else {
        super::detached::bind(source, opened, wanted)
    };
    bound.map_err(|error| {
        let failed = format!(
            "cannot show {} at {}: {error}",
            source_path.display(),
            target.path().display()
        );
        Error::internal(failed).with_hint(
            "run as root with the capability CAP_SYS_ADMIN (a privileged container has it)",
        )
    })?;
    remember(target, undo)
}

/// Puts the device's node on a file here, for a workload that wants the raw device. Whether the
/// workload may write is enforced by its container's device rules; the read-only flag of the mount
/// says it to everybody else.
pub(crate) fn publish_block(
    target: &MountTarget,
    device: &Device,
    read_only: bool,
    undo: &mut UndoLog,
) -> Result<(), Error> {
    let options = MountOptions::parse(&[], read_only)?;
    if let Some(entry) = MountTable::read()?.top(target.path()) {
        if block_number(target, entry)? != Some(device.number) {
            return Err(occupied(target, entry).with_hint(format!(
                "{} was to be put there; unmount the other first",
                device.path.display()
            )));
        }
        if entry.is_read_only_here() && !read_only {
            return check_writable_alike(target, entry, &options);
        }
        return add_flags(target, &options);
    }
    let opened = target.open_or_create_file(undo)?;
    if opened.file_type()? != FileType::RegularFile {
        return Err(Error::precondition(format!(
            "{} is there already and is not an empty file",
            target.path().display()
        )));
    }
    let device_node = open_device_node(device)?;
    bind_here(&device_node, &device.path, &opened, target, &options, undo)?;
    add_flags(target, &options)
}

fn open_device_node(device: &Device) -> Result<Opened, Error> {
    use rustix::fs::{CWD, Mode, OFlags};
    let fd = rustix::fs::openat(
        CWD,
        &device.path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|error| Error::internal(format!("cannot open {}: {error}", device.path.display())))?;
    let device_node = Opened::new(fd);
    let stat = device_node.stat()?;
    if split_number(stat.st_rdev) != device.number {
        return Err(Error::aborted(format!(
            "{} became another device at the same moment",
            device.path.display()
        )));
    }
    Ok(device_node)
}

/// The block device whose node is mounted here; `None` when it is something else. Looks only at the
/// kernel's own device tree, which never hangs.
pub(crate) fn block_number(
    target: &MountTarget,
    entry: &Entry,
) -> Result<Option<(u32, u32)>, Error> {
    if !matches!(entry.fs_type.as_str(), "devtmpfs" | "tmpfs" | "ramfs") {
        return Ok(None);
    }
    let Some(opened) = target.open()? else { return Ok(None) };
    let stat = opened.stat()?;
    Ok((FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice)
        .then(|| split_number(stat.st_rdev)))
}

fn remember(target: &MountTarget, undo: &mut UndoLog) -> Result<(), Error> {
    let again = target.duplicate()?;
    undo.push(target.path(), move || unmount_within(&again, UNDO_BOUND));
    Ok(())
}

fn unmount_within(target: &MountTarget, bound: Duration) -> std::io::Result<()> {
    let child = Child::start(Files::Only(&[target.as_fd()]), || {
        let unmounted = rustix::mount::unmount(target.stable_path(), UnmountFlags::NOFOLLOW);
        let error = unmounted.err().map_or(0, Errno::raw_os_error);
        error.to_be_bytes().to_vec()
    });
    let answer = child.map_err(std::io::Error::other)?.finish(Instant::now() + bound, || false);
    match answer.ok().and_then(|answer| answer.try_into().ok()).map(i32::from_be_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(std::io::Error::from_raw_os_error(error)),
        None => Err(std::io::ErrorKind::TimedOut.into()),
    }
}

/// What is asked for of this mount, and not of its file system.
fn own_flags(options: &MountOptions) -> MountFlags {
    OWN_FLAGS.iter().fold(MountFlags::empty(), |all, (_, flag)| all | (*flag & options.flags))
}

/// Adds the flags that this mount lacks. Options of the file system were given when it was mounted
/// and have no meaning for a bind.
fn add_flags(target: &MountTarget, options: &MountOptions) -> Result<(), Error> {
    let table = MountTable::read()?;
    let entry = table.top(target.path()).ok_or_else(|| {
        Error::aborted(format!("{} was unmounted at the same moment", target.path().display()))
    })?;
    let has = OWN_FLAGS
        .iter()
        .filter(|(name, _)| entry.options.iter().any(|option| option == name))
        .fold(MountFlags::empty(), |all, (_, flag)| all | *flag);
    let wanted = own_flags(options);
    if has.contains(wanted) {
        return Ok(());
    }
    let opened = reopen(target)?;
    mount_remount(opened.stable_path(), MountFlags::BIND | has | wanted, "").map_err(|error| {
        Error::internal(format!(
            "cannot set the flags of the mount at {}: {error}",
            target.path().display()
        ))
    })
}

fn set_propagation(target: &MountTarget, options: &MountOptions) -> Result<(), Error> {
    let Some(propagation) = options.propagation else { return Ok(()) };
    let opened = reopen(target)?;
    mount_change(opened.stable_path(), propagation).map_err(|error| {
        Error::internal(format!(
            "cannot set the propagation of the mount at {}: {error}",
            target.path().display()
        ))
    })
}

/// What the target shows now that something is mounted on it.
fn reopen(target: &MountTarget) -> Result<Opened, Error> {
    target.open()?.ok_or_else(|| {
        Error::aborted(format!("{} was removed at the same moment", target.path().display()))
    })
}

pub(crate) fn occupied(target: &MountTarget, entry: &Entry) -> Error {
    Error::precondition(format!(
        "{} has {} mounted on it",
        target.path().display(),
        describe(entry)
    ))
}

/// A mount in a few words, for an error.
pub(crate) fn describe(entry: &Entry) -> String {
    let part = if entry.root == Path::new("/") {
        String::new()
    } else {
        format!(", its directory {}", entry.root.display())
    };
    format!("{} ({}{part})", entry.source.to_string_lossy(), entry.fs_type)
}
