//! Starts helper programs and knows them again: by process id *and* start time, through a pidfd
//! that is opened before the two are compared, so that a number that the kernel gave to another
//! process is never taken for the helper.
//!
//! A helper begins to run only after its process is on record: until then the new process waits
//! before its exec, and dies with the supervisor. So there is no helper that nobody knows of.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc;
use rustix::io::FdFlags;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitIdStatus, WaitOptions,
};
use serde::{Deserialize, Serialize};
use wharf_core::Error;

use super::cgroups::Cgroups;
use super::protocol::Ending;
use crate::child;

/// A helper that is asked to end writes out what it has; one that does not is killed.
const TERMINATION: Duration = Duration::from_secs(10);
/// A killed process is gone within milliseconds unless it is stuck in the kernel.
const KILL: Duration = Duration::from_secs(2);

/// Of a thread that writes a few small files.
const STACK_BYTES: usize = 128 << 10;

/// What a process that waits before its exec is sent.
const GO: u8 = 1;
const STOP: u8 = 0;
/// As shells end where a program cannot be run.
const CANNOT_RUN: u8 = 126;

/// A process, as a record has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// Its id.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}

impl Process {
    /// How many system calls it has made that write, by the kernel's count (proc(5)).
    pub fn writes(self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.pid)).ok()?;
        text.lines().find_map(|line| line.strip_prefix("syscw: ")?.parse().ok())
    }
}

/// What a helper is started with.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The program's file.
    pub program: &'a Path,
    /// One argument each.
    pub arguments: &'a [String],
    /// What it says goes here.
    pub log: &'a File,
    /// Its `PATH`.
    pub search: &'a [PathBuf],
    /// What it keeps open, by the same numbers: an open `/dev/fuse`, the directory of its keys.
    pub kept: &'a [BorrowedFd<'a>],
    /// Who it runs as; `None`: root.
    pub user: Option<u32>,
    /// A bound on its data, where no control group holds it.
    pub data_bytes: Option<u64>,
}

/// A helper that was alive when it was looked at last. After this is dropped, it is reaped as soon
/// as it ends, if this process started it.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    handle: OwnedFd,
    /// Whether this process started it, not an earlier supervisor, and has not reaped it yet.
    is_child: bool,
    /// Moves it into its control group.
    moving: Option<JoinHandle<()>>,
}

/// Starts a helper. `record` runs before the program does; if it fails, so does the start. A
/// program that cannot be run ends at once, and its log says why.
///
/// # Errors
/// What `record` says, or `Internal` when the system has no process for it.
pub(crate) fn start(
    launch: &Launch<'_>,
    record: impl FnOnce(Process) -> Result<(), Error>,
) -> Result<Running, Error> {
    let failed = |error: std::io::Error| {
        Error::internal(format!("cannot start {}: {error}", launch.program.display()))
    };
    let (wait_for_go, mut go) = std::io::pipe().map_err(failed)?;
    let mut command = command(launch, OwnedFd::from(wait_for_go)).map_err(failed)?;
    let pid = child::fork(|| {
        let error = command.exec();
        let _ = writeln!(&*launch.log, "cannot run {}: {error}", launch.program.display());
        CANNOT_RUN
    })
    .map_err(failed)?;
    let recorded = identify(pid).map_err(failed).and_then(|(process, handle)| {
        record(process).map(|()| Running { process, handle, is_child: true, moving: None })
    });
    // Said, not left to the end of the pipe: a process that was forked at the same moment holds it
    // open too. If it cannot be said, nobody hears it any more.
    let _ = go.write_all(&[if recorded.is_ok() { GO } else { STOP }]);
    if recorded.is_err() {
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
    }
    recorded
}

