//! A command of `cargo xtask` that runs while a test looks at it: its lines, its end by a signal,
//! and nothing of it left if the test fails.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use wharf_testing::bed::{self, Reaper};

/// Filling a store compiles components, which takes a debug build on a loaded machine a while.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Running {
    child: Child,
    lines: Receiver<String>,
    /// Ends the command and frees what it made below `home`, if this process is killed.
    reaper: Option<Reaper>,
}

impl Running {
    /// `xtask ARGUMENTS`, which makes everything below `home`.
    pub fn start(home: &Path, arguments: &[&str]) -> Self {
        let reaper = Reaper::watch(home).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        // What a bed makes, it makes here.
        command.args(arguments).env("TMPDIR", home).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        bed::note(home, child.id());
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, lines, reaper: Some(reaper) }
    }

    /// The first line from here on that is wanted.
    pub fn line(&self, is_wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if is_wanted(&line) {
                return line;
            }
            heard.push(line);
        }
        panic!("it never says what is waited for, but {heard:#?}");
    }

    /// Sends a signal and waits for the end. Returns the lines that were still to be heard.
    pub fn end(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        kill_process(self.pid(), signal).unwrap();
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "{signal:?} does not end it");
            std::thread::yield_now();
        };
        self.reaper.take().unwrap().dismiss();
        (status, self.lines.iter().collect())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    /// The reaper does the rest, because it is not dismissed.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
