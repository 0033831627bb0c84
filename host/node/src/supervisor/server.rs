//! The supervisor's process: one socket, and one loop that waits for helpers that end, for changes
//! of the mount table, and for time to pass. Requests and repairs run in threads of their own, so
//! that nothing waits for anything but its own mount.
//!
//! There is nothing to do at its end: helpers are in sessions of their own and live on, and the
//! next supervisor adopts them.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags};
use wharf_core::Error;

use super::client::Served;
use super::context::SupervisorContext;
use super::protocol::{self, Answer, Request};
use super::registry::Registry;
use super::{SupervisorOptions, log_path, socket_path};
use super::{earlier, log, namespaces};
use crate::child::timespec;

/// Requests at the same time: kubelet stages as many volumes at its start.
const MAX_REQUESTS: usize = 64;
/// Requests taken before anything else is looked at again: whoever floods the socket holds up no
/// mount.
const MAX_ACCEPTED: usize = 16;
/// The pause after a connection that could not be taken, for want of descriptors or memory: the
/// next attempt would end alike.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// A request is written at once; whoever takes longer is not kubelet.
const IO_TIMEOUT: Duration = Duration::from_secs(10);
/// Threads here do system calls and JSON; the usual 8 MiB would count against the node.
const STACK_BYTES: usize = 512 * 1024;
/// The log of a supervisor that a call-out started, and which nobody else keeps, is cut to its end
/// when it is longer: ten helpers that die at once write about 60 KiB of it.
const MAX_LOG_BYTES: u64 = 1 << 20;
const KEPT_LOG_BYTES: u64 = 512 << 10;
/// What was missed is found, and logs are looked at, this often at least.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// Logs are looked at this often at most: a helper that says more than its tmpfs holds in so short
/// a time loses the rest.
const TRIM: Duration = Duration::from_secs(5);
/// After a change of the table, further ones are not waited for this long: a node that mounts all
/// the time does not make this process read its table all the time. Requests and helpers are.
const SETTLE: Duration = Duration::from_millis(20);

/// Serves until the process is ended.
///
/// # Errors
/// `Aborted` when another supervisor serves this directory, and what cannot be used.
pub fn serve(options: &SupervisorOptions) -> Result<(), Error> {
    let context = SupervisorContext::new(options)?;
    let _lock = lock(&context)?;
    if options.leave_cgroup {
        context.cgroups.leave();
    }
    if let Some(obstacle) = namespaces::obstacle() {
        tracing::warn!("mounts inside containers cannot be repaired: {obstacle}");
    }
    // Before the first request: what an earlier one left is known then.
    let registry = Arc::new(Registry::open(context)?);
    let listener = listen(options)?;
    tracing::info!(socket = %socket_path(&options.run_directory).display(), "supervising mounts");
    watch(&registry, &listener)
}

/// Held as long as this process lives.
fn lock(context: &SupervisorContext) -> Result<File, Error> {
    let path = context.run_directory.join("lock");
    let failed =
        |error: std::io::Error| Error::internal(format!("cannot lock {}: {error}", path.display()));
    let file =
        File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    // A lock of the process: a child that was forked a moment before this process was killed holds
    // its open files for a moment longer, and not this.
    let all = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(&file, FcntlArg::F_SETLK(&all)) {
        Ok(_) => Ok(file),
        Err(Errno::EAGAIN | Errno::EACCES) => {
            Err(Error::aborted("another supervisor serves the mounts of this node"))
        }
        Err(error) => Err(failed(error.into())),
    }
}

