//! System calls that may wait for a server that is gone (or for a process that serves a mount),
//! made in a process of their own: a thread that waits in the kernel cannot be ended, a process can
//! be killed, and it takes what it holds (descriptors, a private mount) with it.
//!
//! The process is this very program, started with [`COMMAND`]. For a piece of work ([`Session`]) it
//! gets the work's lock and the directory to work in, answers requests in turn, and releases
//! both. A process whose work has ended well is kept for the next one, because to start another
//! costs more than most work. Its end of the conversation is in `serve`, what is said in `message`,
//! starting and killing in `process`.
//!
//! Bounds: a request that is not answered by its deadline ends with the process. One that cannot
//! even be killed (the kernel may wait without looking) is left behind; it holds the lock of its
//! work, so that the next call for the same mount does not add another one, whichever process makes
//! it; and the number of all is bounded, for each server and together (`permits`).

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

use crate::state::lock::{self, StillHangs};

mod message;
mod nfs;
mod permits;
mod process;
mod serve;
#[cfg(test)]
mod tests;

pub(crate) use message::{Answer, Request, Tree, TreeBase};
pub(crate) use nfs::NfsMount;
use permits::Permits;
pub(crate) use permits::Purpose;
use process::{Process, Processes};

/// The first argument of such a process.
pub const COMMAND: &str = "node-child";

/// What the process does that was started for this: never returns to the rest of the program.
pub fn answer_parent() -> ExitCode {
    serve::run()
}

/// Has work done in such processes.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    state: PathBuf,
    processes: Arc<Processes>,
    permits: Permits,
}