fn command(launch: &Launch<'_>, wait_for_go: OwnedFd) -> std::io::Result<Command> {
    let search = std::env::join_paths(launch.search).map_err(std::io::Error::other)?;
    let mut command = Command::new(launch.program);
    command
        .args(launch.arguments)
        .env_clear()
        .env("PATH", search)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(launch.log.try_clone()?)
        .stderr(launch.log.try_clone()?);
    let kept: Vec<_> = launch.kept.iter().map(AsRawFd::as_raw_fd).collect();
    let supervisor = rustix::process::getpid();
    let (user, data_bytes) = (launch.user, launch.data_bytes);
    let before_exec = move || {
        rustix::process::setsid()?;
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // It may have died before that was said.
        if rustix::process::getppid() != Some(supervisor) {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        let mut word = [STOP];
        rustix::io::read(&wait_for_go, &mut word)?;
        if word != [GO] {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        rustix::process::set_parent_process_death_signal(None)?;
        limit(data_bytes)?;
        kept.iter().try_for_each(|descriptor| keep_open(*descriptor))?;
        user.map_or(Ok(()), become_user)
    };
    #[allow(unsafe_code, reason = "setting a process up before its exec has no safe form")]
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(before_exec);
    }
    Ok(command)
}

/// A dump would hold keys. This limit alone stops the kernel where its pattern pipes dumps to a
/// program, which a limit of zero does not (core(5)), and no dump to a file is so short.
const NO_DUMP: u64 = 1;

/// No dumps, a bound on its data, and no privilege for what it starts that it has not itself.
fn limit(data_bytes: Option<u64>) -> std::io::Result<()> {
    let both = |value| Rlimit { current: Some(value), maximum: Some(value) };
    // Where somebody has set the limit to zero, only a capability raises it again.
    rustix::process::setrlimit(Resource::Core, both(NO_DUMP))
        .or_else(|_| rustix::process::setrlimit(Resource::Core, both(0)))?;
    if let Some(bytes) = data_bytes {
        rustix::process::setrlimit(Resource::Data, both(bytes))?;
    }
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

#[allow(unsafe_code, reason = "a descriptor is only a number on this side of the fork")]
fn keep_open(descriptor: i32) -> std::io::Result<()> {
    // SAFETY: the parent holds it open across the fork.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    Ok(rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?)
}

/// Gives up every capability with it.
#[allow(unsafe_code, reason = "neither rustix nor nix, as it is used here, sets all three ids")]
fn become_user(user: u32) -> std::io::Result<()> {
    // SAFETY: plain system calls on this process, which has one thread.
    let changed = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(user, user, user) == 0
            && libc::setresuid(user, user, user) == 0
    };
    if changed { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Of a child that is not reaped, so that its number is its own.
fn identify(pid: Pid) -> std::io::Result<(Process, OwnedFd)> {
    let number = pid.as_raw_pid();
    let process = Process { pid: number, started: start_time(number)? };
    Ok((process, open(number)?))
}

fn open(pid: i32) -> std::io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| std::io::Error::other("not a process id"))?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)). The second field, the program's name, may hold blanks
/// and parentheses.
fn start_time(pid: i32) -> std::io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    start_time_of(&stat).ok_or_else(|| std::io::Error::other("its start time cannot be read"))
}

