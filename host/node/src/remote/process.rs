//! The processes that make system calls: started, given work, kept while there is none, and killed.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::process::{Pid, PidfdFlags};
use wharf_core::Error;

use super::COMMAND;
use super::message::{Answer, Request};
use super::permits::Permit;
use crate::child::{self, timespec};

/// As a process list shows it.
const NAME: &str = "wharf";
/// A process that does not hang releases its work, and a killed one is gone, in microseconds.
const END_BOUND: Duration = Duration::from_millis(500);
/// An answer is a few hundred bytes; how far a walk got is a path, which has no bound of its own.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// All of this process.
#[derive(Debug)]
pub(super) struct Processes {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// One that has no work. Not more: calls that need one mostly come one after the other.
    idle: Mutex<Option<Process>>,
}

impl Processes {
    /// None is there yet. They are started by this command line; empty: this program's own.
    pub fn new(command: &[OsString]) -> Self {
        let (program, arguments) = command.split_first().map_or_else(
            || ("/proc/self/exe".into(), vec![COMMAND.into()]),
            |(program, arguments)| (PathBuf::from(program), arguments.to_vec()),
        );
        Self { program, arguments, idle: Mutex::default() }
    }

    /// One for work that has this permit: the idle one, or another.
    ///
    /// # Errors
    /// When none can be started.
    pub fn take(&self, permit: Permit) -> Result<Process, Error> {
        let idle = self.exchange_idle(None);
        // What has died meanwhile is reaped here.
        let mut process = idle.filter(Process::is_silent).map_or_else(|| self.start(), Ok)?;
        process.permit = Some(permit);
        Ok(process)
    }

    /// Keeps one that has no work for whoever takes it next.
    pub fn put_back(&self, mut process: Process) {
        process.permit = None;
        // A second one ends here, when the lock is free again.
        drop(self.exchange_idle(Some(process)));
    }

    /// Who has no work.
    #[cfg(test)]
    pub fn idle(&self) -> Option<Pid> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.pid()
    }

    fn exchange_idle(&self, process: Option<Process>) -> Option<Process> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *idle, process)
    }

    fn start(&self) -> Result<Process, Error> {
        let failed = |error: std::io::Error| {
            Error::internal(format!("cannot start {}: {error}", self.program.display()))
        };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .arg0(NAME)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let child = command.spawn().map_err(failed)?;
        let conversation = BufReader::new(ours);
        Ok(Process { child: Some(child), conversation, line: Vec::new(), permit: None })
    }
}

/// Nobody needs one any more, and the one that has no work ends by itself when its socket does. A
/// call-out, which ends now, does not wait for that.
impl Drop for Processes {
    fn drop(&mut self) {
        if let Some(mut process) = self.exchange_idle(None) {
            process.child = None;
        }
    }
}

/// A process that answers. Killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Option<Child>,
    conversation: BufReader<UnixStream>,
    /// What has come of an answer.
    line: Vec<u8>,
    /// That of its work; none while it has no work.
    permit: Option<Permit>,
}

impl Process {
    /// Sends a request; `begun` are the directory and the lock of the work that begins with it.
    pub fn send(&mut self, request: &Request, begun: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let line = [&serde_json::to_vec(request)?, &b"\n"[..]].concat();
        let socket = self.conversation.get_mut();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !begun.is_empty() && !control.push(SendAncillaryMessage::ScmRights(begun)) {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::NOSIGNAL;
        let sent = rustix::net::sendmsg(&*socket, &[IoSlice::new(&line)], &mut control, flags)?;
        socket.write_all(line.get(sent..).unwrap_or_default())
    }

    /// Waits for an answer so long; `None`: there is none yet.
    pub fn wait(&mut self, within: Duration) -> std::io::Result<Option<Answer>> {
        match self.read_line(within) {
            Ok(line) => Ok(Some(serde_json::from_slice(&line)?)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(error),
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

    /// Has it release the lock and the directory of its work. Returns whether it has.
    pub fn release(&mut self) -> bool {
        self.send(&Request::Release, &[]).is_ok()
            && matches!(self.wait(END_BOUND), Ok(Some(Answer::Done)))
    }

    /// Whether it lives and says nothing, as one does that was asked nothing.
    fn is_silent(&self) -> bool {
        let socket = self.conversation.get_ref();
        let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        matches!(rustix::event::poll(&mut fds, Some(&timespec(Duration::ZERO))), Ok(0))
    }

    /// Its number.
    #[cfg(test)]
    pub fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.as_ref()?.id()).ok()?)
    }

    /// Kills it, and waits a moment for its end.
    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        // Not reaped, so its number is its own.
        let handle = Pid::from_raw(child.id().cast_signed())
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let _ = child.kill();
        if let Some(handle) = handle {
            child::wait_for_end(handle, END_BOUND);
        }
        if matches!(child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        tracing::warn!(
            process = child.id(),
            "a process that waits for a server cannot be killed; it is left until the kernel lets \
             go of it"
        );
        let permit = self.permit.take();
        std::thread::spawn(move || {
            let _ = child.wait();
            drop(permit);
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
