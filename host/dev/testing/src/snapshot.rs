//! The state that a bed is in, in words that do not depend on the run: what the position tests
//! compare, and what a test looks at to say that nothing was left behind.
//!
//! Disks with their attachments and tags, buckets, file systems with their directories, links,
//! mounts, loop devices, mount helpers, Wharf's state files with their content, and kubelet's
//! directories. Names that differ from run to run (the bed's directory, device numbers, whatever
//! the caller names) are replaced by words.

use std::fmt;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use wharf_cloudsim::{BucketSummary, FileSystemSummary};

use crate::bed::{Bed, Machine};

/// A bucket of this name is nobody's: a test made it for all its volumes.
pub const SHARED_BUCKET: &str = "shared";

/// A sorted list of facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    facts: Vec<String>,
}

impl Snapshot {
    /// Looks. `names` are texts and the words that stand for them; what is longer should come
    /// first.
    pub fn of(bed: &Bed, names: &[(String, String)]) -> Self {
        let mut facts = Vec::new();
        for disk in bed.region().disks() {
            let tags: Vec<String> =
                disk.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let size = disk.size_gib;
            facts.push(format!(
                "disk {} {} {size} GiB {} on {:?} tags {tags:?}",
                disk.id, disk.name, disk.status, disk.attached_to
            ));
            if !disk.detached_while_mounted.is_empty() {
                facts.push(format!("disk {} was taken away while mounted", disk.id));
            }
        }
        let is_of_a_volume = |bucket: &BucketSummary| bucket.name != SHARED_BUCKET;
        for bucket in bed.region().buckets().into_iter().filter(is_of_a_volume) {
            let keys: Vec<&str> = bucket.objects.iter().map(|object| object.key.as_str()).collect();
            facts.push(format!("bucket {} tags {:?} objects {keys:?}", bucket.name, bucket.tags));
        }
        for system in bed.region().file_systems() {
            look_into(&system, &mut facts);
        }
        for (device, image) in bed.loops() {
            facts.push(format!("loop {} of {}", device.display(), image.display()));
        }
        for mount in bed.mounts() {
            let (at, options, own) = (mount.at.display(), mount.super_options, mount.options);
            facts.push(format!(
                "mount {at}: {} {} of {} {own} {options}",
                mount.fs_type, mount.root, mount.source
            ));
        }
        let mounted: Vec<PathBuf> = bed.mounts().into_iter().map(|mount| mount.at).collect();
        for machine in bed.nodes().iter().chain([bed.manager()]) {
            look_at(machine, &mounted, &mut facts);
        }
        let mut facts: Vec<String> =
            facts.into_iter().map(|fact| plain(&fact, bed, names)).collect();
        facts.sort();
        Self { facts }
    }

    /// Whether there is neither a disk, a mount, a device nor a record.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Facts that one of the two has and the other has not, or not as often, with the side that has
    /// them.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let missing =
            beyond(&expected.facts, &self.facts).into_iter().map(|fact| format!("missing: {fact}"));
        let extra = beyond(&self.facts, &expected.facts)
            .into_iter()
            .map(|fact| format!("too much: {fact}"));
        missing.chain(extra).collect()
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.facts.iter().try_for_each(|fact| writeln!(f, "  {fact}"))
    }
}

/// What is left of some facts when each of the others takes one away that is like it: two mounts at
/// one place are two.
fn beyond<'a>(facts: &'a [String], others: &[String]) -> Vec<&'a String> {
    let mut others: Vec<&String> = others.iter().collect();
    let mut is_beyond = |fact: &&String| match others.iter().position(|other| other == fact) {
        Some(at) => {
            others.swap_remove(at);
            false
        }
        None => true,
    };
    facts.iter().filter(|fact| is_beyond(fact)).collect()
}

/// A file system and what leads to it. The directories of volumes are looked at and not into: what
/// pods write is theirs.
fn look_into(system: &FileSystemSummary, facts: &mut Vec<String>) {
    let FileSystemSummary { id, status, mount_targets, access_points, quotas, tags, .. } = system;
    facts.push(format!(
        "file system {id} {status} at {mount_targets:?} {access_points:?} quotas {quotas:?} tags \
         {tags:?}"
    ));
    for above in entries(&system.directory) {
        facts.push(format!("directory {}", above.display()));
        facts.extend(entries(&above).iter().map(|path| format!("directory {}", path.display())));
    }
}

