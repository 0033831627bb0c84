//! Cleaning up after a process that was killed: a shell that waits for the end of a pipe. A signal
//! that ends a test (Ctrl-C, a time limit's SIGKILL) runs no destructor, and what it leaves
//! (mounts, loop devices, servers) would disturb everything after it. Every bed has one; `cargo
//! xtask` gives one to whatever else mounts.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::BedError;

/// Its name in a process list. Whoever ends a whole family of processes spares it: it is there to
/// outlive them.
pub const REAPER: &str = "wharf-bed-reaper";

/// The word that says that there is nothing to do.
const DONE: &str = "done";

/// `$1` is the directory. It says when it has begun: before that it has no command line, and
/// whoever spares reapers would not know it for one. It looks at the noted processes twice for the
/// same reason: one that was just started has no command line yet. Inner mounts are listed after
/// outer ones, so they are taken in reverse.
const SCRIPT: &str = r#"
echo
exec > /dev/null
read -r word && [ "$word" = done ] && exit 0
for look in 1 2; do
    for file in "$1"/pids/*; do
        pid=${file##*/}
        tr '\0' '\n' < "/proc/$pid/cmdline" 2>/dev/null | grep -qF "$1/" && kill -9 "$pid"
    done
    sleep 0.2
done
# The supervisors of mounts and their helpers, which nobody noted: a supervisor goes first, for it
# would start a helper again.
for words in 'serve' ''; do
    for process in /proc/[0-9]*; do
        line=$(tr '\0' '\n' < "$process/cmdline" 2>/dev/null) || continue
        case "$line" in *"$words"*) ;; *) continue;; esac
        echo "$line" | grep -q "^$1/[^/]*/mounts\(/\|\$\)" && kill -9 "${process#/proc/}"
    done
done
sleep 0.2
while read -r _ _ _ _ at _; do
    case "$at" in "$1"/*) echo "$at";; esac
done < /proc/self/mountinfo | tac | while read -r at; do umount -l "$at"; done
for backing in /sys/block/loop*/loop/backing_file; do
    read -r image < "$backing" || continue
    case "$image" in "$1"/*) device=${backing#/sys/block/}; losetup -d "/dev/${device%%/*}";; esac
done
rm -rf --one-file-system "$1"
"#;

/// The waiting shell.
pub struct Reaper {
    shell: Child,
}

impl Reaper {
    /// Makes sure that this directory goes when this process ends without a word, with all mounts,
    /// loop devices and noted processes below it.
    ///
    /// # Errors
    /// When no shell can be started.
    pub fn watch(directory: &Path) -> Result<Self, BedError> {
        std::fs::create_dir_all(directory.join("pids"))
            .map_err(BedError::system("make the directory of process ids"))?;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, REAPER]).arg(directory);
        // Out of the process group that Ctrl-C reaches.
        let shell = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        let failed = "start the shell that cleans up";
        let mut shell = shell.map_err(BedError::system(failed))?;
        if let Some(mut begun) = shell.stdout.take() {
            begun.read_exact(&mut [0]).map_err(BedError::system(failed))?;
        }
        Ok(Self { shell })
    }

    /// Everything is in order.
    pub fn dismiss(mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            let _ = stdin.write_all(format!("{DONE}\n").as_bytes());
        }
        let _ = self.shell.wait();
    }
}

/// Writes down a server's process id where the shell that watches `directory` looks for it. Its
/// command line has to name something below the directory.
pub fn note(directory: &Path, pid: u32) {
    let _ = std::fs::write(directory.join("pids").join(pid.to_string()), "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_bed_that_ended_without_a_word_is_removed() {
        let directory = tempfile::tempdir().unwrap().keep();
        std::fs::write(directory.join("file"), "x").unwrap();
        let mut reaper = Reaper::watch(&directory).unwrap();
        drop(reaper.shell.stdin.take());
        reaper.shell.wait().unwrap();
        assert!(!directory.exists());
    }

    #[test]
    fn helpers_of_a_bed_that_ended_without_a_word_end_too() {
        let directory = tempfile::tempdir().unwrap().keep();
        let target = directory.join("node-1/mounts/0123/mount");
        let helper = Command::new("/bin/sh")
            .args(["-c", "echo; read -r line", "helper"])
            .arg(target)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut helper = helper.unwrap();
        helper.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        let mut reaper = Reaper::watch(&directory).unwrap();
        drop(reaper.shell.stdin.take());
        reaper.shell.wait().unwrap();
        assert!(helper.try_wait().unwrap().is_some());
    }

    #[test]
    fn a_reaper_is_known_for_one_as_soon_as_it_watches() {
        for _ in 0..20 {
            let directory = tempfile::tempdir().unwrap();
            let reaper = Reaper::watch(directory.path()).unwrap();
            let line = std::fs::read(format!("/proc/{}/cmdline", reaper.shell.id())).unwrap();
            assert!(line.split(|byte| *byte == 0).any(|word| word == REAPER.as_bytes()));
            reaper.dismiss();
        }
    }

    #[test]
    fn a_dismissed_reaper_touches_nothing() {
        let directory = tempfile::tempdir().unwrap();
        Reaper::watch(directory.path()).unwrap().dismiss();
        assert!(directory.path().exists());
    }
}
