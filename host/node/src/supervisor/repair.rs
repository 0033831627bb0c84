//! Puts a helper's new mount in place of its dead one, in one mount namespace: wherever the
//! namespace shows the dead file system, whole or in part, with the flags that the mount point had.
//!
//! One forked child for each namespace does it, because entering one takes a process of one thread,
//! and because a path in it may lead through somebody else's dead mount and hang. A mount point is
//! known by the id of its mount from the namespace's own table, never by its path alone. Before it
//! is taken away, its root is opened, and what is open has to be a connection of this mount
//! (`connections`) that answers "not connected". Mounts that lie on it are `nested`'s.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount,
    open_tree, unmount,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};
use wharf_core::Error;

use super::connections::{Connection, Connections};
use super::namespaces::Namespace;
use crate::child::{Child, Files, NoAnswer};
use crate::mounts::detached::replace_flags;
use crate::mounts::mounting::OWN_FLAGS;
use crate::mounts::table::{Entry, MountTable};

mod nested;

use self::nested::Nested;

/// A namespace takes milliseconds; one that takes longer hangs in somebody else's mount.
const BOUND: Duration = Duration::from_secs(5);
/// Namespaces that are worked on at the same time: as many processes.
const MAX_PARALLEL: usize = 16;
/// `MOVE_MOUNT_BENEATH` (Linux 6.5): the new mount comes to lie under the old one, so that the
/// mount point shows one of the two at every moment.
const BENEATH: MoveMountFlags = MoveMountFlags::from_bits_retain(0x200);
/// Two descriptors, and no path.
const BOTH_OPEN: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);

/// What is put in place of what.
#[derive(Debug, Clone)]
pub(crate) struct Replacement {
    /// Where the healthy mount is in this process's namespace.
    pub healthy: PathBuf,
    /// What it shows.
    pub serving: Connection,
    /// What the mounts show that are replaced.
    pub old: Vec<Connection>,
    /// The list that distinguishes these from others. It is open.
    pub connections: Arc<Connections>,
    /// Whether the old ones are to be dead. They are not when a living helper is replaced.
    pub must_be_dead: bool,
}

