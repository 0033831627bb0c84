//! The process's end of the conversation: does one thing after another until nobody asks any more.

use std::ffi::OsStr;
use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags};
use rustix::process::Signal;
use wharf_core::Error;
use wharf_core::ports::Usage;

use super::message::{Answer, Request, Tree, TreeBase};
use super::nfs::{self, NfsMount};
use crate::mounts::usage;
use crate::trees::{self, Base, Bound, Piece};

/// Of the thread that waits for the parent's end, which calls two functions.
const STACK_BYTES: usize = 64 << 10;

pub(super) fn run() -> ExitCode {
    // Any error here is for nobody: the parent sees that the process is gone.
    serve().map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn serve() -> std::io::Result<()> {
    let mut parent = Parent::on_standard_input()?;
    parent.end_this_process_with_it()?;
    let mut worker = Worker::new()?;
    while let Some(Asked { line, files }) = parent.next()? {
        worker.begin(files)?;
        let answer = match serde_json::from_slice(&line) {
            Ok(request) => worker.answer(request),
            Err(error) => failed(Error::internal(format!("cannot read a request: {error}"))),
        };
        parent.answer(&answer)?;
    }
    Ok(())
}

/// The other end.
struct Parent {
    socket: UnixStream,
    /// What has come of a request, and with it.
    asked: Asked,
}

/// A request, and the files that came with it: where a work begins, its directory, and its lock if
/// it has one.
#[derive(Default)]
struct Asked {
    line: Vec<u8>,
    files: Vec<OwnedFd>,
}

impl Parent {
    fn on_standard_input() -> std::io::Result<Self> {
        let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        Ok(Self { socket, asked: Asked::default() })
    }

    /// Nobody would use what this process still does, whatever it waits for. By the end of the
    /// socket, because PR_SET_PDEATHSIG is about the thread that started the process, and not
    /// about the parent: others give it work when that thread is gone.
    fn end_this_process_with_it(&self) -> std::io::Result<()> {
        let socket = self.socket.try_clone()?;
        let watch = move || {
            let mut fds = [PollFd::new(&socket, PollFlags::empty())];
            while let Ok(0) | Err(Errno::INTR) = rustix::event::poll(&mut fds, None) {}
            let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::KILL);
        };
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(watch).map(drop)
    }

    /// `None`: nobody asks any more.
    fn next(&mut self) -> std::io::Result<Option<Asked>> {
        // One request at a time: the next one comes after the answer.
        while self.asked.line.last() != Some(&b'\n') {
            if self.read()? == 0 {
                return Ok(None);
            }
        }
        Ok(Some(std::mem::take(&mut self.asked)))
    }

    fn read(&mut self) -> std::io::Result<usize> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let read = rustix::net::recvmsg(&self.socket, into, &mut control, flags)?;
        // This process may open no more files, or not these: the work would be done elsewhere.
        if read.flags.contains(ReturnFlags::CTRUNC) {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                self.asked.files.extend(files);
            }
        }
        self.asked.line.extend_from_slice(bytes.get(..read.bytes).unwrap_or_default());
        Ok(read.bytes)
    }

    fn answer(&mut self, answer: &Answer) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(answer)?;
        line.push(b'\n');
        self.socket.write_all(&line)
    }
}

fn failed(error: Error) -> Answer {
    Answer::Failed { failure: error.into(), errno: None }
}

fn failed_with(error: Error, errno: Errno) -> Answer {
    Answer::Failed { failure: error.into(), errno: Some(errno.raw_os_error()) }
}

/// Has a directory to work in and mostly a lock, from the first request of a work until it lets go.
struct Worker {
    lock: Option<OwnedFd>,
    /// A mount that nobody else can see; gone with this process.
    scratch: Option<OwnedFd>,
}

impl Worker {
    /// Without work, it is where it keeps nobody from unmounting anything.
    fn new() -> std::io::Result<Self> {
        std::env::set_current_dir("/")?;
        Ok(Self { lock: None, scratch: None })
    }

    /// Nothing to begin with: the work goes on.
    fn begin(&mut self, files: Vec<OwnedFd>) -> std::io::Result<()> {
        let mut files = files.into_iter();
        if let Some(directory) = files.next() {
            self.lock = files.next();
            rustix::process::fchdir(directory)?;
        }
        Ok(())
    }

