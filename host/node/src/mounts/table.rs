//! The kernel's mount table (`/proc/self/mountinfo`, proc(5)). Reading it touches nothing that is
//! mounted, so a dead mount cannot hang it.
//!
//! Paths match exactly or not at all. Of several mounts stacked on one path the top one is what the
//! path shows.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use wharf_core::Error;

const MOUNTINFO: &str = "/proc/self/mountinfo";
/// What this kernel calls itself.
const RELEASE: &str = "/proc/sys/kernel/osrelease";
/// Of a node with some tens of pods. Read into less, a table takes many more reads.
const USUAL_BYTES: usize = 32 * 1024;

/// Before Linux 5.8 a table that changes while it is read in pieces can come out with lines
/// missing; two equal readings in a row cannot. A table that never holds still is taken as it is
/// after this many.
const READINGS: usize = 4;

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Unique among the mounts that exist now.
    pub id: u64,
    /// The mount that this one is mounted on.
    pub parent: u64,
    /// Major and minor number of the file system's device; major 0 where there is none.
    pub device: (u32, u32),
    /// What part of the file system is mounted.
    pub root: PathBuf,
    /// Where. `//deleted` is appended by the kernel when that path is gone.
    pub mount_point: PathBuf,
    /// Options of this mount (`ro`, `nosuid`, …).
    pub options: Vec<String>,
    /// Whether mounts below it appear in other namespaces, and theirs here.
    pub is_shared: bool,
    /// `ext4`, `nfs4`, `fuse.ossfs`, …
    pub fs_type: String,
    /// What was named as source.
    pub source: OsString,
    /// Options of the file system.
    pub super_options: Vec<String>,
}

impl Entry {
    /// Whether nothing can be written through this mount.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only_here() || self.is_file_system_read_only()
    }

    /// Whether this mount alone is read-only; other mounts of the same file system may write.
    pub fn is_read_only_here(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }

    /// Whether the file system lies on a block device.
    pub fn is_of_block_device(&self) -> bool {
        self.device.0 != 0
    }

    /// Whether what answers for the file system is this kernel: neither a server nor a process that
    /// can be gone, nor a disk.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.fs_type.as_str(), "tmpfs" | "devtmpfs" | "ramfs" | "hugetlbfs" | "overlay")
    }

    /// Whether a server or a process answers for the file system.
    pub fn is_remote(&self) -> bool {
        // Some file systems on disks have no number of their own device.
        !self.is_of_block_device()
            && !self.is_in_memory()
            && !matches!(self.fs_type.as_str(), "btrfs" | "bcachefs" | "zfs")
            || self.fs_type.starts_with("fuse")
    }

    /// Whether a process of this machine answers for the file system.
    pub fn is_of_helper(&self) -> bool {
        self.fs_type == "fuse" || self.fs_type.starts_with("fuse.")
    }

    /// What was named as source, for an error.
    pub fn source_in_words(&self) -> String {
        self.source.to_string_lossy().into_owned()
    }

    /// Who answers for a remote file system, as one name for all its mounts: the server of NFS, in
    /// small letters and without brackets; otherwise what was named as source, of helpers with the
    /// file system's number, as they all name the same.
    pub fn server(&self) -> String {
        let source = self.source_in_words();
        if self.is_of_helper() {
            return format!("{source} (device {}:{})", self.device.0, self.device.1);
        }
        match source.split_once(":/") {
            Some((host, _)) if self.fs_type.starts_with("nfs") => {
                let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
                inner.unwrap_or(host).to_ascii_lowercase()
            }
            Some(_) | None => source,
        }
    }

    /// Whether the file system as a whole is read-only.
    pub fn is_file_system_read_only(&self) -> bool {
        self.super_options.iter().any(|option| option == "ro")
    }
}

/// All mounts of this process's namespace, in the kernel's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MountTable {
    entries: Vec<Entry>,
}

impl MountTable {
    /// Reads the table as it is now.
    pub fn read() -> Result<Self, Error> {
        let mut last = read_text()?;
        if !lists_every_mount() {
            for _ in 1..READINGS {
                let again = read_text()?;
                if again == last {
                    break;
                }
                last = again;
            }
        }
        Self::parse(&last)
    }