impl Replacement {
    /// That an open file lies on this very file system, and not on another one with its number.
    fn check(&self, file: &OwnedFd, expected: &Connection) -> Result<(), String> {
        match self.connections.of_file(file) {
            Ok(Some(found)) if found == *expected => Ok(()),
            Ok(_) => Err("it shows another file system by now, which is left alone".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What came of one mount point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The path in its namespace.
    pub mount_point: PathBuf,
    /// Why it still shows what it did; `None`: it shows the healthy mount.
    pub failure: Option<String>,
}

/// Replaces the mounts in all of these namespaces: what came of each mount point, by namespace.
pub(crate) fn replace(
    namespaces: &[Namespace],
    replacement: &Replacement,
) -> Vec<(String, Vec<Outcome>)> {
    namespaces.chunks(MAX_PARALLEL).flat_map(|chunk| replace_at_once(chunk, replacement)).collect()
}

fn replace_at_once(
    namespaces: &[Namespace],
    replacement: &Replacement,
) -> Vec<(String, Vec<Outcome>)> {
    let deadline = Instant::now() + BOUND;
    let children: Vec<_> = namespaces
        .iter()
        .map(|namespace| {
            Child::start(Files::All, || {
                let outcomes = work(namespace, replacement).unwrap_or_else(|failure| {
                    vec![Outcome { mount_point: "/".into(), failure: Some(failure) }]
                });
                serde_json::to_vec(&outcomes).unwrap_or_default()
            })
        })
        .collect();
    let outcome = |child: Result<Child, Error>| {
        let failure = match child.map(|child| child.finish(deadline, || false)) {
            Ok(Ok(answer)) => match serde_json::from_slice(&answer) {
                Ok(outcomes) => return outcomes,
                Err(error) => format!("its answer cannot be read: {error}"),
            },
            Ok(Err(NoAnswer::Late)) => format!(
                "it did not end within {BOUND:?}: a path there leads through a mount that hangs"
            ),
            Ok(Err(NoAnswer::Died)) => "the process that worked there died".to_owned(),
            Err(error) => error.to_string(),
        };
        vec![Outcome { mount_point: "/".into(), failure: Some(failure) }]
    };
    namespaces
        .iter()
        .zip(children)
        .map(|(namespace, child)| {
            (format!("{} (process {})", namespace.id, namespace.pid), outcome(child))
        })
        .collect()
}

/// A mount that shows what a dead helper served.
#[derive(Debug, Clone, PartialEq, Eq)]
struct DeadMount {
    /// The mount's id.
    id: u64,
    /// What it shows, if it still has the number that it was found by.
    connection: Connection,
    path: PathBuf,
    /// What part of the file system it shows.
    root: PathBuf,
    flags: MountFlags,
    is_shared: bool,
    /// Whether the healthy mount lies under it already: a supervisor was killed in between.
    is_prepared: bool,
    /// Other mounts that lie on it.
    nested: Vec<Nested>,
    /// Why it is left as it is.
    obstacle: Option<String>,
}

/// Every mount point of a table that shows something with one of these numbers.
fn dead_mounts(table: &MountTable, old: &[Connection], serving: &Connection) -> Vec<DeadMount> {
    let shown = old.iter().flat_map(|connection| {
        table.of_device(connection.device).map(move |entry| (*connection, entry))
    });
    let dead_mount = |(connection, entry): (Connection, &crate::mounts::table::Entry)| {
        let (nested, obstacle) = match nested::on(table, entry) {
            Ok(nested) => (nested, None),
            Err(obstacle) => (Vec::new(), Some(obstacle)),
        };
        let obstacle = if obstacle.is_some() {
            obstacle
        } else if entry.options.iter().any(|option| option == "idmapped") {
            Some("its owners are mapped for this container alone".to_owned())
        } else {
            None
        };
        DeadMount {
            id: entry.id,
            connection,
            path: entry.mount_point.clone(),
            root: without_deleted(&entry.root),
            flags: own_flags(entry),
            is_shared: entry.is_shared,
            is_prepared: table.by_id(entry.parent).is_some_and(|under| {
                under.device == serving.device && under.mount_point == entry.mount_point
            }),
            nested,
            obstacle,
        }
    };
    shown.map(dead_mount).collect()
}

/// The flags of a mount itself, not of its file system.
fn own_flags(entry: &Entry) -> MountFlags {
    OWN_FLAGS
        .iter()
        .filter(|(name, _)| entry.options.iter().any(|option| option == name))
        .fold(MountFlags::empty(), |all, (_, flag)| all | *flag)
}

fn propagation(is_shared: bool) -> MountPropagationFlags {
    if is_shared { MountPropagationFlags::SHARED } else { MountPropagationFlags::PRIVATE }
}

/// The part of a file system that a mount point shows, by the name that it had last. The kernel
/// says that it is deleted as soon as somebody looks for it and the dead helper does not answer;
/// whether the volume still has it, the new helper knows.
fn without_deleted(root: &Path) -> PathBuf {
    let name = root.as_os_str().as_bytes();
    PathBuf::from(OsStr::from_bytes(name.strip_suffix(b"//deleted").unwrap_or(name)))
}

/// In the child: everything that happens in one namespace.
fn work(namespace: &Namespace, replacement: &Replacement) -> Result<Vec<Outcome>, String> {
    let this = This::open()?;
    let healthy = open_path(CWD, &replacement.healthy).map_err(|error| {
        format!("cannot open the healthy mount {}: {error}", replacement.healthy.display())
    })?;
    // Open, it keeps its number from now on.
    replacement.check(&healthy, &replacement.serving)?;
    let own = File::open("/proc/self/ns/mnt").map_err(|error| error.to_string())?;
    let enter = |into: &File| {
        move_into_link_name_space(into.as_fd(), Some(LinkNameSpaceType::Mount))
            .map_err(|error| format!("cannot enter the mount namespace: {error}"))
    };
    let there = namespace.file.as_ref();
    there.map_or(Ok(()), enter)?;
    // From inside, because paths in a process's own table begin at its own root.
    let dead_mounts = dead_mounts(&this.table()?, &replacement.old, &replacement.serving);
    there.map_or(Ok(()), |_| enter(&own))?;
    // A mount can be copied only from the namespace that one is in.
    let table = this.table()?;
    let prepared: Vec<_> = dead_mounts
        .into_iter()
        .map(|dead| {
            let copies = copy_for(&this, &healthy, &dead)
                .and_then(|copy| Ok((copy, copy_nested(&this, &table, &dead, replacement)?)));
            (copies, dead)
        })
        .collect();
    there.map_or(Ok(()), enter)?;
    let finish = |(copies, dead): (Result<(OwnedFd, Vec<OwnedFd>), String>, DeadMount)| Outcome {
        failure: copies
            .and_then(|(copy, nested)| put(&this, replacement, &dead, &copy, &nested))
            .err(),
        mount_point: dead.path,
    };
    Ok(prepared.into_iter().map(finish).collect())
}

/// Copies of what lies on the dead mount, in that order.
fn copy_nested(
    this: &This,
    table: &MountTable,
    dead: &DeadMount,
    replacement: &Replacement,
) -> Result<Vec<OwnedFd>, String> {
    let copy = |nested| nested::copy(this, table, &dead.path, nested, &replacement.old);
    dead.nested.iter().map(copy).collect()
}

/// A copy of the healthy mount as the mount point needs it.
fn copy_for(this: &This, healthy: &OwnedFd, dead: &DeadMount) -> Result<OwnedFd, String> {
    if let Some(obstacle) = &dead.obstacle {
        return Err(obstacle.clone());
    }
    let part = open_below(this, healthy, &dead.root)?;
    let copy =
        copy_mount(&part).map_err(|error| format!("cannot copy the healthy mount: {error}"))?;
    replace_flags(&copy, dead.flags, propagation(dead.is_shared))
        .map_err(|error| format!("cannot give the healthy mount the flags of this one: {error}"))?;
    Ok(copy)
}

/// A mount of what this file is the root of, attached nowhere. It asks no file system.
fn copy_mount(root: &OwnedFd) -> Result<OwnedFd, Errno> {
    let copy = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(root, "", copy)
}

/// Walks to a part of the healthy file system without following a link: what was a directory when
/// the mount point was made may be a link to anywhere by now.
fn open_below(this: &This, healthy: &OwnedFd, root: &Path) -> Result<OwnedFd, String> {
    let mount = this.mount_of(healthy)?;
    let mut part = open_path(healthy, Path::new(".")).map_err(|error| error.to_string())?;
    for component in root.components() {
        let name = match component {
            Component::RootDir => continue,
            Component::Normal(name) => name,
            _ => return Err(format!("{} is no path in the volume", root.display())),
        };
        part = open_path(&part, Path::new(name))
            .map_err(|error| format!("the volume has no {} any more: {error}", root.display()))?;
        if is_link(&part) || this.mount_of(&part)? != mount {
            return Err(format!("{} leads out of the volume now", root.display()));
        }
    }
    Ok(part)
}

fn is_link(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink
    })
}

/// Puts the copy in the place of the old mount, with copies of what lay on that.
fn put(
    this: &This,
    replacement: &Replacement,
    dead: &DeadMount,
    copy: &OwnedFd,
    nested: &[OwnedFd],
) -> Result<(), String> {
    let old = open_path(CWD, &dead.path).map_err(|error| format!("cannot open it: {error}"))?;
    if this.mount_of(&old)? != dead.id {
        return Err("another mount covers it".to_owned());
    }
    replacement.check(&old, &dead.connection)?;
    if replacement.must_be_dead && !is_dead(&old) {
        return Err("it answers, and is not the dead mount that was to be replaced".to_owned());
    }
    let take_away =
        || this.detach(&old).map_err(|error| format!("cannot take the dead mount away: {error}"));
    // The healthy one lies beneath it already.
    if dead.is_prepared {
        take_away()?;
        let under = open_path(CWD, &dead.path)
            .map_err(|error| format!("the dead mount is gone, and its mount point too: {error}"))?;
        return nested::attach(this, &under, dead, nested);
    }
    if move_mount(copy, "", &old, "", BOTH_OPEN | BENEATH).is_ok() {
        nested::attach(this, copy, dead, nested)?;
        return take_away();
    }
    exchange(this, dead, &old, copy)?;
    nested::attach(this, copy, dead, nested)
}

/// Takes the old mount away and puts the copy there, where the kernel cannot lay it beneath. Who
/// looks in between sees the directory below, and would write to the node's disk: so everything is
/// open before, this process is not ended with its parent, and what cannot be replaced is put back
/// dead.
fn exchange(this: &This, dead: &DeadMount, old: &OwnedFd, copy: &OwnedFd) -> Result<(), String> {
    let failed = |error: Errno| format!("cannot take the dead mount away: {error}");
    let (Some(parent), Some(name)) = (dead.path.parent(), dead.path.file_name()) else {
        return Err("the root of a namespace is left as it is".to_owned());
    };
    let parent = open_path(CWD, parent).map_err(failed)?;
    let dead_copy = copy_mount(old).map_err(failed)?;
    rustix::process::set_parent_process_death_signal(None).map_err(failed)?;
    this.detach(old).map_err(failed)?;
    let attach = |mount: &OwnedFd| -> Result<(), Errno> {
        let under = open_path(&parent, Path::new(name))?;
        move_mount(mount, "", &under, "", BOTH_OPEN)
    };
    attach(copy).map_err(|error| match attach(&dead_copy) {
        Ok(()) => format!("the healthy mount could not be put there: {error}"),
        Err(_) => format!("the dead mount is gone, and nothing could be put there: {error}"),
    })
}

/// A file system whose helper has died says so at once, whatever is asked.
fn is_dead(file: &OwnedFd) -> bool {
    matches!(rustix::fs::fstatfs(file), Err(Errno::NOTCONN | Errno::CONNABORTED))
}

fn open_path(at: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, flags, Mode::empty())
}