/// A piece of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work<'a> {
    /// A verb and a mount. One of this name at a time, among all processes of this node.
    pub name: &'a str,
    /// Who is waited for: a server, or what else may hang (a mount, a directory).
    pub server: &'a str,
    /// What for.
    pub purpose: Purpose,
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

    /// In the words of what had failed before and was to be mended by what failed now.
    #[must_use]
    pub fn after(self, first: &Self) -> Self {
        match (self, first) {
            (Self::Said { error, errno }, Self::Said { error: first, .. }) => {
                let context = format!("{}; to make it failed too", first.message);
                Self::Said { error: error.context(context), errno }
            }
            (later, _) => later,
        }
    }

    /// Says what the person should do besides.
    #[must_use]
    pub fn with_hint(self, more: &str) -> Self {
        match self {
            Self::Silent => Self::Silent,
            Self::Said { error, errno } => {
                let hint = match &error.hint {
                    Some(hint) => format!("{hint}; {more}"),
                    None => more.to_owned(),
                };
                Self::Said { error: error.with_hint(hint), errno }
            }
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
    /// By processes of this command line; locks are kept in `state`.
    pub fn new(command: &[OsString], state: &Path) -> Self {
        let processes = Arc::new(Processes::new(command));
        Self { state: state.to_owned(), processes, permits: Permits::default() }
    }

    /// Begins a work in the directory `at` (`None`: in the root).
    ///
    /// # Errors
    /// `Unavailable` when an earlier one still waits at the call's deadline, or too many wait for
    /// the server.
    pub fn start(
        &self,
        work: Work<'_>,
        at: Option<BorrowedFd<'_>>,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<Session, Error> {
        let lock = lock::acquire_for_work(&self.state, work.name, clock, call)?;
        self.start_with(lock, work, at, call, clock)
    }

    /// The same; `None` when an earlier one still waits at the deadline `hanging`.
    ///
    /// # Errors
    /// `Unavailable` when too many wait for the server at the call's deadline.
    pub fn start_unless_hanging(
        &self,
        work: Work<'_>,
        at: Option<BorrowedFd<'_>>,
        hanging: &Call,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<Option<Session>, Error> {
        match lock::acquire_for_work(&self.state, work.name, clock, hanging) {
            Ok(lock) => self.start_with(lock, work, at, call, clock).map(Some),
            Err(StillHangs { .. }) => Ok(None),
        }
    }

    /// How many pieces of work are under way, those included that cannot be ended.
    pub fn under_way(&self) -> usize {
        self.permits.taken()
    }

    fn start_with(
        &self,
        lock: Option<File>,
        work: Work<'_>,
        at: Option<BorrowedFd<'_>>,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<Session, Error> {
        let permit = self.permits.take(work.server, work.purpose, call, clock)?;
        let root = || rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let directory = match at {
            Some(at) => at.try_clone_to_owned(),
            None => root().map_err(std::io::Error::from),
        };
        let directory = directory.map_err(|error| {
            Error::internal(format!("cannot open the directory of a work: {error}"))
        })?;
        Ok(Session {
            process: Some(self.processes.take(permit)?),
            processes: Arc::clone(&self.processes),
            beginning: Some(Beginning { directory, lock }),
            is_answered: true,
            has_released: false,
            has_scratch: false,
        })
    }
}

/// What a process gets with the first request of a work.
#[derive(Debug)]
struct Beginning {
    directory: OwnedFd,
    lock: Option<File>,
}

/// A piece of work, and the process that does it. When it is dropped, the process releases the
/// work's lock and directory; one that has not answered, or has mounted something out of sight, is
/// killed.
#[derive(Debug)]
pub(crate) struct Session {
    processes: Arc<Processes>,
    process: Option<Process>,
    beginning: Option<Beginning>,
    is_answered: bool,
    has_released: bool,
    has_scratch: bool,
}

impl Session {
    /// Asks, and waits for the answer so long. Without one, the process is killed: whatever it held
    /// is gone, and whether it did what it was asked to is not known.
    pub fn ask(&mut self, request: &Request, within: Duration) -> Result<Answer, Failure> {
        self.send(request)?;
        match self.wait(within)? {
            Some(answer) => Ok(answer),
            None => {
                self.process = None;
                Err(Failure::Silent)
            }
        }
    }

    /// The same for what ends the work if it does not fail: the process releases it without being
    /// asked to, which saves the most frequent works half of what is said.
    pub fn ask_last(&mut self, request: Request, within: Duration) -> Result<Answer, Failure> {
        let answer = self.ask(&Request::Last(Box::new(request)), within)?;
        (self.has_released, self.has_scratch) = (true, false);
        Ok(answer)
    }

    /// Asks for something that may take long.
    pub fn send(&mut self, request: &Request) -> Result<(), Failure> {
        let process = self.process.as_mut().ok_or_else(ended)?;
        self.is_answered = false;
        self.has_scratch |=
            matches!(request, Request::Mount { at: None, .. } | Request::MountUnseen { .. });
        // Closed here once it is sent: the process alone holds the lock.
        let beginning = self.beginning.take();
        let begun: Vec<BorrowedFd<'_>> = beginning.iter().flat_map(Beginning::files).collect();
        process.send(request, &begun).map_err(broken)
    }

    /// Waits for the answer so long; `None`: there is none yet.
    pub fn wait(&mut self, within: Duration) -> Result<Option<Answer>, Failure> {
        let process = self.process.as_mut().ok_or_else(ended)?;
        let answer = process.wait(within).map_err(broken)?;
        self.is_answered = answer.is_some();
        match answer {
            Some(Answer::Failed { failure, errno }) => {
                Err(Failure::Said { error: failure.into(), errno })
            }
            answer => Ok(answer),
        }
    }
}

impl Beginning {
    fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.directory.as_fd()).chain(self.lock.as_ref().map(AsFd::as_fd))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let is_well = self.is_answered && !self.has_scratch;
        if is_well && (self.has_released || self.beginning.is_some() || process.release()) {
            self.processes.put_back(process);
        }
    }
}

fn broken(error: std::io::Error) -> Failure {
    Error::internal(format!("the process that asks servers ended: {error}")).into()
}

fn ended() -> Failure {
    broken(std::io::ErrorKind::NotConnected.into())
}
