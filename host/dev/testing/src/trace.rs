//! Stopping a process at the n-th thing that it is about to change: the positions of the position
//! tests.
//!
//! A position is a system call, of the process or of a helper that it started, that changes the
//! machine: a mount, a name, a file's content, a device. Calls are counted over all threads and
//! helpers together, so a run that is repeated with n = 0, 1, 2, … visits each once. The process
//! knows nothing of it: no hooks in production code. (`strace --inject` cannot do it: it counts for
//! each thread by itself, and would kill a helper in its program's stead.)
//!
//! Everything a tracer does happens on one thread: the kernel binds a tracee to the thread that
//! traces it. What is left out: positions between two calls to the cloud, which the region's own
//! faults are for.

mod calls;
mod tree;

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use self::tree::Tree;

/// What happens at the position, just before the call is made.
pub enum Act {
    /// The process and all its helpers are killed: a container or a machine dies.
    KillAll,
    /// The process is killed and its helpers go on without it: the out-of-memory killer, or a
    /// person with `kill -9`.
    KillProcess,
    /// Whoever would make the call is killed, and the others go on: a helper that crashes.
    KillCaller,
    /// This is done while the thread that would make the call stands still; then it goes on.
    Meanwhile(Box<dyn FnOnce() + Send>),
}

/// Which positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Those of the process and of its helpers.
    All,
    /// Those of the process alone: while a helper runs it stands still.
    Process,
    /// Those of its helpers alone; calls of the same kind that one makes one after the other are one.
    Helpers,
}

/// Where something happens, and what.
pub struct Moment {
    /// The number of the position, from 0.
    pub at: usize,
    /// What is counted.
    pub counted: Counted,
    /// What happens.
    pub act: Act,
}

impl Moment {
    /// Nothing happens: the run is only looked at.
    pub fn never() -> Self {
        Self { at: usize::MAX, counted: Counted::All, act: Act::KillAll }
    }
}

/// A position that a run went through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The system call.
    pub call: &'static str,
    /// The program that makes it, where it is a helper.
    pub helper: Option<String>,
}

/// What a traced run came to.
#[derive(Debug, Clone, Default)]
pub struct Traced {
    /// Every position up to the end, or up to the one that was asked for.
    pub positions: Vec<Position>,
    /// Whether the run got there.
    pub reached: bool,
    /// The exit code of the process; `None`: killed.
    pub code: Option<i32>,
}

impl Traced {
    /// The position that was asked for, in words; `None`: the run did not get there.
    pub fn last_reached(&self) -> Option<String> {
        let last = || self.positions.last().map(|position| format!("{position:?}"));
        self.reached.then(|| last().unwrap_or_default())
    }
}

/// Runs a command to its end, acting at a moment on the way. Returns when the process itself has
/// ended.
///
/// # Errors
/// When it cannot be started or traced.
pub fn run(mut command: Command, moment: Moment) -> io::Result<Traced> {
    // SAFETY: between fork and exec only this one system call is made.
    unsafe {
        command.pre_exec(|| ptrace::traceme().map_err(io::Error::from));
    }
    let (sender, ended) = channel();
    let tracer = std::thread::spawn(move || {
        let result = start(command).and_then(|pid| {
            let mut tree = Tree::new(pid, moment);
            follow(&mut tree, |traced| drop(sender.send(traced)))
        });
        result.err()
    });
    match ended.recv() {
        Ok(traced) => Ok(traced),
        Err(_) => Err(tracer
            .join()
            .ok()
            .flatten()
            .unwrap_or_else(|| io::Error::other("the tracer ended early"))),
    }
}

/// A tracer of a running process.
pub struct Attached {
    tracer: JoinHandle<io::Result<()>>,
    ended: Receiver<Traced>,
    process: i32,
    /// What the tracer has met so far.
    met: Arc<Mutex<Traced>>,
}

/// How often it is looked whether the process is gone, and how long the tracer then may take to say
/// so. After that the process's status went to its parent, where that is a thread of the same
/// program: the kernel gives it to one of the two, and the tracer goes on waiting for helpers that
/// live on. By then the tracer has noted whatever the process did.
const LOOK: Duration = Duration::from_millis(20);

impl Attached {
    /// Traces a process that runs already, with all its threads.
    ///
    /// # Errors
    /// When it cannot be traced.
    pub fn to(pid: i32, moment: Moment) -> io::Result<Self> {
        let (ready_sender, ready) = channel();
        let (sender, ended) = channel();
        let mut tree = Tree::new(Pid::from_raw(pid), moment);
        let met = Arc::clone(&tree.traced);
        let tracer = std::thread::spawn(move || {
            tree.seize()?;
            let _ = ready_sender.send(());
            follow(&mut tree, |traced| drop(sender.send(traced)))
        });
        if ready.recv().is_ok() {
            return Ok(Self { tracer, ended, process: pid, met });
        }
        Err(tracer
            .join()
            .ok()
            .and_then(Result::err)
            .unwrap_or_else(|| io::Error::other("the tracer ended early")))
    }

    /// Waits until the traced process is gone.
    ///
    /// # Errors
    /// What the tracer met.
    pub fn wait(self) -> io::Result<Traced> {
        let mut is_gone = false;
        loop {
            match self.ended.recv_timeout(LOOK) {
                Ok(traced) => return Ok(traced),
                Err(RecvTimeoutError::Timeout) if is_gone => return Ok(met(&self.met).clone()),
                Err(RecvTimeoutError::Timeout) => {
                    is_gone = !Path::new(&format!("/proc/{}", self.process)).exists();
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let error = self.tracer.join().ok().and_then(Result::err);
                    return Err(error.unwrap_or_else(|| io::Error::other("the tracer ended early")));
                }
            }
        }
    }
}

fn met(traced: &Mutex<Traced>) -> MutexGuard<'_, Traced> {
    traced.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(mut command: Command) -> io::Result<Pid> {
    let child = command.spawn()?;
    // The command holds the writing ends of the caller's pipe.
    drop(command);
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    match waitpid(pid, Some(WaitPidFlag::__WALL))? {
        WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
        other => return Err(io::Error::other(format!("not stopped at its start: {other:?}"))),
    }
    ptrace::setoptions(pid, tree::OPTIONS)?;
    ptrace::syscall(pid, None)?;
    Ok(pid)
}

/// Lets the tree run from stop to stop, until nobody is left. `tell` hears when the process itself
/// has ended.
fn follow(tree: &mut Tree, tell: impl FnOnce(Traced)) -> io::Result<()> {
    let mut tell = Some(tell);
    loop {
        // Only this thread's own: other tests have children too.
        let status = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Ok(status) => status,
            Err(nix::Error::ECHILD) => break,
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        tree.hear(status);
        if tree.has_ended()
            && let Some(tell) = tell.take()
        {
            tell(met(&tree.traced).clone());
        }
    }
    if let Some(tell) = tell.take() {
        tell(met(&tree.traced).clone());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
