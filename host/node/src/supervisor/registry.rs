//! All mounts of the supervisor. A mount has one caller at a time, who holds it by value: nobody
//! else can even look at it meanwhile, and no lock is held while anything waits.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::mount::UnmountFlags;
use wharf_core::{Blame, Error, ErrorKind};

use super::client::Served;
use super::context::SupervisorContext;
use super::earlier;
use super::mount::Mount;
use super::protocol::{Condition, Credential, MountRequest, Status};
use super::record::name_of;
use crate::mounts::table::MountTable;

/// A node has about a hundred pods; each mount is a process with buffers and threads of its own.
const MAX_MOUNTS: usize = 1024;

/// All mounts.
#[derive(Debug)]
pub(crate) struct Registry {
    pub context: SupervisorContext,
    slots: Mutex<BTreeMap<String, Slot>>,
    /// A mount was given back.
    changed: Condvar,
    /// The same, for the loop that watches files.
    wake: OwnedFd,
}

#[derive(Debug)]
enum Slot {
    /// Nobody works on it.
    Idle(Box<Mount>),
    /// Somebody does. As it was before.
    Busy(Box<Status>),
}

/// What the loop watches one mount for.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The mount.
    pub name: String,
    /// Each readable once one of its helpers has ended.
    pub helpers: Vec<OwnedFd>,
    /// When something is to be done about it, whatever happens.
    pub due: Option<Instant>,
}

