//! The kernel's own view: the mount table and the loop devices, below one directory.

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

/// One line of `/proc/self/mountinfo`, as far as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MountLine {
    /// Where.
    pub at: PathBuf,
    /// The root of the mount inside its file system (`/` unless a bind mount of a part).
    pub root: String,
    /// Options of this mount.
    pub options: String,
    /// File system type.
    pub fs_type: String,
    /// Device.
    pub source: String,
    /// Options of the file system.
    pub super_options: String,
}

/// Mounts below a directory, in the kernel's order.
pub fn mounts_below(directory: &Path) -> Vec<MountLine> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter_map(parse).filter(|line| line.at.starts_with(directory)).collect()
}

fn parse(line: &str) -> Option<MountLine> {
    let (mount, system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, at, options) = (mount.next()?, mount.next()?, mount.next()?);
    let mut system = system.split(' ');
    let (fs_type, source, super_options) = (system.next()?, system.next()?, system.next()?);
    Some(MountLine {
        at: PathBuf::from(unescape(at)),
        root: unescape(root),
        options: options.to_owned(),
        fs_type: fs_type.to_owned(),
        source: unescape(source),
        super_options: super_options.to_owned(),
    })
}

fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

/// Loop devices over images below a directory: device and image.
pub fn loops_below(directory: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut loops: Vec<(PathBuf, PathBuf)> = entries
        .filter_map(|entry| {
            let image = std::fs::read_to_string(entry.path().join("loop/backing_file")).ok()?;
            Some((
                Path::new("/dev").join(entry.file_name()),
                PathBuf::from(image.trim_end_matches('\n')),
            ))
        })
        .filter(|(_, image)| image.starts_with(directory))
        .collect();
    loops.sort();
    loops
}

/// Takes every mount below a directory away, used or not.
pub fn unmount_below(directory: &Path) {
    for line in mounts_below(directory).iter().rev() {
        if let Err(error) = umount2(&line.at, MntFlags::MNT_DETACH) {
            eprintln!("cannot unmount {}: {error}", line.at.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_mount_table_is_read() {
        let line = parse(
            r"36 35 98:0 /a\040b /mnt/x rw,noatime shared:1 - ext4 /dev/loop3 rw,errors=continue",
        )
        .unwrap();
        assert_eq!(
            (line.at, line.root.as_str(), line.fs_type.as_str()),
            (PathBuf::from("/mnt/x"), "/a b", "ext4")
        );
        assert_eq!((line.source.as_str(), line.options.as_str()), ("/dev/loop3", "rw,noatime"));
    }

    #[test]
    fn mounts_of_this_machine_are_seen() {
        assert!(mounts_below(Path::new("/")).iter().any(|line| line.fs_type == "proc"));
    }
}