/// This process's own directory in `/proc`, held open: the namespaces that it enters may have
/// another `/proc` or none.
struct This {
    directory: OwnedFd,
    descriptors: OwnedFd,
}

impl This {
    fn open() -> Result<Self, String> {
        let open = |at: BorrowedFd<'_>, path: &str| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(at, path, flags, Mode::empty())
                .map_err(|error| format!("cannot open /proc: {error}"))
        };
        let directory = open(CWD, "/proc/self/")?;
        let descriptors = open(directory.as_fd(), "fd")?;
        Ok(Self { directory, descriptors })
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let failed = |error: std::io::Error| format!("cannot read /proc/self/{name}: {error}");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty())
            .map_err(|error| failed(error.into()))?;
        let mut bytes = Vec::new();
        File::from(file).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }

    fn table(&self) -> Result<MountTable, String> {
        MountTable::parse(&self.read("mountinfo")?).map_err(|error| error.to_string())
    }

    /// The id of the mount that an open file lies on.
    fn mount_of(&self, file: &OwnedFd) -> Result<u64, String> {
        let text = self.read(&format!("fdinfo/{}", file.as_raw_fd()))?;
        String::from_utf8_lossy(&text)
            .lines()
            .find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok())
            .ok_or_else(|| "the kernel does not say which mount this is".to_owned())
    }

    /// Takes away exactly the mount that this file is the root of. By its descriptor, because
    /// umount2(2) has no other way to mean a mount and not a path.
    fn detach(&self, mount: &OwnedFd) -> Result<(), Errno> {
        rustix::process::fchdir(&self.descriptors)?;
        unmount(mount.as_raw_fd().to_string(), UnmountFlags::DETACH)
    }
}

