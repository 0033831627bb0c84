//! System calls that may wait for a server that is gone (or for a process that serves a mount),
//! made in a process of their own: a thread that waits in the kernel cannot be ended, a process can
//! be killed, and it takes what it holds (descriptors, a private mount) with it.
//!
//! The process is this very program, started with [`COMMAND`]; it answers requests in turn until
//! nobody asks any more. Its end of the conversation is in `serve`, what is said in `message`.
//!
//! Bounds: a request that is not answered by its deadline ends with the process. One that cannot
//! even be killed (the kernel may wait without looking) is left behind; it holds the lock of its
//! work, so that the next call for the same mount does not add another one, whichever process makes
//! it; and there are at most [`MAX_PROCESSES`] in all.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

use crate::state::lock::{self, StillHangs};

mod message;
mod nfs;
mod serve;

pub(crate) use message::{Answer, Request, Tree, TreeBase};
pub(crate) use nfs::NfsMount;

/// The first argument of such a process.
pub const COMMAND: &str = "node-child";
/// As a process list shows it.
const NAME: &str = "wharf";
/// In this process at a time; each takes two MiB and a kubelet asks for one or two. Reached:
/// servers are dead, and more processes that wait for them help nobody.
const MAX_PROCESSES: usize = 64;
/// A killed process is gone in microseconds unless the kernel waits without looking.
const REAP_BOUND: Duration = Duration::from_millis(500);
const REAP_LOOK: Duration = Duration::from_millis(1);
/// An answer is a few hundred bytes; how far a walk got is a path, which has no bound of its own.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// What the process does that was started for this: never returns to the rest of the program.
pub fn answer_parent() -> ExitCode {
    serve::run()
}

/// Starts such processes.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    program: PathBuf,
    arguments: Vec<OsString>,
    state: PathBuf,
    living: Arc<AtomicUsize>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// None came in time. The process is being killed.
    Silent,
    /// The work failed, with the system's number where it was one.
    Said { error: Error, errno: Option<i32> },
}

