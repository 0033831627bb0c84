//! Starts the programs that know file systems (`mkfs.ext4`, `blkid`, …): by argument vector, found
//! on a fixed path, with a cleared environment, bounded output and bounded time. (This program
//! itself is started by `remote`, helpers of mounts by `supervisor`.)

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use wharf_core::Error;

/// Output beyond this is read and dropped: what matters of these programs' output is at its
/// beginning, and memory stays bounded.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// As much of it goes into an error: a screen, for a person.
const MAX_ERROR_BYTES: usize = 2048;
/// A killed program that is stuck in the kernel is left behind after this long.
const REAP_BOUND: Duration = Duration::from_secs(5);

/// A program to start.
pub(crate) struct Program<'a> {
    /// File name.
    pub name: &'a str,
    /// The Debian package that has it, for the error when it is missing.
    pub package: &'a str,
    /// One argument each.
    pub arguments: Vec<OsString>,
    /// Killed after this long.
    pub bound: Duration,
    /// What it gets as standard input; nothing when absent. A locked file stays locked while the
    /// program lives.
    pub input: Option<std::fs::File>,
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code; absent when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Both outputs, trimmed for an error message.
    pub report: String,
}

impl Finished {
    /// How it ended, in words.
    pub fn ending(&self) -> String {
        self.code.map_or_else(
            || "was killed by a signal".to_owned(),
            |code| format!("failed with exit code {code}"),
        )
    }
}

/// Where programs are looked for.
#[derive(Debug, Clone)]
pub(crate) struct Programs(Vec<PathBuf>);

impl Programs {
    /// Directories, best first.
    pub fn new(path: Vec<PathBuf>) -> Self {
        Self(path)
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is not installed, `Unavailable` when it ran into its bound. Its
    /// exit code is the caller's to judge.
    pub fn run(&self, program: Program<'_>) -> Result<Finished, Error> {
        let path = self.find(program.name, program.package)?;
        tracing::debug!(program = program.name, arguments = ?program.arguments, "starting a program");
        let mut child = self.start(&path, &program)?;
        let output = collect(child.stdout.take());
        let errors = collect(child.stderr.take());
        let deadline = Instant::now() + program.bound;
        let output = receive(&output, deadline);
        let errors = receive(&errors, deadline);
        let Some(status) = wait_until(&mut child, deadline) else {
            kill(&mut child);
            let bound = program.bound;
            return Err(Error::unavailable(format!(
                "{} did not finish within {bound:?} and was stopped: {}",
                program.name,
                trim(&errors)
            )));
        };
        Ok(finished(status, &output, &errors))
    }

    fn find(&self, name: &str, package: &str) -> Result<PathBuf, Error> {
        self.0.iter().map(|directory| directory.join(name)).find(|path| path.is_file()).ok_or_else(
            || {
                Error::precondition(format!("the program {name} is not installed on this node"))
                    .with_hint(format!("install it (Debian package `{package}`)"))
            },
        )
    }

    fn start(&self, path: &PathBuf, program: &Program<'_>) -> Result<Child, Error> {
        let failed = |error: std::io::Error| {
            Error::internal(format!("cannot start {}: {error}", path.display()))
        };
        let input = match &program.input {
            Some(file) => Stdio::from(file.try_clone().map_err(failed)?),
            None => Stdio::null(),
        };
        let search = std::env::join_paths(&self.0)
            .map_err(|error| Error::internal(format!("the program path is unusable: {error}")))?;
        Command::new(path)
            .args(&program.arguments)
            .env_clear()
            .env("PATH", search)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(failed)
    }
}

/// Reads to the end in a thread of its own, so that a full pipe cannot stop the program.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            let mut buffer = [0_u8; 4096];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let room = MAX_OUTPUT_BYTES.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
        }
        // Nobody listens any more when the program ran into its bound.
        let _ = sender.send(kept);
    });
    receiver
}