    fn release(&mut self) -> Answer {
        match Self::new() {
            Ok(new) => {
                *self = new;
                Answer::Done
            }
            Err(error) => failed(Error::internal(format!("cannot go to the root: {error}"))),
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Release => self.release(),
            Request::Last(request) => match self.answer(*request) {
                failed @ Answer::Failed { .. } => failed,
                answer => match self.release() {
                    Answer::Done => answer,
                    failed => failed,
                },
            },
            Request::Resolve { server } => resolve(&server),
            Request::Mount { mount, at: Some(at) } => said(&mount, mount.mount_at(Path::new(&at))),
            Request::Mount { mount, at: None } => match mount.detached() {
                Ok(scratch) => {
                    self.scratch = Some(scratch);
                    Answer::Done
                }
                Err(refusal) if refusal.errno == Errno::NOSYS => failed(
                    Error::unsupported(format!(
                        "{} cannot be mounted where nobody sees it",
                        mount.source
                    ))
                    .with_hint("it needs Linux 5.2"),
                ),
                Err(refusal) => said(&mount, Err(refusal)),
            },
            Request::MountUnseen { mount, at } => match mount.mount_for(Path::new(&at)) {
                Ok(scratch) => {
                    self.scratch = scratch;
                    Answer::Done
                }
                Err(refusal) => said(&mount, Err(refusal)),
            },
            Request::Show { at } => self.show(Path::new(&at)),
            Request::Usage { at } => match usage_of(&at) {
                Ok(usage) => Answer::Usage(usage),
                Err(error) => {
                    failed_with(Error::unavailable(format!("it does not answer: {error}")), error)
                }
            },
            Request::Unmount { at } => unmounted(write_back_and_unmount(&at)),
            Request::Detach { at } => unmounted(detach(&at)),
            Request::ForceUnmount { at } => unmounted(force_unmount(&at)),
            Request::Tree { base, shown, work, bound } => {
                self.work(base, shown, work, Bound::after(bound)).unwrap_or_else(failed)
            }
        }
    }

    fn show(&self, at: &Path) -> Answer {
        match self.scratch.as_ref().map_or(Ok(()), |scratch| nfs::show(scratch, at)) {
            Ok(()) => Answer::Done,
            Err(error) => {
                let what = format!("cannot move the mount to its path: {error}");
                failed_with(Error::internal(what), error)
            }
        }
    }

    fn work(
        &self,
        base: TreeBase,
        shown: String,
        work: Tree,
        bound: Bound,
    ) -> Result<Answer, Error> {
        let base = Base::new(self.open(base, &shown)?, shown)?;
        let (piece, progress) = match work {
            Tree::Make { path, ownership } => {
                trees::make_directory(&base, &path, ownership)?;
                (Piece::Done, Vec::new())
            }
            Tree::MoveAside { from, to } => {
                trees::move_aside(&base, &from, &to)?;
                (Piece::Done, Vec::new())
            }
            Tree::Remove { path } => (trees::remove_tree(&base, &path, bound)?, Vec::new()),
            Tree::SetOwnership { path, ownership, recursive, mut progress } => {
                let piece =
                    trees::set_ownership(&base, &path, ownership, recursive, &mut progress, bound)?;
                (piece, progress)
            }
        };
        Ok(match piece {
            Piece::Done => Answer::Done,
            Piece::Unfinished(entries) => Answer::Unfinished { entries, progress },
        })
    }

    fn open(&self, base: TreeBase, shown: &str) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match base {
            TreeBase::Scratch => {
                let scratch = self.scratch.as_ref().ok_or_else(|| {
                    Error::invalid("no step before this one mounted anything out of sight")
                })?;
                rustix::fs::openat(scratch, ".", flags, Mode::empty())
            }
            TreeBase::Mounted(name) => match &self.scratch {
                Some(scratch) => rustix::fs::openat(scratch, ".", flags, Mode::empty()),
                None => rustix::fs::openat(CWD, name, flags, Mode::empty()),
            },
            TreeBase::Directory(path) => rustix::fs::openat(CWD, path, flags, Mode::empty()),
        };
        opened.map_err(|error| Error::unavailable(format!("cannot open {shown}: {error}")))
    }
}

fn resolve(server: &str) -> Answer {
    match (server, 0).to_socket_addrs() {
        Ok(addresses) => {
            let mut found = Vec::new();
            for address in addresses.map(|address| address.ip()) {
                if !found.contains(&address) {
                    found.push(address);
                }
            }
            Answer::Addresses(found)
        }
        Err(error) => failed(
            Error::unavailable(format!("the name {server} cannot be resolved: {error}"))
                .with_hint("look at the name, and at /etc/resolv.conf where this host runs"),
        ),
    }
}

fn said(mount: &NfsMount, result: Result<(), nfs::Refusal>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(refusal) => failed_with(mount.error(&refusal), refusal.errno),
    }
}

fn usage_of(at: &OsStr) -> Result<Usage, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    usage::of_file_system(&rustix::fs::openat(CWD, at, flags, Mode::empty())?)
}

fn unmounted(result: Result<(), Errno>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) => failed_with(Error::internal(format!("cannot be unmounted: {error}")), error),
    }
}

/// What was written must be with the server before the mount leaves the table: nobody could wait
/// for it afterwards.
fn write_back_and_unmount(at: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Whatever is wrong with it (a dead process answers with an error at once), it is to go.
    let _ = rustix::fs::openat(CWD, at, flags, Mode::empty()).and_then(rustix::fs::syncfs);
    unmount(Path::new(at), UnmountFlags::NOFOLLOW)
}

/// Ends what waits for the server with an error, and takes the mount out of the table; the kernel
/// gives up the rest when it can.
fn force_unmount(at: &OsStr) -> Result<(), Errno> {
    match unmount(Path::new(at), UnmountFlags::FORCE | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(_) => detach(at),
    }
}

fn detach(at: &OsStr) -> Result<(), Errno> {
    unmount(Path::new(at), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}