/// Asks a file system about its root, in a child.
///
/// # Errors
/// Why there is no answer.
pub(crate) fn ask_root(path: &Path, bound: Duration) -> Result<(), Error> {
    RootQuestion::prepare(path)?.ask(bound)
}

/// A question to a file system about its root, in a child that is there before it is asked: whoever
/// waits for a mount has the time to start one, and none to lose once the mount is there.
#[derive(Debug)]
pub(crate) struct RootQuestion {
    child: Child,
    go: PipeWriter,
    what: String,
}

impl RootQuestion {
    /// Starts the child, which holds nothing open that others wait for the end of.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be started.
    pub fn prepare(path: &Path) -> Result<Self, Error> {
        let what = format!("the file system at {}", path.display());
        let (wait, go) = std::io::pipe()
            .map_err(|error| Error::unavailable(format!("cannot ask {what}: {error}")))?;
        let child = Child::start(Files::Only(&[wait.as_fd()]), || {
            let asked = || {
                (&wait).read_exact(&mut [0]).map_err(|error| error.to_string())?;
                rustix::fs::statat(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
                    .and_then(|_| rustix::fs::statfs(path))
                    .map_err(|error| error.to_string())
            };
            asked().err().unwrap_or_default().into_bytes()
        })?;
        Ok(Self { child, go, what })
    }

    /// Asks.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn ask(mut self, bound: Duration) -> Result<(), Error> {
        let what = &self.what;
        // That there is nobody to hear it is noticed below.
        let _ = self.go.write_all(&[1]);
        let answer = self.child.finish(Instant::now() + bound, || false);
        let answer = answer.map_err(|why| Error::unavailable(why.in_words(what, bound)))?;
        if answer.is_empty() {
            return Ok(());
        }
        Err(Error::unavailable(format!("{what} answers: {}", String::from_utf8_lossy(&answer))))
    }