fn receive(output: &Receiver<Vec<u8>>, deadline: Instant) -> Vec<u8> {
    output.recv_timeout(deadline.saturating_duration_since(Instant::now())).unwrap_or_default()
}

/// Its outputs are closed when this is called: it ends at once, or it hangs.
fn wait_until(child: &mut Child, deadline: Instant) -> Option<ExitStatus> {
    let mut pause = Duration::from_micros(100);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Kills the program with everything it started.
fn kill(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw)
        && let Err(error) = rustix::process::kill_process_group(group, Signal::KILL)
    {
        tracing::warn!("cannot kill process group {}: {error}", child.id());
    }
    if wait_until(child, Instant::now() + REAP_BOUND).is_none() {
        tracing::error!("process {} cannot be killed: it is stuck in the kernel", child.id());
    }
}

fn finished(status: ExitStatus, output: &[u8], errors: &[u8]) -> Finished {
    let code = if status.signal().is_some() { None } else { status.code() };
    let both = [errors, output].concat();
    Finished { code, output: String::from_utf8_lossy(output).into_owned(), report: trim(&both) }
}

fn trim(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes.get(..MAX_ERROR_BYTES).unwrap_or(bytes)).into_owned();
    let printable: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, arguments: &[&str], bound: Duration) -> Result<Finished, Error> {
        let arguments = arguments.iter().map(OsString::from).collect();
        Programs::new(vec!["/usr/bin".into(), "/bin".into()]).run(Program {
            name,
            package: "coreutils",
            arguments,
            bound,
            input: None,
        })
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_program_gets_nothing_of_our_environment() {
        let finished = run("env", &[], LONG).unwrap();
        let mut lines: Vec<_> = finished.output.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C", "PATH=/usr/bin:/bin"]);
        assert_eq!(finished.code, Some(0));
    }

    #[test]
    fn a_program_gets_none_of_our_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let listed = run("sh", &["-c", "ls -l /proc/$$/fd"], LONG).unwrap().output;
        assert!(
            listed.contains("0 -> /dev/null") && !listed.contains(file.path().to_str().unwrap()),
            "{listed}"
        );
    }

    #[test]
    fn arguments_are_never_read_by_a_shell() {
        assert_eq!(run("printf", &["%s", "$(id); `id`"], LONG).unwrap().output, "$(id); `id`");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sleep 4242 & echo $! > {0}; sleep 4242", file.path().display());
        // How long it takes until the shell has begun is the machine's to say.
        let child = [300, 2_000, 8_000, 32_000].into_iter().find_map(|patience| {
            let bound = Duration::from_millis(patience);
            let error = run("sh", &["-c", &script], bound).unwrap_err();
            assert!(error.message.contains("did not finish"), "{error}");
            let child = std::fs::read_to_string(file.path()).unwrap();
            child.ends_with('\n').then_some(child)
        });
        let child = child.expect("the shell begins");
        let state =
            || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        let end = Instant::now() + LONG;
        while !(state().is_empty() || state().contains(") Z ")) {
            assert!(Instant::now() < end, "{} lives on", child.trim());
            std::thread::yield_now();
        }
    }

    #[test]
    fn endless_output_is_bounded_and_does_not_block_the_program() {
        let finished =
            run("sh", &["-c", "head -c 3000000 /dev/zero | tr '\\0' x; exit 3"], LONG).unwrap();
        assert_eq!((finished.output.len(), finished.code), (MAX_OUTPUT_BYTES, Some(3)));
        assert_eq!(finished.report.len(), MAX_ERROR_BYTES);
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_its_package() {
        let error = run("mkfs.nothing", &[], LONG).unwrap_err();
        assert!(
            error.to_string().contains("mkfs.nothing") && error.to_string().contains("coreutils"),
            "{error}"
        );
    }

    #[test]
    fn an_exit_by_signal_has_no_code() {
        assert_eq!(run("sh", &["-c", "kill -9 $$"], LONG).unwrap().code, None);
    }
}
