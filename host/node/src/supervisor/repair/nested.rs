//! Mounts that lie on a dead one, as a container has them whose volumes are mounted inside of each
//! other. The dead mount takes them along when it goes, so the healthy one gets copies of them
//! first.
//!
//! A copy is made of what this node shows of the same file system elsewhere, and never of the mount
//! itself: the way to that leads through the dead file system, and a name that is looked up there
//! and not answered is dropped by the kernel together with every mount on it, in all namespaces.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MountFlags, move_mount};

use super::{
    BOTH_OPEN, DeadMount, This, copy_mount, open_below, open_path, own_flags, propagation,
};
use crate::mounts::detached::replace_flags;
use crate::mounts::table::{Entry, MountTable};
use crate::supervisor::connections::Connection;
use crate::supervisor::decide::DeviceNumber;

/// A mount that lies on a dead one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Nested {
    /// Where: from the dead mount's place.
    at: PathBuf,
    device: DeviceNumber,
    root: PathBuf,
    flags: MountFlags,
    is_shared: bool,
}

/// The mounts on this one.
///
/// # Errors
/// Which of them cannot be copied as they are.
pub(super) fn on(table: &MountTable, entry: &Entry) -> Result<Vec<Nested>, String> {
    let children = |of: &Entry| {
        let id = of.id;
        table.entries().iter().filter(move |other| other.parent == id && other.id != id)
    };
    let nested = |child: &Entry| {
        let at = child.mount_point.strip_prefix(&entry.mount_point).ok();
        let is_plain = children(child).next().is_none()
            && !child.options.iter().any(|option| option == "idmapped");
        match at {
            Some(at) if is_plain && at != Path::new("") => Ok(Nested {
                at: at.to_owned(),
                device: child.device,
                root: child.root.clone(),
                flags: own_flags(child),
                is_shared: child.is_shared,
            }),
            _ => Err(would_go(&child.mount_point, "it cannot be copied as it is")),
        }
    };
    children(entry).map(nested).collect()
}

fn would_go(what: &Path, why: &str) -> String {
    format!("another mount lies on it and would go with it: {}: {why}", what.display())
}

/// A copy of a nested mount, made from this process's own namespace.
///
/// # Errors
/// Why there is none.
pub(super) fn copy(
    this: &This,
    table: &MountTable,
    mount_point: &Path,
    nested: &Nested,
    dead: &[Connection],
) -> Result<OwnedFd, String> {
    let failed = |why: &str| would_go(&mount_point.join(&nested.at), why);
    let (entry, rest) = elsewhere(table, nested, dead)
        .ok_or_else(|| failed("this node shows what is mounted there nowhere else"))?;
    let top = open_path(CWD, &entry.mount_point).map_err(|error| failed(&error.to_string()))?;
    if this.mount_of(&top)? != entry.id {
        return Err(failed("what is mounted there is covered elsewhere"));
    }
    let part = open_below(this, &top, rest).map_err(|error| failed(&error))?;
    let copy = copy_mount(&part).map_err(|error| failed(&error.to_string()))?;
    replace_flags(&copy, nested.flags, propagation(nested.is_shared))
        .map_err(|error| failed(&error.to_string()))?;
    Ok(copy)
}

/// A mount that shows the same part of the same file system or more of it, and the way from there.
/// Not one that is reached through a dead mount.
fn elsewhere<'a>(
    table: &'a MountTable,
    nested: &'a Nested,
    dead: &[Connection],
) -> Option<(&'a Entry, &'a Path)> {
    let is_reached = |entry: &Entry| {
        let mut above = Some(entry);
        while let Some(entry) = above {
            if dead.iter().any(|connection| connection.device == entry.device) {
                return false;
            }
            above = table.by_id(entry.parent).filter(|parent| parent.id != entry.id);
        }
        true
    };
    table
        .of_device(nested.device)
        .filter_map(|entry| Some((entry, nested.root.strip_prefix(&entry.root).ok()?)))
        .find(|(entry, _)| is_reached(entry))
}

/// Puts copies of nested mounts where they were, on a mount that has come in the dead one's place.
/// One that is there already was put there before the supervisor was killed.
///
/// # Errors
/// Which of them has no mount point any more.
pub(super) fn attach(
    this: &This,
    mount: &OwnedFd,
    dead: &DeadMount,
    copies: &[OwnedFd],
) -> Result<(), String> {
    if copies.is_empty() {
        return Ok(());
    }
    let (table, id) = (this.table()?, this.mount_of(mount)?);
    for (nested, copy) in dead.nested.iter().zip(copies) {
        let at = dead.path.join(&nested.at);
        let is_there = |entry: &Entry| entry.parent == id && entry.mount_point == at;
        if table.entries().iter().any(is_there) {
            continue;
        }
        let spot = open_below(this, mount, &nested.at).map_err(|error| would_go(&at, &error))?;
        move_mount(copy, "", &spot, "", BOTH_OPEN)
            .map_err(|error| would_go(&at, &error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Connection = Connection { device: (0, 50), inode: 7, made: (1, 0) };
    const TABLE: &str = "\
21 1 8:1 / / rw - ext4 /dev/a rw
30 21 0:50 / /stage rw - fuse.h s rw
31 30 8:1 /kubelet/cache /stage/cache ro shared:3 - ext4 /dev/a rw
32 30 0:60 / /stage/secret rw - tmpfs t rw
33 21 0:60 / /kubelet/secret rw - tmpfs t rw
34 30 0:61 / /stage/only rw - tmpfs t rw
35 30 0:62 / /stage/deep rw - tmpfs t rw
36 35 0:63 / /stage/deep/er rw - tmpfs t rw
37 21 0:50 / /plain rw - fuse.h s rw
";

    fn table() -> MountTable {
        MountTable::parse(TABLE.as_bytes()).unwrap()
    }

    #[test]
    fn mounts_on_a_dead_one_are_found_with_what_they_show() {
        let table = table();
        assert_eq!(on(&table, table.by_id(37).unwrap()).unwrap(), []);
        // One of them carries another.
        assert!(on(&table, table.by_id(30).unwrap()).unwrap_err().contains("/stage/deep"));
        let cache = Nested {
            at: "er".into(),
            device: (0, 63),
            root: "/".into(),
            flags: MountFlags::empty(),
            is_shared: false,
        };
        assert_eq!(on(&table, table.by_id(35).unwrap()).unwrap(), [cache]);
    }

    #[test]
    fn what_they_show_is_looked_for_where_no_dead_mount_is_on_the_way() {
        let table = table();
        let found = |device, root: &str| {
            let nested = Nested {
                at: "x".into(),
                device,
                root: root.into(),
                flags: MountFlags::empty(),
                is_shared: false,
            };
            elsewhere(&table, &nested, &[DEAD]).map(|(entry, rest)| (entry.id, rest.to_owned()))
        };
        assert_eq!(found((8, 1), "/kubelet/cache"), Some((21, "kubelet/cache".into())));
        assert_eq!(found((0, 60), "/"), Some((33, "".into())));
        assert_eq!(found((0, 61), "/"), None);
    }
}