    /// Ends the child: nobody wants to know any more.
    pub fn cancel(self) {
        let _ = self.child.finish(Instant::now(), || true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Connection = Connection { device: (0, 50), inode: 7, made: (1, 0) };
    const NEW: Connection = Connection { device: (0, 51), inode: 8, made: (2, 0) };
    const TABLE: &str = "\
21 1 8:1 / / rw - ext4 /dev/a rw
30 21 0:50 / /stage rw,nosuid,nodev shared:7 - fuse.h s rw
37 21 0:51 /sub /pod/sub ro - fuse.h s rw
31 37 0:50 /sub /pod/sub ro,nosuid,nodev,relatime - fuse.h s rw
32 21 0:51 / /other rw - fuse.h s rw
33 21 0:50 /sub/file//deleted /pod/file rw - fuse.h s rw
34 21 0:50 / /nested rw - fuse.h s rw
35 34 0:60 / /nested/cache rw - tmpfs t rw
38 35 0:61 / /nested/cache/more rw - tmpfs t rw
36 21 0:50 / /mapped rw,idmapped - fuse.h s rw
";

    #[test]
    fn every_place_of_a_dead_device_is_found_with_its_part_and_its_flags() {
        let table = MountTable::parse(TABLE.as_bytes()).unwrap();
        let found = dead_mounts(&table, &[OLD], &NEW);
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let free: Vec<_> = found.iter().filter(|dead| dead.obstacle.is_none()).collect();
        assert_eq!(
            free,
            [
                &DeadMount {
                    id: 30,
                    connection: OLD,
                    path: "/stage".into(),
                    root: "/".into(),
                    flags,
                    is_shared: true,
                    is_prepared: false,
                    nested: vec![],
                    obstacle: None
                },
                &DeadMount {
                    id: 31,
                    connection: OLD,
                    path: "/pod/sub".into(),
                    root: "/sub".into(),
                    flags: flags | MountFlags::RDONLY | MountFlags::RELATIME,
                    is_shared: false,
                    is_prepared: true,
                    nested: vec![],
                    obstacle: None
                },
                &DeadMount {
                    id: 33,
                    connection: OLD,
                    path: "/pod/file".into(),
                    root: "/sub/file".into(),
                    flags: MountFlags::empty(),
                    is_shared: false,
                    is_prepared: false,
                    nested: vec![],
                    obstacle: None
                },
            ]
        );
        assert!(dead_mounts(&table, &[Connection { device: (0, 9), ..OLD }], &NEW).is_empty());
    }

    #[test]
    fn a_place_that_cannot_be_replaced_without_loss_is_left_with_the_reason() {
        let table = MountTable::parse(TABLE.as_bytes()).unwrap();
        let found = dead_mounts(&table, &[OLD], &NEW);
        let obstacle =
            |id: u64| found.iter().find(|dead| dead.id == id).unwrap().obstacle.clone().unwrap();
        assert!(obstacle(34).contains("/nested/cache"));
        assert!(obstacle(36).contains("mapped"));
    }

    #[test]
    fn a_part_of_the_volume_that_became_a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink("/etc", directory.path().join("a/link")).unwrap();
        let (this, root) = (This::open().unwrap(), open_path(CWD, directory.path()).unwrap());
        let open = |path: &str| open_below(&this, &root, Path::new(path));
        open("/").unwrap();
        open("/a/b").unwrap();
        assert!(open("/a/link").unwrap_err().contains("leads out"));
        assert!(open("/a/link/ssh").is_err());
        assert!(open("/a/missing").unwrap_err().contains("any more"));
    }

    #[test]
    fn a_file_system_of_the_kernel_answers_and_is_not_dead() {
        ask_root(Path::new("/"), Duration::from_secs(60)).unwrap();
        assert!(!is_dead(&open_path(CWD, Path::new("/")).unwrap()));
        assert!(ask_root(Path::new("/no/such"), Duration::from_secs(60)).is_err());
    }
}