fn listen(options: &SupervisorOptions) -> Result<UnixListener, Error> {
    let path = socket_path(&options.run_directory);
    let failed = |error: std::io::Error| {
        Error::internal(format!("cannot listen on {}: {error}", path.display()))
    };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    // Its directory lets in nobody but root already.
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

fn watch(registry: &Arc<Registry>, listener: &UnixListener) -> Result<(), Error> {
    let requests = Arc::new(AtomicUsize::new(0));
    let table = File::open("/proc/self/mountinfo")
        .map_err(|error| Error::internal(format!("cannot read the mount table: {error}")))?;
    let mut settled = Instant::now();
    let log = log_path(&registry.context.run_directory);
    let mut trimmed: Option<Instant> = None;
    loop {
        if trimmed.is_none_or(|trimmed| trimmed.elapsed() >= TRIM) {
            log::trim(&log, MAX_LOG_BYTES, KEPT_LOG_BYTES);
            registry.trim_logs();
            trimmed = Some(Instant::now());
        }
        let watched = registry.watched()?;
        let now = Instant::now();
        let (due, waiting): (Vec<_>, Vec<_>) =
            watched.iter().partition(|mount| mount.due.is_some_and(|due| due <= now));
        for mount in due {
            // Taken here, so that the next round does not find it due again.
            if let Some(guard) = registry.try_lock_mount(&mount.name) {
                start_thread(move || guard.reconcile());
            }
        }
        let next = waiting.iter().filter_map(|mount| mount.due).min();
        let wait = next.map_or(MAX_WAIT, |next| next - now).min(MAX_WAIT);
        let unsettled = settled.checked_duration_since(now).filter(|left| !left.is_zero());
        let wait = unsettled.map_or(wait, |left| left.min(wait));
        let mut fds =
            vec![PollFd::new(listener, PollFlags::IN), PollFd::new(registry.wake(), PollFlags::IN)];
        let helpers = waiting.iter().flat_map(|mount| &mount.helpers);
        fds.extend(helpers.map(|helper| PollFd::new(helper, PollFlags::IN)));
        // The last one, where it is one at all: its events cannot be left out of a poll.
        if unsettled.is_none() {
            fds.push(PollFd::new(&table, PollFlags::PRI));
        }
        match rustix::event::poll(&mut fds, Some(&timespec(wait))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::internal(format!("cannot wait: {error}"))),
        }
        let is_ready = |fd: Option<&PollFd<'_>>| fd.is_some_and(|fd| !fd.revents().is_empty());
        let (has_request, was_woken) = (is_ready(fds.first()), is_ready(fds.get(1)));
        let has_changed = unsettled.is_none() && is_ready(fds.last());
        drop(fds);
        if was_woken {
            let _ = rustix::io::read(registry.wake(), &mut [0_u8; 8]);
        }
        if has_request {
            accept(registry, listener, &requests);
        }
        if has_changed {
            settled = Instant::now() + SETTLE;
        }
    }
}

fn accept(registry: &Arc<Registry>, listener: &UnixListener, requests: &Arc<AtomicUsize>) {
    for _ in 0..MAX_ACCEPTED {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => {
                tracing::error!(%error, "a request cannot be taken");
                std::thread::sleep(ACCEPT_AGAIN);
                return;
            }
        };
        if requests.fetch_add(1, Ordering::SeqCst) >= MAX_REQUESTS {
            requests.fetch_sub(1, Ordering::SeqCst);
            // The caller hears of the end of the connection, and asks again.
            continue;
        }
        let (registry, requests) = (Arc::clone(registry), Arc::clone(requests));
        start_thread(move || {
            let answered = answer(&registry, stream);
            requests.fetch_sub(1, Ordering::SeqCst);
            if let Err(error) = answered {
                tracing::debug!(%error, "a request was not answered");
            }
        });
    }
}

fn start_thread(work: impl FnOnce() + Send + 'static) {
    let started = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    if let Err(error) = started {
        tracing::error!(%error, "no thread could be started; it is tried again");
    }
}

fn answer(registry: &Arc<Registry>, mut stream: UnixStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(IO_TIMEOUT))?;
    stream.set_write_timeout(Some(IO_TIMEOUT))?;
    check_peer(&stream)?;
    let answer = match protocol::read(&mut stream) {
        Ok(request) => {
            perform(registry, request).unwrap_or_else(|error| Answer::Failed(error.into()))
        }
        Err(error) => Answer::Failed(Error::invalid(error.to_string()).into()),
    };
    protocol::write(&mut stream, &answer)
}

/// Root, or whoever runs this process.
pub(super) fn check_peer(stream: &UnixStream) -> std::io::Result<()> {
    // Not by rustix, whose type has no place for a process that has no number here: that of another
    // container.
    let user = getsockopt(stream, sockopt::PeerCredentials)?.uid();
    if user == 0 || user == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(ErrorKind::PermissionDenied.into())
}

fn perform(registry: &Arc<Registry>, request: Request) -> Result<Answer, Error> {
    let until = |millis: u64| Instant::now() + Duration::from_millis(millis.min(MAX_WAIT_MILLIS));
    match request {
        Request::Mount(request) => {
            let deadline = until(request.wait_millis);
            registry.mount(*request, deadline).map(|served| match served {
                Served::BySupervisor => Answer::Done,
                Served::ByEarlierDriver => Answer::LeftAsFound,
            })
        }
        Request::Unmount { target, wait_millis } => {
            registry.unmount(&target, until(wait_millis)).map(|()| Answer::Done)
        }
        Request::Update { target, credential, wait_millis } => {
            registry.update(&target, &credential, until(wait_millis)).map(|()| Answer::Done)
        }
        Request::LookForEarlier(spec) => Ok(match earlier::is_shown(&spec)? {
            true => Answer::LeftAsFound,
            false => Answer::Done,
        }),
        Request::List => registry.list().map(Answer::list),
        Request::Log { mount } => registry.log(&mount).map(Answer::Log),
    }
}

/// kubelet's own patience is two minutes.
const MAX_WAIT_MILLIS: u64 = 600_000;
