//! Secrets that must be found nowhere: in no argument list, environment or file. What tests of
//! different drivers search with; where keys may be is each test's to say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Texts that nobody may show.
#[derive(Debug, Clone)]
pub struct Canaries(Vec<String>);

impl Canaries {
    /// These.
    ///
    /// # Panics
    /// When one is so short that it would be found anywhere.
    pub fn new(texts: impl IntoIterator<Item = String>) -> Self {
        let texts: Vec<_> = texts.into_iter().collect();
        assert!(!texts.is_empty() && texts.iter().all(|text| text.len() >= 8), "too short");
        Self(texts)
    }

    /// Whether one of them is in a text.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|canary| text.contains(canary))
    }

    /// Does the work, and looks meanwhile at the arguments and the environment of every process of
    /// the machine, again and again. Answers with the command lines that show one. kubelet itself
    /// passes a FlexVolume secret in the arguments of `mount`, so that call-out is not looked at;
    /// what it executes is.
    ///
    /// # Panics
    /// When the work does.
    pub fn shown_during(&self, work: impl FnOnce() + Send) -> BTreeSet<String> {
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| self.look_at_processes(&is_over));
            let worked = scope.spawn(work).join();
            is_over.store(true, Ordering::SeqCst);
            let shown = looking.join();
            match (worked, shown) {
                (Ok(()), Ok(shown)) => shown,
                (Err(panic), _) | (_, Err(panic)) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn look_at_processes(&self, is_over: &AtomicBool) -> BTreeSet<String> {
        let mut shown = BTreeSet::new();
        while !is_over.load(Ordering::SeqCst) {
            for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
                let read = |file: &str| {
                    fs::read(entry.path().join(file))
                        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
                };
                let (Ok(arguments), Ok(environment)) = (read("cmdline"), read("environ")) else {
                    continue;
                };
                let is_a_call_out = arguments
                    .split_once(" mount ")
                    .is_some_and(|(program, _)| program.contains('~') && !program.contains(' '));
                if !is_a_call_out && (self.are_in(&arguments) || self.are_in(&environment)) {
                    shown.insert(arguments);
                }
            }
        }
        shown
    }

    /// Reads every file below a directory, but what lies in one of these names. Answers how many it
    /// has read.
    ///
    /// # Panics
    /// When one of them holds a canary, naming it.
    pub fn search_files(&self, directory: &Path, but: &[&str]) -> usize {
        let mut searched = 0;
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() && !but.iter().any(|name| entry.file_name() == *name) {
                searched += self.search_files(&path, but);
            } else if metadata.is_file() {
                searched += 1;
                // One that has just been removed holds nothing.
                let content = fs::read(&path).unwrap_or_default();
                let is_in = |canary: &String| {
                    content.windows(canary.len()).any(|window| window == canary.as_bytes())
                };
                assert!(!self.0.iter().any(is_in), "{} holds a secret", path.display());
            }
        }
        searched
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use super::*;

    fn canaries() -> Canaries {
        Canaries::new(["c4n4ry-of-a-test".to_owned()])
    }

    #[test]
    fn a_process_that_shows_one_is_found() {
        for environment in [false, true] {
            let canary = "c4n4ry-of-a-test";
            let shown = canaries().shown_during(|| {
                let mut shows = Command::new("/bin/sh");
                shows.args(["-c", "echo; read -r line", if environment { "x" } else { canary }]);
                shows.env("X", if environment { canary } else { "x" });
                shows.stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut process = shows.spawn().unwrap();
                process.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
                // As long as all of /proc takes to read, and longer.
                std::thread::sleep(std::time::Duration::from_millis(500));
                drop(process.stdin.take());
                process.wait().unwrap();
            });
            assert!(!shown.is_empty());
        }
    }

    #[test]
    fn a_file_that_holds_one_is_found_but_where_it_may_be() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("keys")).unwrap();
        fs::write(directory.path().join("keys/secret"), "c4n4ry-of-a-test").unwrap();
        fs::write(directory.path().join("log"), "nothing").unwrap();
        assert_eq!(canaries().search_files(directory.path(), &["keys"]), 1);
        let found = std::panic::catch_unwind(|| canaries().search_files(directory.path(), &[]));
        assert!(found.is_err());
    }
}
