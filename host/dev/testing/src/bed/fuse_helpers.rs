//! What keeps a machine's FUSE mounts: the supervisor, which the product starts by itself, and the
//! helpers under it. They are nobody's children, so they are found by their command lines: each
//! names the machine's directory of mounts, which nothing else does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A process that serves mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// Its id.
    pub pid: i32,
    /// Its program and arguments.
    pub arguments: Vec<String>,
}

/// How long a killed process may take to be gone.
const GONE: Duration = Duration::from_secs(10);
/// Between two looks meanwhile.
const GLANCE: Duration = Duration::from_millis(5);

/// The supervisor of this directory of mounts, while one runs.
pub(super) fn supervisor(mounts: &Path) -> Option<i32> {
    let is_it = |helper: &Helper| is_supervisor(helper, mounts);
    processes().into_iter().find(is_it).map(|helper| helper.pid)
}

/// The helpers that mount below a directory, or on it.
pub fn helpers(mounts: &Path) -> Vec<Helper> {
    let mut helpers = processes();
    helpers.retain(|helper| {
        let mut paths = helper.arguments.iter().skip(1).map(Path::new);
        paths.any(|path| path.starts_with(mounts)) && !is_supervisor(helper, mounts)
    });
    helpers
}

/// `kill -9`; says of whom.
pub(super) fn kill_all(helpers: Vec<Helper>) -> Vec<String> {
    let killed = |helper: Helper| {
        let _ = kill(Pid::from_raw(helper.pid), Signal::SIGKILL);
        helper.pid.to_string()
    };
    helpers.into_iter().map(killed).collect()
}

/// Ends the supervisor and then the helpers, which it would start again.
pub fn end(mounts: &Path) {
    let end = Instant::now() + GONE;
    while Instant::now() < end {
        let supervisor = supervisor(mounts);
        let all: Vec<i32> =
            supervisor.into_iter().chain(helpers(mounts).iter().map(|it| it.pid)).collect();
        if all.is_empty() {
            return;
        }
        for pid in all {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(GLANCE);
    }
    eprintln!("helpers of {} are still there", mounts.display());
}

fn is_supervisor(helper: &Helper, mounts: &Path) -> bool {
    let words: Vec<&str> = helper.arguments.iter().map(String::as_str).collect();
    let run = mounts.to_string_lossy();
    words.windows(2).any(|pair| pair == ["mounts", "serve"])
        && words.windows(2).any(|pair| pair == ["--run", &*run])
}

/// Every process that has a command line; one that has ended has none.
fn processes() -> Vec<Helper> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = |process: PathBuf| {
        let pid = process.file_name()?.to_str()?.parse().ok()?;
        let line = fs::read(process.join("cmdline")).ok()?;
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let arguments: Vec<_> =
            words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        (!arguments.is_empty()).then_some(Helper { pid, arguments })
    };
    entries.filter_map(|entry| read(entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper(words: &[&str]) -> Child {
        let mut sleeper = Command::new("/bin/sh");
        let script = "sleep 4242 & wait";
        sleeper.args(["-c", script, "helper"]).args(words).process_group(0).spawn().unwrap()
    }

    #[test]
    fn a_supervisor_and_its_helpers_are_found_by_their_directory_and_ended() {
        let directory = tempfile::tempdir().unwrap();
        let (mounts, other) = (directory.path().join("mounts"), directory.path().join("mounts-2"));
        let run = mounts.to_str().unwrap();
        let mut supervisor_process = sleeper(&["mounts", "serve", "--run", run]);
        let mut helper = sleeper(&["bucket", &format!("{run}/0123/mount")]);
        let mut stranger = sleeper(&["bucket", other.to_str().unwrap()]);
        let pid = |child: &Child| i32::try_from(child.id()).unwrap();
        // A process has its command line once its program runs.
        while supervisor(&mounts).is_none() || helpers(&mounts).is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(supervisor(&mounts), Some(pid(&supervisor_process)));
        let found: Vec<_> = helpers(&mounts).iter().map(|helper| helper.pid).collect();
        assert_eq!(found, [pid(&helper)]);
        end(&mounts);
        assert!(supervisor_process.wait().is_ok() && helper.wait().is_ok());
        assert!(stranger.try_wait().unwrap().is_none());
        for child in [&supervisor_process, &helper, &stranger] {
            let _ = kill(Pid::from_raw(-pid(child)), Signal::SIGKILL);
        }
        stranger.wait().unwrap();
    }
}
