//! A few system calls that may hang, in a process of their own: whoever asks a file system waits
//! for the disk, the server or the process behind it, and a thread that waits in the kernel can
//! neither be ended nor be left behind by a process that wants to end. A child can be left behind.
//!
//! The child is forked and not executed, so that it may have any open file and costs a fraction of
//! a millisecond. It has one thread, which entering another mount namespace requires. What it may
//! do is bounded: system calls and memory, no log and no lock of this process, for another thread
//! may have held one at the fork (both C libraries keep their allocator usable). Work that is more
//! than that is done by `remote`.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use wharf_core::Error;

/// An answer is a list of mount points and what came of each: a few hundred bytes a mount point.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// A disk that answers is closed in microseconds.
const CLOSE_BOUND: Duration = Duration::from_secs(1);
/// Nobody notices that a cancelled call goes on for so long.
const CANCELLATION_CHECK: Duration = Duration::from_millis(50);
/// Children that cannot be killed because they are stuck in the kernel; beyond, none is started.
const MAX_STUCK: usize = 16;
/// How long a killed child may take to be gone before it counts as stuck.
const REAP: Duration = Duration::from_secs(1);

static STUCK: AtomicUsize = AtomicUsize::new(0);

/// A child at work. Dropping it without [`Child::finish`] leaves it to its end.
#[derive(Debug)]
pub(crate) struct Child {
    answer: PipeReader,
    process: OwnedFd,
    pid: Pid,
}

/// What a child keeps open.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Files<'a> {
    /// Everything that this process has open.
    All,
    /// These alone. A child that is left behind then holds nobody's pipe, socket or lock.
    Only(&'a [BorrowedFd<'a>]),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// It was killed at the deadline, or because nobody waits any more.
    Late,
    /// It ended without one.
    Died,
}

impl NoAnswer {
    /// For an error: of whom or what there is none, and how long it was waited for.
    pub fn in_words(self, what: &str, bound: Duration) -> String {
        match self {
            Self::Late => format!("{what} did not answer within {bound:?}"),
            Self::Died => format!("{what}: the process that asked died"),
        }
    }
}

