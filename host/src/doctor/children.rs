//! Examinations in processes of their own, all at once. One that does not end in its time is
//! killed; one that the kernel does not let go is left behind. This program, whatever has been put
//! in its place since it was started, is what runs.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{Examined, Finding};

/// A finding is a few hundred bytes, and an examination has some.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Deserialize)]
struct Output {
    findings: Vec<Finding>,
}

/// Runs all of these, each with its arguments.
pub fn run_all(
    names: Vec<&'static str>,
    bound: Duration,
    arguments: impl Fn(&str) -> Vec<OsString>,
) -> Vec<Examined> {
    let end = Instant::now() + bound;
    let started: Vec<_> =
        names.into_iter().map(|name| (name, Running::start(&arguments(name)))).collect();
    let examined = started.into_iter().map(|(name, running)| {
        let findings = match running {
            Ok(running) => running.findings(name, end, bound),
            Err(error) => vec![not_run(name, &format!("it cannot be started: {error}"))],
        };
        Examined { name, findings }
    });
    examined.collect()
}

struct Running {
    child: Child,
    said: Receiver<Vec<u8>>,
}

impl Running {
    fn start(arguments: &[OsString]) -> std::io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.arg0("wharf").args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let (send, said) = channel();
        if let Some(output) = child.stdout.take() {
            std::thread::Builder::new().spawn(move || {
                let mut bytes = Vec::new();
                let _ = output.take(MAX_BYTES).read_to_end(&mut bytes);
                let _ = send.send(bytes);
            })?;
        }
        Ok(Self { child, said })
    }

    fn findings(mut self, name: &str, end: Instant, bound: Duration) -> Vec<Finding> {
        let left = end.saturating_duration_since(Instant::now());
        let said = match self.said.recv_timeout(left) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.child.kill();
                return vec![not_run(name, &format!("it did not end within {bound:?}"))];
            }
            Err(RecvTimeoutError::Disconnected) => Vec::new(),
        };
        // It has closed its output, so it is at its end.
        let _ = self.child.wait();
        match serde_json::from_slice::<Output>(&said) {
            Ok(said) => said.findings,
            Err(_) => vec![not_run(name, "it ended without saying what it found")],
        }
    }
}

fn not_run(name: &str, why: &str) -> Finding {
    Finding::new(
        format!("the examination was not finished: {why}"),
        "what it looks at is held up, or this program is; calls that need the same will wait too",
        format!("run `wharf doctor --only {name}` and see where it waits"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(argument: &str) -> String {
        let arguments = |_: &str| vec![OsString::from(argument)];
        let examined = run_all(vec!["clock"], Duration::from_secs(60), arguments);
        let [Examined { name: "clock", findings }] = examined.as_slice() else { panic!("one") };
        let [finding] = findings.as_slice() else { panic!("{findings:?}") };
        format!("{finding:?}")
    }

    #[test]
    fn an_examination_that_cannot_be_started_or_says_nothing_is_a_finding() {
        // No argument of a process has a zero in it.
        let unstarted = finding("\0");
        assert!(unstarted.contains("it cannot be started"), "{unstarted}");
        // This very program, which has no test of that name and prints no finding.
        let silent = finding("no-test-has-this-name");
        assert!(silent.contains("it ended without saying what it found"), "{silent}");
        assert!(silent.contains("wharf doctor --only clock"), "{silent}");
    }
}