fn start_time_of(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

impl Running {
    /// The recorded process, if it is still the one, and alive.
    pub fn adopt(process: Process) -> Option<Self> {
        let handle = open(process.pid).ok()?;
        let running = Self { process, handle, is_child: false, moving: None };
        // In this order: the handle stands for whoever has the number now.
        let is_same = start_time(process.pid).is_ok_and(|started| started == process.started);
        (is_same && running.is_alive()).then_some(running)
    }

    /// Begins to put it into its control group, which nobody waits for: until then, a helper is in
    /// the supervisor's group. Not before it serves every mount point: while the kernel moves a
    /// process (about 12 ms for each hierarchy), no process of the machine forks and no thread
    /// begins. A helper does both at its start, and mount points are repaired by forked processes.
    pub fn move_into(&mut self, cgroups: &Cgroups, name: &str, memory_bytes: Option<u64>) {
        let (cgroups, name, pid) = (cgroups.clone(), name.to_owned(), self.process.pid);
        let work = move || cgroups.join(&name, pid, memory_bytes);
        match std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work) {
            Ok(moving) => self.moving = Some(moving),
            Err(error) => tracing::warn!(%error, pid, "a helper stays in its group"),
        }
    }

    /// Its number is its own until it is reaped, so it is not reaped while it is moved.
    fn finish_moving(&mut self) {
        if let Some(moving) = self.moving.take() {
            let _ = moving.join();
        }
    }

    /// Who it is.
    pub fn process(&self) -> Process {
        self.process
    }

    /// Readable once the process has ended.
    pub fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Whether it runs.
    pub fn is_alive(&self) -> bool {
        !self.wait(Duration::ZERO)
    }

    /// Waits for its end; whether it has ended.
    pub fn wait(&self, bound: Duration) -> bool {
        child::wait_for_end(&self.handle, bound)
    }

    /// Asks it to end, then kills it. Whatever it started goes too.
    pub fn stop(self) -> Ending {
        let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::TERM);
        self.wait(TERMINATION);
        self.kill()
    }

    /// Kills it with whatever it started, and says how it ended.
    pub fn kill(self) -> Ending {
        // The number is its own until it is reaped: an adopted helper's only while it lives.
        if (self.is_child || self.is_alive())
            && let Some(group) = Pid::from_raw(self.process.pid)
        {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = rustix::process::pidfd_send_signal(&self.handle, Signal::KILL);
        if !self.wait(KILL) {
            tracing::error!(
                "helper process {} cannot be killed: it is stuck in the kernel",
                self.process.pid
            );
        }
        self.ending()
    }

    /// How it ended.
    pub fn ending(mut self) -> Ending {
        let Some(status) = self.reap() else { return Ending::Unseen };
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ending::Exited(code),
            (None, Some(signal)) => Ending::Killed(signal),
            (None, None) => Ending::Unseen,
        }
    }

    /// How it ended, if it has and nobody was told yet.
    fn reap(&mut self) -> Option<WaitIdStatus> {
        self.finish_moving();
        if !self.is_child {
            return None;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status =
            rustix::process::waitid(WaitId::PidFd(self.handle.as_fd()), options).ok()??;
        self.is_child = false;
        Some(status)
    }
}

/// A helper that was replaced may outlive its mount, by a file that is open in another namespace:
/// its end is waited for, so that it does not stay a zombie.
impl Drop for Running {
    fn drop(&mut self) {
        self.reap();
        if !self.is_child {
            return;
        }
        let pid = self.process.pid;
        let waiting = self.handle.try_clone().and_then(|handle| {
            let wait = move || {
                let _ =
                    rustix::process::waitid(WaitId::PidFd(handle.as_fd()), WaitIdOptions::EXITED);
            };
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn(wait)
        });
        if let Err(error) = waiting {
            tracing::warn!(%error, pid, "nobody waits for the end of a helper");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::time::Instant;

    use super::*;

    /// Until it is the program, and not the copy of this process that it begins as.
    fn until_it_runs(pid: i32) {
        let program = |pid: &str| std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        while program(&pid.to_string()) == program("self") {
            std::thread::yield_now();
        }
    }

    fn sleeper(arguments: &[&str]) -> Result<Running, Error> {
        launch("/bin/sh", arguments, &tempfile::tempfile().unwrap(), |_| Ok(()))
    }

    fn launch(
        program: &str,
        arguments: &[&str],
        log: &File,
        record: impl FnOnce(Process) -> Result<(), Error>,
    ) -> Result<Running, Error> {
        let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
        start(
            &Launch {
                program: Path::new(program),
                arguments: &arguments,
                log,
                search: &["/bin".into()],
                kept: &[],
                user: None,
                data_bytes: None,
            },
            record,
        )
    }

    #[test]
    fn a_helper_runs_in_its_own_session_without_dumps_or_new_privileges() {
        let running = sleeper(&["-c", "sleep 4242; exit"]).unwrap();
        let pid = running.process().pid;
        until_it_runs(pid);
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
        assert!(read("status").contains("NoNewPrivs:\t1"));
        let session =
            read("stat").rsplit_once(')').unwrap().1.split(' ').nth(4).unwrap().to_owned();
        assert_eq!(session, pid.to_string());
        assert!(read("limits").lines().any(|line| {
            line.starts_with("Max core file size") && line.split_whitespace().nth(4) == Some("1")
        }));
        // A program that has just been started is shown without arguments and environment.
        let environment = loop {
            match read("environ") {
                empty if empty.is_empty() => std::thread::yield_now(),
                environment => break environment,
            }
        };
        assert_eq!(environment, "LC_ALL=C\0PATH=/bin\0");
        assert!(running.is_alive());
        assert_eq!(running.kill(), Ending::Killed(9));
    }

    #[test]
    fn a_helper_that_could_not_be_recorded_never_runs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let (script, log) = (format!("echo ran > {path}"), tempfile::tempfile().unwrap());
        let mut seen = None;
        let refused = launch("/bin/sh", &["-c", &script], &log, |process| {
            seen = Some(process);
            Err(Error::internal("no space"))
        });
        assert!(refused.unwrap_err().message.contains("no space"));
        assert!(Running::adopt(seen.unwrap()).is_none());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "");
    }

