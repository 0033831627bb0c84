//! The process around a call-out: its streams, its panics, its exit code.
//!
//! Kubelet reads standard output and standard error from one pipe and parses all of it as one JSON
//! object, after every holder of the pipe has closed it. So the pipe is taken away first: a private
//! descriptor that no child inherits gets the answer, and everything else that anybody prints, here
//! or in a mount helper, goes nowhere.
//!
//! The exit code is 0 whatever the answer is. The driver that Wharf takes over from exits 1 with a
//! failure, and then kubelet logs the whole argument list, with options and base64 secrets, beside
//! the message; the status in the JSON decides alike in both cases.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Mutex;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::stdio;

use crate::answer::{answer_with, defect};
use crate::call_log;
use crate::installed_driver::{self, InstalledDriver};
use crate::node_names::LocalHost;
use crate::reply::Reply;
use crate::services::Open;

/// Whether this process was executed as a FlexVolume driver: by the path that it lies at.
pub fn is_call_out(argv0: &OsStr) -> bool {
    InstalledDriver::find(argv0, installed_driver::own_executable).is_some()
}

/// Answers one call-out and ends. The binary's `main` calls it before anything else, when
/// [`is_call_out`] says so.
pub fn serve(argv: &[OsString], open: &dyn Open) -> ExitCode {
    let pipe: &'static Pipe = Box::leak(Box::new(Pipe::take()));
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        pipe.answer(&Reply::failure(&defect(&location)).to_line());
        // After the answer: nothing that goes wrong here can take it away.
        tracing::error!(location, "panic");
        std::process::exit(0);
    }));
    pipe.answer(&answer_with(argv, &LocalHost::this(), open, call_log::begin));
    ExitCode::SUCCESS
}

/// Kubelet's pipe; whoever answers first takes it.
struct Pipe {
    file: Mutex<Option<File>>,
}

impl Pipe {
    /// Leaves `/dev/null` where standard output and standard error were.
    fn take() -> Self {
        // Above the three standard descriptors, also when some of them are closed.
        let pipe: Option<OwnedFd> = fcntl_dupfd_cloexec(std::io::stdout(), 3).ok();
        if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
            let _ = stdio::dup2_stdout(&nowhere);
            let _ = stdio::dup2_stderr(&nowhere);
        }
        Self { file: Mutex::new(pipe.map(File::from)) }
    }

    /// One write, so that an answer is there as a whole. Kubelet not listening any more is no
    /// reason to do anything else.
    fn answer(&self, line: &[u8]) {
        let file = self.file.try_lock().ok().and_then(|mut file| file.take());
        if let Some(mut file) = file {
            let _ = file.write_all(line);
        }
    }
}