    /// Parses the whole text.
    ///
    /// # Errors
    /// `Internal` for a line that is not in the format: guessing would mean not seeing a mount.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let entries = lines
            .map(|line| {
                parse_line(line).ok_or_else(|| {
                    Error::internal(format!(
                        "{MOUNTINFO} has a line that cannot be read: {:?}",
                        String::from_utf8_lossy(line)
                    ))
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// What exactly this path shows: the top one of the mounts on it that are not covered by a
    /// mount further up.
    pub fn top(&self, path: &Path) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.mount_point == path && self.is_visible(entry))
    }

    /// The mount that a path lies on.
    pub fn covering(&self, path: &Path) -> Option<&Entry> {
        path.ancestors().find_map(|ancestor| self.top(ancestor))
    }

    /// The file system that a path lies on, and where in it.
    pub fn part_at(&self, path: &Path) -> Option<((u32, u32), PathBuf)> {
        self.covering(path).and_then(|mount| part_of(mount, path))
    }

    /// Where a mount lies: the file system under it, and where in that. A mount that the kernel
    /// shows at several paths, because a directory above it is mounted at each of them, has one
    /// location.
    pub fn location_of(&self, entry: &Entry) -> Option<((u32, u32), PathBuf)> {
        self.by_id(entry.parent).and_then(|parent| part_of(parent, &entry.mount_point))
    }

    /// The mount with this id.
    pub fn by_id(&self, id: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// Whether a mount that was in the table before is still there. The kernel gives a number to
    /// another mount as soon as it is free, so the place has to be the same as well.
    pub fn still_has(&self, before: &Entry) -> bool {
        self.by_id(before.id).is_some_and(|now| now.mount_point == before.mount_point)
    }

    /// Mount points below a path, in words.
    pub fn below(&self, path: &Path) -> Vec<String> {
        let below = self
            .entries
            .iter()
            .filter(|entry| entry.mount_point != path && entry.mount_point.starts_with(path));
        below.map(|entry| format!("the mount at {}", entry.mount_point.display())).collect()
    }

    /// All mounts, in the kernel's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Every mount of this device's file system.
    pub fn of_device(&self, device: (u32, u32)) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.device == device)
    }

    /// A mount is covered when another one lies over a directory that leads to it, on the same
    /// mount.
    fn is_visible(&self, entry: &Entry) -> bool {
        let mut current = entry;
        // The chain of parents is as long as the table at most.
        for _ in 0..=self.entries.len() {
            if self.is_covered(current) {
                return false;
            }
            match self.by_id(current.parent) {
                Some(parent) if parent.id != current.id => current = parent,
                Some(_) | None => return true,
            }
        }
        true
    }

    fn is_covered(&self, entry: &Entry) -> bool {
        self.entries.iter().any(|other| {
            other.parent == entry.parent
                && other.id != entry.id
                && other.mount_point != entry.mount_point
                && entry.mount_point.starts_with(&other.mount_point)
        })
    }
}

/// What of a mount's file system is seen at a path under it.
pub(crate) fn part_of(mount: &Entry, path: &Path) -> Option<((u32, u32), PathBuf)> {
    let below = path.strip_prefix(&mount.mount_point).ok()?;
    let root = &mount.root;
    let part = if below.as_os_str().is_empty() { root.clone() } else { root.join(below) };
    Some((mount.device, part))
}

fn read_text() -> Result<Vec<u8>, Error> {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    File::open(MOUNTINFO)
        .and_then(|mut file| file.read_to_end(&mut text))
        .map_err(|error| Error::internal(format!("cannot read {MOUNTINFO}: {error}")))?;
    Ok(text)
}

/// Whether this kernel lists every mount that is there all the time, whatever else changes while
/// the table is read in pieces: since Linux 5.8.
fn lists_every_mount() -> bool {
    static LISTS_EVERY_MOUNT: OnceLock<bool> = OnceLock::new();
    *LISTS_EVERY_MOUNT.get_or_init(|| {
        std::fs::read_to_string(RELEASE).is_ok_and(|release| is_since_5_8(&release))
    })
}

/// `6.1.55-1.alnx4`: the numbers before the second dot count.
fn is_since_5_8(release: &str) -> bool {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) >= (5, 8))
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let parent = number(fields.next()?)?;
    let device = text(fields.next()?)?;
    let (major, minor) = device.split_once(':')?;
    let root = path(fields.next()?);
    let mount_point = path(fields.next()?);
    let options = list(fields.next()?);
    // Any number of peer groups (`shared:1`, `master:2`), then a dash.
    let mut is_shared = false;
    loop {
        match fields.next()? {
            b"-" => break,
            group => is_shared |= group.starts_with(b"shared:"),
        }
    }
    let fs_type = String::from_utf8_lossy(&unescape(fields.next()?)).into_owned();
    let source = OsString::from_vec(unescape(fields.next()?));
    // An empty source leaves two blanks in a row; the options are always last.
    let super_options = list(fields.next_back()?);
    Some(Entry {
        id,
        parent,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root,
        mount_point,
        options,
        is_shared,
        fs_type,
        source,
        super_options,
    })
}

fn text(field: &[u8]) -> Option<&str> {
    std::str::from_utf8(field).ok()
}

fn number(field: &[u8]) -> Option<u64> {
    text(field)?.parse().ok()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescape(field)))
}

fn list(field: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(field)
        .split(',')
        .filter(|option| !option.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Blank, tab, newline, backslash and `#` are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        match (first, octal(tail)) {
            (b'\\', Some(byte)) => {
                plain.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            (byte, _) => {
                plain.push(*byte);
                rest = tail;
            }
        }
    }
    plain
}

fn octal(tail: &[u8]) -> Option<u8> {
    let digits = text(tail.get(..3)?)?;
    digits
        .bytes()
        .all(|digit| (b'0'..=b'7').contains(&digit))
        .then(|| u8::from_str_radix(digits, 8).ok())
        .flatten()
}

#[cfg(test)]
mod tests;