fn look_at(machine: &Machine, mounted: &[PathBuf], facts: &mut Vec<String>) {
    for link in entries(machine.by_id()) {
        facts.push(format!("link {}", link.display()));
    }
    walk(&machine.state(), &[], &mut |path, kind| {
        // Directories and lock files stay for the next volume, and what FlexVolume remembers of a
        // `detach` for a few minutes.
        let is_lock = path.file_name().is_some_and(|name| name == "lock");
        let is_remembered = path.ancestors().any(|directory| directory.ends_with("detached"));
        if kind == "file" && !is_lock && !is_remembered {
            // The supervisor's records name processes and devices of this run.
            let content = if path.parent() == Some(&machine.state().join("mounts")) {
                String::new()
            } else {
                fs::read_to_string(path).unwrap_or_default()
            };
            facts.push(format!("state {}: {}", path.display(), content.trim_end()));
        }
    });
    for helper in machine.helpers() {
        let program = helper.arguments.first().map_or("", String::as_str);
        facts.push(format!("helper {program} on {}", machine.name()));
    }
    walk(&machine.kubelet(), mounted, &mut |path, kind| {
        // A running server's socket is no volume's.
        let is_left = match kind {
            "socket" => false,
            "directory" => mounted.iter().any(|mount| mount == path) || is_of_a_volume(path),
            _ => true,
        };
        if is_left {
            facts.push(format!("kubelet {kind} {}", path.display()));
        }
    });
}

/// kubelet's directories above a volume's own stay for the next one.
fn is_of_a_volume(path: &Path) -> bool {
    let last = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    last == "globalmount"
        || path.parent().and_then(Path::file_name).is_some_and(|parent| parent == "mounts")
}

fn walk(directory: &Path, stop_at: &[PathBuf], visit: &mut impl FnMut(&Path, &str)) {
    for path in entries(directory) {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let kind = match metadata.file_type() {
            kind if kind.is_dir() => "directory",
            kind if kind.is_symlink() => "symlink",
            kind if kind.is_block_device() => "device",
            kind if kind.is_socket() => "socket",
            _ => "file",
        };
        visit(&path, kind);
        if kind == "directory" && !stop_at.contains(&path) {
            walk(&path, stop_at, visit);
        }
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn plain(fact: &str, bed: &Bed, names: &[(String, String)]) -> String {
    let mut fact =
        names.iter().fold(fact.to_owned(), |fact, (name, word)| fact.replace(name, word));
    for node in bed.nodes() {
        fact = fact.replace(node.id(), node.name());
    }
    without_digests(&without_numbers(&fact.replace(&bed.directory().display().to_string(), "")))
}

/// `/mounts/0123456789abcdef/log` is `/mounts/HELPER/log` to us: the name is made of a path.
fn without_digests(fact: &str) -> String {
    let mut parts = fact.split("/mounts/");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let length = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        let is_digest =
            length == 16 && !part[length..].starts_with(|it: char| it.is_alphanumeric());
        plain += "/mounts/";
        plain += if is_digest { "HELPER" } else { "" };
        plain += if is_digest { &part[length..] } else { part };
    }
    plain
}

/// `/dev/loop17` is `/dev/loop` to us, also where a mount calls it `/loop17`.
fn without_numbers(fact: &str) -> String {
    let mut parts = fact.split("/loop");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain += "/loop";
        plain += part.trim_start_matches(|letter: char| letter.is_ascii_digit());
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_left_out() {
        assert_eq!(without_numbers("a /dev/loop12 b /dev/loop3\""), "a /dev/loop b /dev/loop\"");
        assert_eq!(without_numbers("devtmpfs /loop7 none"), "devtmpfs /loop none");
    }

    #[test]
    fn names_that_are_made_of_paths_are_left_out() {
        assert_eq!(without_digests("a /mounts/0123456789abcdef: b"), "a /mounts/HELPER: b");
        for other in ["/mounts/pv-1", "/mounts/0123456789abcdefg", "/mounts/0123", "no"] {
            assert_eq!(without_digests(other), other);
        }
    }

    #[test]
    fn differences_say_which_side_has_what() {
        let snapshot = |facts: &[&str]| Snapshot {
            facts: facts.iter().map(|fact| (*fact).to_owned()).collect(),
        };
        assert_eq!(
            snapshot(&["a", "b"]).differences(&snapshot(&["b", "c"])),
            ["missing: c", "too much: a"]
        );
    }

    #[test]
    fn what_is_there_twice_differs_from_what_is_there_once() {
        let snapshot = |facts: &[&str]| Snapshot {
            facts: facts.iter().map(|fact| (*fact).to_owned()).collect(),
        };
        assert_eq!(
            snapshot(&["mount", "mount"]).differences(&snapshot(&["mount"])),
            ["too much: mount"]
        );
        assert_eq!(
            snapshot(&["loop"]).differences(&snapshot(&["loop", "loop", "loop"])),
            ["missing: loop", "missing: loop"]
        );
        assert!(snapshot(&["a", "b", "a"]).differences(&snapshot(&["b", "a", "a"])).is_empty());
    }
}
