//! What everything in this crate works with: options, programs, roots and the clock.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

use crate::child::{Child, Files, NoAnswer};
use crate::disk::device::{Device, kernel_name};
use crate::disk::find::Finder;
use crate::helper_keys::HelperKeys;
use crate::mounts::mounting;
use crate::mounts::paths::Roots;
use crate::mounts::table::{Entry, MountTable};
use crate::mounts::unmount::silence::Silences;
use crate::options::NodeOptions;
use crate::program::Programs;
use crate::remote::Remote;
use crate::state::lock::{self, VolumeGuard};

/// A call whose time is over still does what is answered at once.
const LEAST_BOUND: Duration = Duration::from_secs(1);
/// For arithmetic alone: no call has so much time.
const MOST_BOUND: Duration = Duration::from_secs(24 * 3600);

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
    /// hangs, one for each `work` among all processes of this node. It keeps the files in `kept`
    /// open, and nothing else that this process has.
    ///
    /// # Errors
    /// `Unavailable` when there is no answer by the call's deadline.
    pub fn ask_kernel<T: Serialize + DeserializeOwned>(
        &self,
        call: &Call,
        work: &str,
        kept: &[BorrowedFd<'_>],
        calls: impl FnOnce() -> T,
    ) -> Result<T, Error> {
        let clock = self.clock.as_ref();
        let lock = lock::acquire_for_work(&self.options.state_directory, work, clock, call)?;
        let mut files = kept.to_vec();
        files.extend(lock.as_ref().map(AsFd::as_fd));
        let child =
            Child::start(Files::Only(&files), || serde_json::to_vec(&calls()).unwrap_or_default())?;
        let bound = call.remaining(clock.now()).clamp(LEAST_BOUND, MOST_BOUND);
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

    /// Looks for devices.
    pub fn finder(&self) -> Finder<'_> {
        Finder {
            state: &self.options.state_directory,
            links: &self.options.device_links,
            paths: &self.options.device_paths,
            sysfs: &self.options.sysfs,
            wait: self.options.device_wait,
            clock: self.clock.as_ref(),
        }
    }

    /// The block device behind what is mounted here, also when its node itself is (a raw block
    /// volume).
    pub fn device_of_mount(&self, path: &Path) -> Result<Option<Device>, Error> {
        let table = MountTable::read()?;
        table.top(path).map_or(Ok(None), |entry| self.device_of_entry(path, entry))
    }

    /// The same of a mount that is at hand.
    pub fn device_of_entry(&self, path: &Path, entry: &Entry) -> Result<Option<Device>, Error> {
        let number = match self.roots.locate(path)? {
            Some(target) => mounting::block_number(&target, entry)?.unwrap_or(entry.device),
            None => entry.device,
        };
        self.device_by_number(number, entry)
    }

    /// Whether a block device was taken away. Where the kernel's list of devices cannot be seen,
    /// nothing is known to be gone.
    pub fn is_gone(&self, number: (u32, u32)) -> bool {
        let sysfs = &self.options.sysfs;
        let is_listed = std::fs::read_dir(sysfs.join("dev/block"))
            .is_ok_and(|mut devices| devices.next().is_some());
        is_listed && kernel_name(sysfs, number).is_none()
    }

    /// The block device with this number; `None` for the number of none.
    pub fn device_by_number(
        &self,
        number: (u32, u32),
        entry: &Entry,
    ) -> Result<Option<Device>, Error> {
        if number.0 == 0 {
            return Ok(None);
        }
        let by_source = PathBuf::from(&entry.source);
        let by_name =
            kernel_name(&self.options.sysfs, number).map(|name| Path::new("/dev").join(name));
        for path in by_name.into_iter().chain(by_source.is_absolute().then_some(by_source)) {
            if let Ok(Some(device)) = Device::at(&path, "", &self.options.sysfs)
                && device.number == number
            {
                return Ok(Some(device));
            }
        }
        Err(Error::internal(format!(
            "the block device {}:{} of {} has no node under /dev",
            number.0,
            number.1,
            entry.mount_point.display()
        )))
    }
}