impl Child {
    /// Starts a child that ends with this process at the latest.
    ///
    /// # Errors
    /// `Unavailable` when too many hang already, or the system has no process left.
    pub fn start(files: Files<'_>, work: impl FnOnce() -> Vec<u8>) -> Result<Self, Error> {
        if STUCK.load(Ordering::SeqCst) >= MAX_STUCK {
            return Err(Error::unavailable(format!(
                "{MAX_STUCK} processes that asked for disks and mounts hang in the kernel; no more \
                 are started"
            ))
            .with_hint("the kernel log may say what they wait for"));
        }
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("cannot start a process that asks the kernel: {error}"))
        };
        let (answer, writer) = std::io::pipe().map_err(failed)?;
        let pid = fork(|| {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            if let Files::Only(kept) = files {
                close_all_but(kept, writer.as_raw_fd());
            }
            let bytes = work();
            let length = u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
            let mut writer = &writer;
            let _ = writer.write_all(&length).and_then(|()| writer.write_all(&bytes));
            0
        })
        .map_err(failed)?;
        // Not reaped yet, so the number is still its own.
        let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .map_err(|error| failed(error.into()))?;
        Ok(Self { answer, process, pid })
    }

    /// Waits for the answer, and kills the child at the deadline, or when nobody waits any more.
    pub fn finish(
        mut self,
        deadline: Instant,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Vec<u8>, NoAnswer> {
        let answer = self.read(deadline, is_cancelled);
        let _ = rustix::process::pidfd_send_signal(&self.process, Signal::KILL);
        self.reap();
        answer
    }

    fn read(
        &mut self,
        deadline: Instant,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Vec<u8>, NoAnswer> {
        let mut bytes = Vec::new();
        loop {
            if let Some(answer) = complete(&bytes) {
                return Ok(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || is_cancelled() {
                return Err(NoAnswer::Late);
            }
            let mut fds = [
                PollFd::new(&self.answer, PollFlags::IN),
                PollFd::new(&self.process, PollFlags::IN),
            ];
            let pause = timespec(left.min(CANCELLATION_CHECK));
            let polled = rustix::event::poll(&mut fds, Some(&pause));
            let [readable, ended] = fds.map(|fd| !fd.revents().is_empty());
            match polled {
                Ok(_) if readable => {
                    let mut buffer = [0_u8; 4096];
                    match self.answer.read(&mut buffer) {
                        Ok(0) => return Err(NoAnswer::Died),
                        Ok(count) => bytes.extend_from_slice(buffer.get(..count).unwrap_or(&[])),
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        Err(_) => return Err(NoAnswer::Died),
                    }
                    if bytes.len() > MAX_ANSWER_BYTES {
                        return Err(NoAnswer::Died);
                    }
                }
                // Nothing to read, and nobody left who would write.
                Ok(_) if ended => return Err(NoAnswer::Died),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return Err(NoAnswer::Died),
            }
        }
    }

    fn reap(self) {
        if wait_for_end(&self.process, REAP) {
            let _ =
                rustix::process::waitid(WaitId::PidFd(self.process.as_fd()), WaitIdOptions::EXITED);
            return;
        }
        tracing::error!("process {} cannot be killed: it is stuck in the kernel", self.pid);
        STUCK.fetch_add(1, Ordering::SeqCst);
        let process = self.process;
        std::thread::spawn(move || {
            let _ = rustix::process::waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
            STUCK.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// The answer, once all of it is there. Its length comes first: the end of the pipe says nothing,
/// for a process that was forked at the same moment may hold the other end.
fn complete(bytes: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(..length).map(<[u8]>::to_vec)
}

/// In the child, whose memory still has owners of what is closed here; it ends without dropping
/// them.
fn close_all_but(kept: &[BorrowedFd<'_>], answer: RawFd) {
    let listed: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let is_kept = |fd: RawFd| fd == answer || kept.iter().any(|kept| kept.as_raw_fd() == fd);
    // Standard input and both outputs stay what they are.
    listed.into_iter().filter(|fd| *fd > 2 && !is_kept(*fd)).for_each(close_in_child);
}

#[allow(unsafe_code, reason = "the owner is in the memory of a child that never drops it")]
fn close_in_child(fd: RawFd) {
    // SAFETY: closes a number; nothing in the child uses it from now on.
    unsafe { libc::close(fd) };
}

/// Closes a block device in a child: whoever closes it last waits for what is under way to it, and
/// so does whoever opens it then. The child keeps its lock until it is closed, which it mostly is
/// when this returns.
pub(crate) fn close_device(device: File, lock: BorrowedFd<'_>) {
    let raw = device.as_raw_fd();
    let Ok((wait, mut go)) = std::io::pipe() else { return };
    let kept = [device.as_fd(), wait.as_fd(), lock];
    // Waited for in the child, so that it is the last one.
    let child = Child::start(Files::Only(&kept), || {
        let _ = (&wait).read_exact(&mut [0]);
        close_in_child(raw);
        Vec::new()
    });
    drop(device);
    if let Ok(child) = child {
        let _ = go.write_all(&[1]);
        if child.finish(Instant::now() + CLOSE_BOUND, || false).is_err() {
            tracing::warn!("a disk does not answer; it is closed once it does");
        }
    }
}

/// Waits for the end of the process that this pidfd stands for; whether it has ended.
pub(crate) fn wait_for_end(process: impl AsFd, bound: Duration) -> bool {
    let deadline = Instant::now() + bound;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(&process, PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timespec(left))) {
            Err(rustix::io::Errno::INTR) => {}
            polled => return polled.is_ok_and(|ready| ready > 0),
        }
    }
}

/// A duration for poll(2).
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// Runs a closure in a new process, which ends with its answer as exit code. Nobody reaps it: until
/// the caller does, its number is its own.
#[allow(unsafe_code, reason = "no crate in use wraps fork(2) safely")]
pub(crate) fn fork(child: impl FnOnce() -> u8) -> std::io::Result<Pid> {
    // SAFETY: the child runs the closure, which keeps to what the head of this module says, and
    // then leaves with _exit(2): no destructor of the parent runs, no buffer is written twice.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: always safe.
            unsafe { libc::_exit(done.map_or(1, i32::from)) }
        }
        pid => Pid::from_raw(pid).ok_or_else(|| std::io::Error::other("fork(2) gave no process")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bound: Duration, work: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, NoAnswer> {
        Child::start(Files::All, work).unwrap().finish(Instant::now() + bound, || false)
    }

    #[test]
    fn the_answer_of_a_child_comes_back_whole() {
        let patience = Duration::from_secs(60);
        assert_eq!(answer(patience, || vec![7; 300_000]), Ok(vec![7; 300_000]));
        assert_eq!(answer(patience, Vec::new), Ok(Vec::new()));
    }

    #[test]
    fn a_child_that_hangs_is_killed() {
        let late = answer(Duration::from_millis(20), || {
            std::thread::sleep(Duration::from_secs(4242));
            Vec::new()
        });
        assert_eq!(late, Err(NoAnswer::Late));
    }

    #[test]
    fn a_child_that_dies_is_noticed_at_once() {
        let child = Child::start(Files::All, || {
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
            Vec::new()
        });
        let answer = child.unwrap().finish(Instant::now() + Duration::from_secs(600), || false);
        assert_eq!(answer, Err(NoAnswer::Died));
    }

    #[test]
    fn children_work_side_by_side() {
        let children: Vec<_> =
            (0..8).map(|n| Child::start(Files::All, move || vec![n]).unwrap()).collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        let answers: Vec<_> =
            children.into_iter().map(|child| child.finish(deadline, || false).unwrap()).collect();
        assert_eq!(answers.concat(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_child_is_given_up_when_nobody_waits() {
        let child = Child::start(Files::All, || {
            std::thread::sleep(Duration::from_secs(4242));
            Vec::new()
        });
        let deadline = Instant::now() + Duration::from_secs(600);
        assert_eq!(child.unwrap().finish(deadline, || true), Err(NoAnswer::Late));
    }

    #[test]
    fn a_child_holds_nothing_but_what_it_needs() {
        let (kept, other) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let is_open = |fd: RawFd| std::fs::metadata(format!("/proc/self/fd/{fd}")).is_ok();
        let child = Child::start(Files::Only(&[kept.as_fd()]), || {
            vec![is_open(kept.as_raw_fd()).into(), is_open(other.as_raw_fd()).into()]
        });
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(child.unwrap().finish(deadline, || false), Ok(vec![1, 0]));
        assert!(is_open(other.as_raw_fd()));
    }
}
