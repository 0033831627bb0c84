//! What everything in this crate works with: options, programs, roots and the clock.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

use crate::child::{Child, Files, NoAnswer};
use crate::helper_keys::HelperKeys;
use crate::mounts::paths::Roots;
use crate::mounts::unmount::silence::Silences;
use crate::options::NodeOptions;
use crate::program::Programs;
use crate::remote::Remote;
use crate::state::lock::{self, VolumeGuard};

/// A call whose time is over still does what is answered at once.
const MIN_BOUND: Duration = Duration::from_secs(1);
/// For arithmetic alone: no call has so much time.
const MAX_BOUND: Duration = Duration::from_secs(24 * 3600);

/// Where things are on this node, and how programs are started.
pub(crate) struct NodeContext {
    pub options: NodeOptions,
    pub clock: Arc<dyn Clock>,
    pub roots: Roots,
    pub programs: Programs,
    pub keys: Option<Arc<dyn HelperKeys>>,
    pub remote: Remote,
    /// What calls that were too short have seen of servers that answer nothing.
    pub silences: Silences,
}

impl NodeContext {
    /// Looks at nothing yet.
    pub fn new(options: NodeOptions, clock: Arc<dyn Clock>) -> Self {
        let roots = Roots::new(&options.roots);
        let programs = Programs::new(options.program_path.clone());
        let remote = Remote::new(&options.child_command, &options.state_directory);
        let silences = Silences::default();
        Self { options, clock, roots, programs, keys: None, remote, silences }
    }

    /// Who renders the keys of mount helpers.
    pub fn keys(&self) -> Result<&dyn HelperKeys, Error> {
        self.keys.as_deref().ok_or_else(|| {
            Error::unsupported("this process renders no credentials for mount helpers")
        })
    }

    /// Takes the lock of this name, waiting for its holder as long as the call may.
    pub fn acquire(&self, call: &Call, name: &str) -> Result<VolumeGuard, Error> {
        lock::acquire(&self.options.state_directory, name, self.clock.as_ref(), call)
    }

    /// Has system calls made that may wait for a disk: in a process that is left behind when it
    /// hangs, one for each `work` among all processes of this node. It has `files` open,
    /// and nothing else that this process has.
    ///
    /// # Errors
    /// `Unavailable` when there is no answer by the call's deadline.
    pub fn ask_kernel<T: Serialize + DeserializeOwned>(
        &self,
        call: &Call,
        work: &str,
        files: &[BorrowedFd<'_>],
        calls: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        let clock = self.clock.as_ref();
        let lock = lock::acquire_for_work(&self.options.state_directory, work, clock, call)?;
        let mut files = files.to_vec();
        files.extend(lock.as_ref().map(AsFd::as_fd));
        let child =
            Child::start(Files::Only(&files), || serde_json::to_vec(&calls()).unwrap_or_default())?;
        let bound = call.remaining(clock.now()).clamp(MIN_BOUND, MAX_BOUND);
        match child.finish(Instant::now() + bound, || call.is_cancelled()) {
            Ok(answer) => serde_json::from_slice(&answer).map_err(|error| {
                Error::internal(format!("{work}: the answer cannot be read: {error}"))
            }),
            Err(NoAnswer::Late) => {
                Err(Error::unavailable(format!("{work}: the kernel did not answer in time"))
                    .with_hint(
                        "the disk or the process behind it hangs: look at the node's kernel log; \
                         it goes on when that answers",
                    ))
            }
            Err(NoAnswer::Died) => Err(Error::internal(format!("{work}: the process died"))),
        }
    }

    /// Fails while an earlier call's [`ask_kernel`](Self::ask_kernel) for this work still hangs.
    ///
    /// # Errors
    /// `Unavailable` when it does at the call's deadline.
    pub fn check_not_hanging(&self, call: &Call, work: &str) -> Result<(), Error> {
        let clock = self.clock.as_ref();
        lock::acquire_for_work(&self.options.state_directory, work, clock, call)?;
        Ok(())
    }
}
