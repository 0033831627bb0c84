//! Runs a plan: checks it as a whole, then makes its steps true one by one, and takes back what
//! this call did when one fails.

use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid};
use wharf_core::Error;
use wharf_core::plan::{GrantedDirectory, Mount, MountSource, Plan, Step};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::Call;

use crate::device::Device;
use crate::mount_options::MountOptions;
use crate::mount_table::MountTable;
use crate::node::LinuxNode;
use crate::paths::{Opened, Place, descend};
use crate::undo::{Undo, UndoLog};
use crate::{check, format, grow, mkfs_arguments, mounting, queue};

/// One run of one plan.
pub(crate) struct Run<'a> {
    pub node: &'a LinuxNode,
    pub call: &'a Call,
    pub policy: &'a NodePolicy,
    pub destination: &'a Path,
    pub staged: Option<&'a Path>,
    device: Option<Device>,
    /// Whether the plan grows the file system.
    grows: bool,
    undo: UndoLog,
}

impl<'a> Run<'a> {
    /// Nothing has happened yet.
    pub fn new(
        node: &'a LinuxNode,
        call: &'a Call,
        policy: &'a NodePolicy,
        destination: &'a Path,
        staged: Option<&'a Path>,
    ) -> Self {
        Self {
            node,
            call,
            policy,
            destination,
            staged,
            device: None,
            grows: false,
            undo: UndoLog::default(),
        }
    }

    /// Makes the plan true, and returns the device that it found.
    pub fn finish(mut self, plan: &Plan) -> Result<Option<Device>, Error> {
        self.policy.check(plan)?;
        plan.steps.iter().try_for_each(check_step)?;
        self.grows = plan.steps.iter().any(|step| matches!(step, Step::Grow { .. }));
        match self.steps(plan) {
            Ok(()) => {
                self.undo.keep();
                Ok(self.device)
            }
            Err(mut error) => {
                let failures = self.undo.roll_back();
                if !failures.is_empty() {
                    error.message = format!(
                        "{}; and this could not be taken back: {}",
                        error.message,
                        failures.join(", ")
                    );
                }
                Err(error)
            }
        }
    }

