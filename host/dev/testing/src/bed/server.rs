//! A running `wharf csi`: kept alive as kubelet keeps a container alive, so that a test may kill it
//! anywhere.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::BedError;

/// How long a server may take to answer: compiling a component in a debug build on a loaded machine
/// takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often death is looked for. `wait` is not used for that: it would take a tracer's stops away
/// from it.
const GLANCE: Duration = Duration::from_millis(4);
/// After this a server that was asked to end is killed.
const GRACE: Duration = Duration::from_secs(10);

/// A server and the thread that restarts it.
pub(super) struct Server {
    machine: String,
    socket: PathBuf,
    log: PathBuf,
    pid: Arc<AtomicI32>,
    ended: Arc<AtomicBool>,
    child: Arc<Mutex<Child>>,
    keeper: Option<JoinHandle<()>>,
}

/// What starts the server.
pub(super) type Start = Box<dyn Fn() -> Command + Send>;

impl Server {
    pub(super) fn start(
        machine: &str,
        socket: &Path,
        log: &Path,
        start: Start,
    ) -> Result<Self, BedError> {
        let child = spawn(&start, log)?;
        let pid = Arc::new(AtomicI32::new(pid_of(&child)));
        let mut server = Self {
            machine: machine.to_owned(),
            socket: socket.to_owned(),
            log: log.to_owned(),
            pid,
            ended: Arc::default(),
            child: Arc::new(Mutex::new(child)),
            keeper: None,
        };
        let (pid, ended, child, log) = (
            Arc::clone(&server.pid),
            Arc::clone(&server.ended),
            Arc::clone(&server.child),
            server.log.clone(),
        );
        server.keeper = Some(std::thread::spawn(move || keep(&start, &log, &pid, &ended, &child)));
        server.wait(0)?;
        Ok(server)
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid.load(Ordering::SeqCst)
    }

    pub(super) fn kill_and_wait(&self) -> Result<(), BedError> {
        let pid = self.pid();
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        self.wait(pid)
    }

    /// Until a server other than that one accepts connections.
    pub(super) fn wait(&self, other_than: i32) -> Result<(), BedError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if self.pid() != other_than && UnixStream::connect(&self.socket).is_ok() {
                return Ok(());
            }
            std::thread::sleep(GLANCE);
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(5).collect();
        Err(BedError::Silent {
            machine: self.machine.clone(),
            why: last.into_iter().rev().collect::<Vec<_>>().join(" | "),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let pid = Pid::from_raw(self.pid());
        let _ = kill(pid, Signal::SIGTERM);
        let end = Instant::now() + GRACE;
        while !is_dead(pid.as_raw()) && Instant::now() < end {
            std::thread::sleep(GLANCE);
        }
        let _ = kill(pid, Signal::SIGKILL);
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        let _ = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// A server that dies at once again and again is left to it after so many times: the test then
/// hears that nobody answers.
const RESTARTS: usize = 10_000;

fn keep(start: &Start, log: &Path, pid: &AtomicI32, ended: &AtomicBool, child: &Mutex<Child>) {
    for _ in 0..RESTARTS {
        while !is_dead(pid.load(Ordering::SeqCst)) {
            std::thread::sleep(GLANCE);
        }
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        // A tracer in this process may have had its status before.
        let _ = child.wait();
        if ended.load(Ordering::SeqCst) {
            return;
        }
        match spawn(start, log) {
            Ok(next) => *child = next,
            Err(error) => return eprintln!("{error}"),
        }
        pid.store(pid_of(&child), Ordering::SeqCst);
    }
}

fn spawn(start: &Start, log: &Path) -> Result<Child, BedError> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .map_err(BedError::system(format!("open {}", log.display())))?;
    let error = file.try_clone().map_err(BedError::system("share the log"))?;
    let mut command = start();
    // Out of the process group that Ctrl-C reaches: the bed ends its servers itself.
    let child = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(error)
        .process_group(0)
        .spawn()
        .map_err(BedError::system("start wharf csi"))?;
    // `log` is `<bed>/<machine>/server.log`.
    if let Some(bed) = log.parent().and_then(Path::parent) {
        super::reaper::note(bed, child.id());
    }
    Ok(child)
}

fn pid_of(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap_or(0)
}

/// Gone, or a zombie that nobody has asked about.
pub fn is_dead(pid: i32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| matches!(rest.trim_start().chars().next(), Some('Z' | 'X')))
}