impl Registry {
    /// Takes over what an earlier supervisor left.
    ///
    /// # Errors
    /// `Internal` when records or directories cannot be used.
    pub fn open(context: SupervisorContext) -> Result<Self, Error> {
        let mut slots = BTreeMap::new();
        for (name, record) in context.records.all(&context.boot)? {
            if record.boot == context.boot {
                let mount = Mount::adopt(&context, &name, record);
                slots.insert(name, Slot::Idle(Box::new(mount)));
            } else {
                // The machine was started again since: nothing of it is left but the record.
                context.records.forget(&name)?;
            }
        }
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::internal(format!("cannot make an event: {error}")))?;
        Ok(Self { context, slots: Mutex::new(slots), changed: Condvar::new(), wake })
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<String, Slot>> {
        // Whoever panicked held no mount half-changed: the map is consistent between statements.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Readable after a mount was given back.
    pub fn wake(&self) -> &OwnedFd {
        &self.wake
    }

    /// The mount that is asked for, made or found made.
    ///
    /// # Errors
    /// `AlreadyExists` when another one is there, and whatever making it meets.
    pub fn mount(
        self: &Arc<Self>,
        request: MountRequest,
        deadline: Instant,
    ) -> Result<Served, Error> {
        let MountRequest { spec, credential, .. } = request;
        let name = name_of(&spec.target);
        let mut guard = self.lock_settled(&name, deadline)?;
        if let Some(mount) = &mut guard.mount {
            // It may have been unmounted a moment ago.
            if mount.is_at_target()? {
                if !mount.spec().is_same_mount(&spec) {
                    return Err(differs(&spec.target));
                }
                if let Some(credential) = &credential {
                    mount.update(&self.context, credential, deadline)?;
                }
                return Ok(Served::BySupervisor);
            }
            mount.check_target()?;
            if !mount.discard(&self.context, deadline)? {
                return Err(Error::aborted(format!(
                    "{} was unmounted, and other mount points still show what it did",
                    spec.target.display()
                ))
                .with_hint("it is mounted again once they are gone"));
            }
            guard.mount = None;
        }
        if earlier::is_shown(&spec)? {
            return Ok(Served::ByEarlierDriver);
        }
        if self.slots().len() > MAX_MOUNTS {
            return Err(Error::unavailable(format!(
                "{MAX_MOUNTS} mounts have helpers on this node; no more are started"
            )));
        }
        let form = credential.as_ref().map(|credential| credential.form.clone());
        let mut mount = Mount::new(&self.context, &name, spec, form);
        mount.make(&self.context, credential.as_ref(), deadline)?;
        guard.mount = Some(mount);
        Ok(Served::BySupervisor)
    }

    /// Unmounts a target and waits for the end of its helper. One that is not mounted is fine.
    ///
    /// # Errors
    /// `FailedPrecondition` while it is used.
    pub fn unmount(self: &Arc<Self>, target: &Path, deadline: Instant) -> Result<(), Error> {
        let name = name_of(target);
        let mut guard = self.lock_settled(&name, deadline)?;
        let Some(mount) = &mut guard.mount else { return Ok(()) };
        if mount.is_at_target()? {
            rustix::mount::unmount(target, UnmountFlags::NOFOLLOW).map_err(|error| {
                Error::precondition(format!("cannot unmount {}: {error}", target.display()))
                    .with_hint("it is unmounted once nobody uses it")
            })?;
        } else {
            mount.check_target()?;
        }
        // Binds of it keep it: then it goes with the last of them.
        if !mount.is_shown()? && mount.discard(&self.context, deadline)? {
            guard.mount = None;
        }
        Ok(())
    }

    /// Gives a mount's helper new keys.
    ///
    /// # Errors
    /// `NotFound` when there is no such mount; why the helper goes on with the old keys.
    pub fn update(
        self: &Arc<Self>,
        target: &Path,
        credential: &Credential,
        deadline: Instant,
    ) -> Result<(), Error> {
        let mut guard = self.lock_settled(&name_of(target), deadline)?;
        match &mut guard.mount {
            Some(mount) => mount.update(&self.context, credential, deadline),
            None => Err(missing(&target.display().to_string())),
        }
    }

    /// Every mount.
    ///
    /// # Errors
    /// `Internal` when the mount table cannot be read.
    pub fn list(&self) -> Result<Vec<Status>, Error> {
        let table = MountTable::read()?;
        let status = |slot: &Slot| match slot {
            Slot::Idle(mount) => mount.status(&table),
            Slot::Busy(status) => Status::clone(status),
        };
        Ok(self.slots().values().map(status).collect())
    }

    /// The end of a helper's log, by the mount's name or target.
    ///
    /// # Errors
    /// `NotFound` when there is no such mount, `Aborted` while it is worked on.
    pub fn log(&self, mount: &str) -> Result<String, Error> {
        let slots = self.slots();
        let slot = slots.get(mount).or_else(|| slots.get(&name_of(Path::new(mount))));
        match slot {
            Some(Slot::Idle(mount)) => Ok(mount.log()),
            Some(Slot::Busy(_)) => Err(busy(mount)),
            None => Err(missing(mount)),
        }
    }

    /// Keeps the logs of helpers within their bounds.
    pub fn trim_logs(&self) {
        self.slots().values().for_each(|slot| match slot {
            Slot::Idle(mount) => mount.trim_log(),
            Slot::Busy(_) => {}
        });
    }

    /// What to watch, and for how long.
    ///
    /// # Errors
    /// `Internal` when the mount table cannot be read.
    pub fn watched(&self) -> Result<Vec<Watched>, Error> {
        let (table, now) = (MountTable::read()?, Instant::now());
        let watched = |(name, slot): (&String, &Slot)| match slot {
            Slot::Idle(mount) => Some(Watched {
                name: name.clone(),
                helpers: mount.handles(),
                due: mount.due(&table, now),
            }),
            Slot::Busy(_) => None,
        };
        Ok(self.slots().iter().filter_map(watched).collect())
    }

    /// Takes a mount to do what is due, unless somebody works on it.
    pub fn try_lock_mount(self: &Arc<Self>, name: &str) -> Option<MountGuard> {
        self.lock_mount(name, Instant::now()).ok()
    }

    /// As [`Registry::lock_mount`]. What an earlier supervisor began and did not end is taken back
    /// first: nobody waits for it any more.
    fn lock_settled(self: &Arc<Self>, name: &str, deadline: Instant) -> Result<MountGuard, Error> {
        let mut guard = self.lock_mount(name, deadline)?;
        if let Some(mount) = guard.mount.as_mut().filter(|mount| mount.is_unfinished()) {
            mount.roll_back(&self.context)?;
            guard.mount = None;
        }
        Ok(guard)
    }

    /// Takes a mount, or the name of one that is not there.
    fn lock_mount(self: &Arc<Self>, name: &str, deadline: Instant) -> Result<MountGuard, Error> {
        let mut slots = self.slots();
        while matches!(slots.get(name), Some(Slot::Busy(_))) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Err(busy(name));
            }
            slots =
                self.changed.wait_timeout(slots, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let status = match slots.get(name) {
            Some(Slot::Idle(mount)) => {
                Status { condition: Condition::Busy, ..mount.status(&MountTable::read()?) }
            }
            Some(Slot::Busy(_)) | None => Status::unknown(name),
        };
        let mount = match slots.insert(name.to_owned(), Slot::Busy(Box::new(status))) {
            Some(Slot::Idle(mount)) => Some(*mount),
            Some(Slot::Busy(_)) | None => None,
        };
        Ok(MountGuard { registry: Arc::clone(self), name: name.to_owned(), mount })
    }
}

/// A mount that somebody works on; given back when this is dropped.
#[derive(Debug)]
pub(crate) struct MountGuard {
    registry: Arc<Registry>,
    name: String,
    mount: Option<Mount>,
}

impl MountGuard {
    /// Does what is due.
    pub fn reconcile(mut self) {
        if let Some(mount) = &mut self.mount
            && !mount.reconcile(&self.registry.context)
        {
            self.mount = None;
        }
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        let mut slots = self.registry.slots();
        match self.mount.take() {
            Some(mount) => slots.insert(self.name.clone(), Slot::Idle(Box::new(mount))),
            None => slots.remove(&self.name),
        };
        drop(slots);
        self.registry.changed.notify_all();
        let _ = rustix::io::write(self.registry.wake.as_fd(), &1_u64.to_ne_bytes());
    }
}

fn differs(target: &Path) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        Blame::User,
        format!("{} is mounted from another source or with other options", target.display()),
    )
    .with_hint("unmount it first")
}

fn busy(mount: &str) -> Error {
    Error::aborted(format!("the mount {mount} is being worked on"))
        .with_hint("it is tried again once that is done")
}

fn missing(mount: &str) -> Error {
    Error::not_found(format!("no helper serves a mount {mount} on this node"))
        .with_hint("`wharf mounts list` shows those that have one")
}