    fn steps(&mut self, plan: &Plan) -> Result<(), Error> {
        for (index, step) in plan.steps.iter().enumerate() {
            if self.call.is_cancelled() {
                return Err(Error::aborted(format!(
                    "nobody waits any more; stopped before step {} ({})",
                    index + 1,
                    step.word()
                )));
            }
            tracing::debug!(step = step.word(), destination = %self.destination.display(), "making a step true");
            self.step(step)
                .map_err(|error| error.context(format!("step {} ({})", index + 1, step.word())))?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), Error> {
        let sysfs = &self.node.options().sysfs;
        match step {
            Step::FindDevice(wanted) => {
                self.device = Some(self.node.finder().find(self.call, wanted)?);
                Ok(())
            }
            Step::Format { fs_type, arguments } => {
                format::ensure(self.node, self.found()?, fs_type, arguments)
            }
            Step::Check { fs_type } => check::run(self.node, self.found()?, fs_type),
            Step::Grow { .. } => {
                let destination = self.node.roots().spell(self.destination)?;
                let disk = self.found_or_mounted(&destination)?;
                grow::run(self.node, &disk, &destination)
            }
            Step::Mount(mount) => self.mount(mount),
            Step::MakeDirectory { at, mode, uid, gid } => {
                self.make_directory(at, *mode, *uid, *gid)
            }
            Step::SetBlockQueue { key, value } => {
                let disk = self.found()?.clone();
                queue::set(&disk, sysfs, key, value, &mut self.undo)
            }
            Step::BlockDevice { read_only } => {
                let disk = self.found()?.clone();
                format::give_away(self.node, &disk)?;
                let place = self.place()?;
                mounting::publish_block(&place, &disk, *read_only, &mut self.undo)
            }
        }
    }

    fn mount(&mut self, mount: &Mount) -> Result<(), Error> {
        let options = MountOptions::parse(&mount.flags, mount.read_only)?;
        match &mount.source {
            MountSource::Device => {
                let device = self.found()?.adopt_partition(&self.node.options().sysfs)?;
                if self.grows {
                    grow::before_mount(self.node, &device)?;
                }
                let place = self.place()?;
                mounting::mount_device(&place, &device, &mount.fs_type, &options, &mut self.undo)
            }
            MountSource::Staged => {
                let source = self.staged()?;
                let opened = source.open()?.ok_or_else(|| not_staged(source.path()))?;
                let place = self.place()?;
                mounting::bind(&opened, source.path(), &place, &options, &mut self.undo)
            }
            MountSource::Directory(at) => {
                let root = self.granted(at)?;
                let path = root.join(&at.path);
                let opened = descend(&root, Path::new(&at.path), None)?
                    .map(Opened::new)
                    .ok_or_else(|| {
                        Error::not_found(format!("the folder {} does not exist", path.display()))
                    })?;
                let place = self.place()?;
                mounting::bind(&opened, &path, &place, &options, &mut self.undo)
            }
            MountSource::Nfs { .. } | MountSource::Fuse { .. } => Err(not_provided(mount)),
        }
    }

    /// Where the mount lands; the folders that lead there are made when they are missing.
    fn place(&mut self) -> Result<Place, Error> {
        self.node.roots().locate_or_create(self.destination, &mut self.undo)
    }

    /// What is staged is always a mount: a plain folder would be the node's own disk.
    fn staged(&self) -> Result<Place, Error> {
        let path = self.staged.ok_or_else(|| {
            Error::precondition(
                "the plan shows what was staged, but the call names no staging path",
            )
        })?;
        let place = self.node.roots().locate(path)?.ok_or_else(|| not_staged(path))?;
        if MountTable::read()?.top(place.path()).is_none() {
            return Err(not_staged(path));
        }
        Ok(place)
    }

    fn found(&self) -> Result<&Device, Error> {
        self.device.as_ref().ok_or_else(|| {
            Error::invalid("this step needs a device, and no step before it looks for one")
        })
    }

    fn found_or_mounted(&self, destination: &Path) -> Result<Device, Error> {
        if let Some(device) = &self.device {
            return Ok(device.clone());
        }
        self.node.device_of_mount(destination)?.ok_or_else(|| {
            Error::precondition(format!(
                "{} has no block device behind it that could be grown",
                destination.display()
            ))
        })
    }

    fn granted(&self, at: &GrantedDirectory) -> Result<std::path::PathBuf, Error> {
        let root = self
            .policy
            .directories
            .get(&at.root)
            .ok_or_else(|| Error::denied(format!("the folder `{}` is not granted", at.root)))?;
        root.canonicalize().map_err(|error| {
            Error::precondition(format!(
                "the granted folder `{}` ({}) cannot be used: {error}",
                at.root,
                root.display()
            ))
        })
    }

    fn make_directory(
        &mut self,
        at: &GrantedDirectory,
        mode: u32,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Error> {
        let root = self.granted(at)?;
        let path = root.join(&at.path);
        let missing = || Error::precondition(format!("the granted folder `{}` vanished", at.root));
        let directory = descend(&root, Path::new(&at.path), Some(&mut self.undo))?
            .map(Opened::new)
            .ok_or_else(missing)?;
        let stat = directory.stat()?;
        let is_owned =
            uid.is_none_or(|uid| uid == stat.st_uid) && gid.is_none_or(|gid| gid == stat.st_gid);
        if is_owned && stat.st_mode & 0o7777 == mode {
            return Ok(());
        }
        let failed = |error: rustix::io::Errno| {
            Error::internal(format!("cannot set owner and mode of {}: {error}", path.display()))
        };
        let reopen = || {
            rustix::fs::openat(
                &directory,
                ".",
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(failed)
        };
        let open = reopen()?;
        self.undo.push(Undo::RestoreOwnership {
            directory: reopen()?,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            path: path.clone(),
        });
        rustix::fs::fchown(&open, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(failed)?;
        // Last: changing the owner clears the set-id bits.
        rustix::fs::fchmod(&open, Mode::from_raw_mode(mode)).map_err(failed)
    }
}

/// What can be known to be wrong before the first step runs.
fn check_step(step: &Step) -> Result<(), Error> {
    match step {
        Step::Format { fs_type, arguments } => mkfs_arguments::check(fs_type, arguments),
        Step::Mount(mount) => match &mount.source {
            MountSource::Nfs { .. } | MountSource::Fuse { .. } => Err(not_provided(mount)),
            MountSource::Device if mount.fs_type.is_empty() => Err(Error::invalid(
                "a device is mounted as some type of file system, and the plan names none",
            )),
            MountSource::Device | MountSource::Staged | MountSource::Directory(_) => {
                MountOptions::parse(&mount.flags, mount.read_only).map(drop)
            }
        },
        Step::SetBlockQueue { key, value } => queue::check(key, value),
        Step::MakeDirectory { mode, .. } if *mode > 0o7777 => {
            Err(Error::invalid(format!("{mode:o} is not a folder's mode")))
        }
        Step::MakeDirectory { .. }
        | Step::FindDevice(_)
        | Step::Check { .. }
        | Step::Grow { .. }
        | Step::BlockDevice { .. } => Ok(()),
    }
}

fn not_provided(mount: &Mount) -> Error {
    let what = if matches!(mount.source, MountSource::Nfs { .. }) { "NFS" } else { "FUSE" };
    Error::unsupported(format!("{what} mounts are not provided by this build"))
}

fn not_staged(path: &Path) -> Error {
    Error::precondition(format!("nothing is staged at {}", path.display()))
        .with_hint("the volume has to be staged there first")
}
