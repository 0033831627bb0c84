//! Looking for what the demo may have left: mounts, loop devices, processes, its directory. The
//! kernel is asked, not the demo.

use std::fs;
use std::path::Path;

use wharf_testing::bed::{loops_below, mounts_below};

/// What is left of a bed that is gone, one line each. Without a directory: of one that was never
/// finished, which is known by its processes alone.
pub fn of(directory: Option<&Path>) -> Vec<String> {
    let Some(directory) = directory else {
        return processes(|process| is_child(process, std::process::id()));
    };
    let mut left: Vec<String> = mounts_below(directory)
        .iter()
        .map(|mount| format!("mount {}", mount.at.display()))
        .collect();
    left.extend(
        loops_below(directory).iter().map(|(device, image)| {
            format!("loop device {} of {}", device.display(), image.display())
        }),
    );
    let name = directory.display().to_string();
    left.extend(processes(|process| {
        fs::read(process.join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&name))
    }));
    if directory.exists() {
        left.push(format!("directory {name}"));
    }
    left
}

fn processes(is_ours: impl Fn(&Path) -> bool) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbered = entries.filter(|entry| {
        entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit())
    });
    numbered
        .filter(|entry| is_ours(&entry.path()))
        .map(|entry| format!("process {}", entry.file_name().to_string_lossy()))
        .collect()
}

fn is_child(process: &Path, of: u32) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    status
        .lines()
        .filter_map(|line| line.strip_prefix("PPid:"))
        .any(|parent| parent.trim() == of.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_directory_that_is_still_there_and_a_process_that_names_it_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let mut waits = std::process::Command::new("sh");
        let mut child = waits
            .args(["-c", "echo; read line"])
            .arg(directory.path().join("below"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // A process has no command line until its program runs; it says when.
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let left = of(Some(directory.path()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(left.contains(&format!("process {}", child.id())), "{left:?}");
        assert!(left.contains(&format!("directory {}", directory.path().display())), "{left:?}");
    }

    #[test]
    fn nothing_is_left_of_a_directory_that_never_was() {
        assert_eq!(of(Some(Path::new("/nowhere/wharf-bed"))), Vec::<String>::new());
    }
}