    #[test]
    fn a_program_that_cannot_be_run_ends_at_once_and_its_log_names_it() {
        let mut log = tempfile::tempfile().unwrap();
        let running = launch("/no/such/program", &[], &log, |_| Ok(())).unwrap();
        assert!(running.wait(Duration::from_secs(60)));
        assert_eq!(running.ending(), Ending::Exited(CANNOT_RUN.into()));
        let mut words = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut words).unwrap();
        assert!(words.starts_with("cannot run /no/such/program: No such file"), "{words}");
    }

    #[test]
    fn the_last_words_of_a_helper_are_its_exit_code() {
        let running = sleeper(&["-c", "exit 3"]).unwrap();
        assert!(running.wait(Duration::from_secs(60)));
        assert_eq!(running.ending(), Ending::Exited(3));
    }

    #[test]
    fn a_helper_that_outlives_its_owner_leaves_no_zombie() {
        let running = sleeper(&["-c", "sleep 4242; exit"]).unwrap();
        let process = running.process();
        until_it_runs(process.pid);
        drop(running);
        assert!(Running::adopt(process).is_some(), "it lives on");
        let pid = Pid::from_raw(process.pid).unwrap();
        rustix::process::kill_process_group(pid, Signal::KILL).unwrap();
        let stat = Path::new("/proc").join(process.pid.to_string()).join("stat");
        let deadline = Instant::now() + Duration::from_secs(60);
        while stat.exists() {
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(stat).unwrap());
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_helper_is_known_again_and_another_process_with_its_number_is_not() {
        let running = sleeper(&["-c", "sleep 4242; exit"]).unwrap();
        let process = running.process();
        assert!(Running::adopt(process).is_some());
        let other = Process { started: process.started + 1, ..process };
        assert!(Running::adopt(other).is_none());
        running.kill();
        assert!(Running::adopt(process).is_none());
    }

    #[test]
    fn a_killed_helper_takes_along_what_it_started() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let script = format!("sleep 4242 & echo $! > {path}; sleep 4242");
        let running = sleeper(&["-c", &script]).unwrap();
        let pid = loop {
            let text = std::fs::read_to_string(path).unwrap();
            if text.ends_with('\n') {
                break text.trim().to_owned();
            }
            std::thread::yield_now();
        };
        running.kill();
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        while !(stat().is_empty() || stat().contains(") Z ")) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 5 6";
        assert_eq!(start_time_of(stat), Some(4242));
        assert_eq!(start_time_of("7 (a) S 1"), None);
    }
}