impl Failure {
    /// The system's number of what went wrong, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Said { errno, .. } => errno.map(Errno::from_raw_os_error),
            Self::Silent => None,
        }
    }

    /// As an error; `what` did not answer where nobody did.
    pub fn into_error(self, what: &str, bound: Duration) -> Error {
        match self {
            Self::Said { error, .. } => error,
            Self::Silent => Error::unavailable(format!(
                "{what} did not answer within {} s",
                bound.as_secs_f32().ceil()
            ))
            .with_hint("its server or its process may be gone, or the network to it"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Said { error, errno: None }
    }
}

impl Remote {
    /// By this command line; locks are kept in `state`.
    pub fn new(command: &[OsString], state: &Path) -> Self {
        let (program, arguments) = command.split_first().map_or_else(
            || ("/proc/self/exe".into(), vec![COMMAND.into()]),
            |(program, arguments)| (PathBuf::from(program), arguments.to_vec()),
        );
        Self { program, arguments, state: state.to_owned(), living: Arc::default() }
    }

    /// Starts a process for the work called `work` (a verb and a mount), in the directory `at`: one
    /// at a time, among all processes of this node.
    ///
    /// # Errors
    /// `Unavailable` when an earlier one still waits at the call's deadline, or too many do.
    pub fn start(
        &self,
        work: &str,
        at: impl AsRef<Path>,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<Session, Error> {
        let lock = lock::acquire_for_work(&self.state, work, clock, call)?;
        self.start_with(lock, at.as_ref())
    }

    /// The same; `None` when an earlier one still waits at the call's deadline.
    ///
    /// # Errors
    /// `Unavailable` when too many wait.
    pub fn start_unless_hanging(
        &self,
        work: &str,
        at: impl AsRef<Path>,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<Option<Session>, Error> {
        match lock::acquire_for_work(&self.state, work, clock, call) {
            Ok(lock) => self.start_with(lock, at.as_ref()).map(Some),
            Err(StillHangs { .. }) => Ok(None),
        }
    }

    fn start_with(&self, lock: Option<File>, at: &Path) -> Result<Session, Error> {
        let counted = Counted::new(&self.living)?;
        let failed = |error: std::io::Error| {
            Error::internal(format!("cannot start {}: {error}", self.program.display()))
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .arg0(NAME)
            .env_clear()
            .current_dir(at)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            // Held, and with it the lock, as long as the process lives.
            .stdout(lock.map_or_else(Stdio::null, Stdio::from))
            .stderr(Stdio::null())
            .process_group(0);
        let process = command.spawn().map_err(failed)?;
        let conversation = BufReader::new(ours);
        Ok(Session { process: Some(process), conversation, line: Vec::new(), counted })
    }
}

/// One of [`MAX_PROCESSES`], until it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(living: &Arc<AtomicUsize>) -> Result<Self, Error> {
        let counted = Self(Arc::clone(living));
        if living.fetch_add(1, Ordering::SeqCst) < MAX_PROCESSES {
            return Ok(counted);
        }
        Err(Error::unavailable(format!("{MAX_PROCESSES} calls of this node wait for servers"))
            .with_hint("unmount what is dead (`wharf` logs name it)"))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A process that answers. Killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Session {
    process: Option<Child>,
    conversation: BufReader<UnixStream>,
    /// What has come of an answer.
    line: Vec<u8>,
    counted: Counted,
}

impl Session {
    /// Asks, and waits for the answer so long. Without one, the process is killed: whatever it held
    /// is gone, and whether it did what it was asked to is not known.
    pub fn ask(&mut self, request: &Request, within: Duration) -> Result<Answer, Failure> {
        self.send(request)?;
        match self.wait(within)? {
            Some(answer) => Ok(answer),
            None => {
                self.end();
                Err(Failure::Silent)
            }
        }
    }

    /// Asks for something that may take long.
    pub fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let line = serde_json::to_vec(request).map_err(std::io::Error::from);
        line.and_then(|line| self.conversation.get_mut().write_all(&[&line, &b"\n"[..]].concat()))
            .map_err(broken)
    }

    /// Waits for the answer so long; `None`: there is none yet.
    pub fn wait(&mut self, within: Duration) -> Result<Option<Answer>, Failure> {
        match self.read_line(within) {
            Ok(line) => match serde_json::from_slice(&line) {
                Ok(Answer::Failed { failure, errno }) => {
                    Err(Failure::Said { error: failure.into(), errno })
                }
                Ok(answer) => Ok(Some(answer)),
                Err(error) => Err(broken(error.into())),
            },
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(broken(error)),
        }
    }

    fn read_line(&mut self, within: Duration) -> std::io::Result<Vec<u8>> {
        // Zero would mean for ever.
        let within = within.max(Duration::from_millis(1));
        self.conversation.get_ref().set_read_timeout(Some(within))?;
        let room = MAX_ANSWER_BYTES.saturating_sub(self.line.len() as u64);
        std::io::Read::take(&mut self.conversation, room).read_until(b'\n', &mut self.line)?;
        if self.line.last() != Some(&b'\n') {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(std::mem::take(&mut self.line))
    }

    fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let _ = process.kill();
        let end = Instant::now() + REAP_BOUND;
        while Instant::now() < end {
            if matches!(process.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(REAP_LOOK);
        }
        tracing::warn!(
            process = process.id(),
            "a process that waits for a server cannot be killed; it is left until the kernel lets \
             go of it"
        );
        let counted = Counted(Arc::clone(&self.counted.0));
        self.counted.0.fetch_add(1, Ordering::SeqCst);
        std::thread::spawn(move || {
            let _ = process.wait();
            drop(counted);
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

fn broken(error: std::io::Error) -> Failure {
    Error::internal(format!("the process that asks servers ended: {error}")).into()
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
