//! The process's end of the conversation: does one thing after another until nobody asks any more.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::ToSocketAddrs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;
use wharf_core::Error;
use wharf_core::ports::Usage;

use super::message::{Answer, Request, Tree, TreeBase};
use super::nfs::NfsMount;
use crate::mounts::usage;
use crate::trees::{self, Base, Bound, Piece};

pub(super) fn run() -> ExitCode {
    // Nobody would use what it still does.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let Ok(stream) = std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::FAILURE;
    };
    let Ok(mut answers) = stream.try_clone() else { return ExitCode::FAILURE };
    let mut worker = Worker { scratch: None };
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return ExitCode::FAILURE };
        let answer = match serde_json::from_slice(&line) {
            Ok(request) => worker.answer(request),
            Err(error) => failed(Error::internal(format!("cannot read a request: {error}"))),
        };
        let Ok(mut line) = serde_json::to_vec(&answer) else { return ExitCode::FAILURE };
        line.push(b'\n');
        if answers.write_all(&line).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn failed(error: Error) -> Answer {
    Answer::Failed { failure: error.into(), errno: None }
}

fn failed_with(error: Error, errno: Errno) -> Answer {
    Answer::Failed { failure: error.into(), errno: Some(errno.raw_os_error()) }
}

struct Worker {
    /// A mount that nobody else can see; gone with this process.
    scratch: Option<OwnedFd>,
}

impl Worker {
    fn answer(&mut self, request: Request) -> Answer {
        match request {
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
            Request::Usage { at } => match usage_of(&at) {
                Ok(usage) => Answer::Usage(usage),
                Err(error) => {
                    failed_with(Error::unavailable(format!("it does not answer: {error}")), error)
                }
            },
            Request::Unmount { at } => unmounted(write_back_and_unmount(&at)),
            Request::ForceUnmount { at } => unmounted(force_unmount(&at)),
            Request::Tree { base, shown, work, bound } => {
                self.work(base, shown, work, Bound::after(bound)).unwrap_or_else(failed)
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
            TreeBase::Mounted(name) => rustix::fs::openat(CWD, name, flags, Mode::empty()),
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

fn said(mount: &NfsMount, result: Result<(), super::nfs::Refusal>) -> Answer {
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
    let at = Path::new(at);
    match unmount(at, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(_) => unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW),
    }
}
