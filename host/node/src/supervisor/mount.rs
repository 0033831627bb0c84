//! One mount and its helper: made, supervised, healed, given new keys, and forgotten. Every method
//! is linear and may wait; `registry` sees to it that a mount has one caller at a time, and that no
//! mount waits for another.
//!
//! Each step is on record before it is taken, in such an order that a supervisor that is killed
//! between any two of them finds out from the record, the mount table and the process list what is
//! left to do (`decide`).

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use wharf_core::Error;
use wharf_core::backoff::pause_after;

use super::connections::{Connection, Connections};
use super::context::SupervisorContext;
use super::decide::{Deaths, DeviceNumber, Next, Phase, Situation, next};
use super::launch::Running;
use super::private::Private;
use super::protocol::{Condition, Spec, Status};
use super::record::Record;
use crate::mounts::table::{Entry, MountTable};

mod heal;
mod make;
mod rotate;

/// How long a mount that is on the table is given to answer one question.
const ANSWER: Duration = Duration::from_secs(5);
/// A helper whose mount nobody on this node shows any more ends by itself, at once. One that does
/// not is held by another mount namespace; after this long it is asked to end.
const LINGER: Duration = Duration::from_secs(60);
/// How long the end of a helper is waited for once its mount is gone.
const END: Duration = Duration::from_secs(5);
/// Mount points that could not be repaired are tried again this often: a container may have just
/// come up.
const REPAIR_AGAIN: Duration = Duration::from_secs(10);

/// The pauses between looks for mounts of a dead helper that the kernel still keeps and nobody was
/// found to show: most are kept by an open file alone, and the others are attached soon.
const FIRST_SEARCH: Duration = Duration::from_secs(1);
const LAST_SEARCH: Duration = Duration::from_secs(300);

/// Looks for mounts of a dead helper that no table shows yet: a copy that a container runtime holds
/// by a descriptor, and attaches later; one in a namespace that no process is in.
#[derive(Debug, Default)]
struct Search {
    looks: u32,
    next: Option<Instant>,
}

impl Search {
    /// Notes that a look found nothing, and whether the kernel keeps something all the same.
    fn go_on(&mut self, is_kept: bool) {
        if !is_kept {
            return *self = Self::default();
        }
        self.next = Some(Instant::now() + pause_after(self.looks, FIRST_SEARCH, LAST_SEARCH));
        self.looks = self.looks.saturating_add(1);
    }

    fn is_due(&self) -> bool {
        self.next.is_some_and(|next| next <= Instant::now())
    }
}

/// One mount.
#[derive(Debug)]
pub(crate) struct Mount {
    name: String,
    record: Record,
    private: Private,
    connections: Arc<Connections>,
    /// Those of the record that this process has read from the list itself.
    seen: Vec<Connection>,
    helper: Option<Running>,
    /// Since when its mount has been ready.
    ready_since: Option<Instant>,
    /// [`Cgroups::out_of_memory_kills`](super::cgroups::Cgroups::out_of_memory_kills) when the
    /// helper was started.
    memory_kills: u64,
    deaths: Deaths,
    /// Not before this is anything done about a dead helper or an unrepaired mount point.
    not_before: Option<Instant>,
    /// Nothing at all is done before this: the last attempt met an error of the system.
    failed_until: Option<Instant>,
    gone_since: Option<Instant>,
    unhealed: Vec<String>,
    /// What is looked for that was not found.
    search: Search,
    /// Whether it was said that what is shown may be somebody else's.
    is_doubt_reported: bool,
    /// Replaced helpers that end when their last file is closed.
    leaving: Vec<Running>,
}

impl Mount {
    /// One that is about to be made.
    pub fn new(context: &SupervisorContext, name: &str, spec: Spec, form: Option<String>) -> Self {
        Self::of(context, name, Record::new(&context.boot, spec, form))
    }

    fn of(context: &SupervisorContext, name: &str, record: Record) -> Self {
        Self {
            name: name.to_owned(),
            private: Private::new(&context.run_directory, name),
            connections: Arc::clone(&context.connections),
            record,
            seen: Vec::new(),
            helper: None,
            ready_since: None,
            memory_kills: 0,
            deaths: Deaths::default(),
            not_before: None,
            failed_until: None,
            gone_since: None,
            unhealed: Vec::new(),
            search: Search::default(),
            is_doubt_reported: false,
            leaving: Vec::new(),
        }
    }

    /// One that an earlier supervisor left, with its helper if that still lives.
    pub fn adopt(context: &SupervisorContext, name: &str, mut record: Record) -> Self {
        if record.serving.is_none() && record.retired.and_then(Running::adopt).is_some() {
            // A supervisor was replacing it and was killed. It serves, and the other one does not.
            if let Some(unready) = record.process.and_then(Running::adopt) {
                unready.kill();
            }
            record.resume_retired();
        }
        let helper = record.process.and_then(Running::adopt);
        let mut mount = Self::of(context, name, record);
        mount.helper = helper;
        let is_there =
            |connection: &&Connection| context.connections.has(connection).unwrap_or(false);
        mount.seen = mount.record.connections.iter().filter(is_there).copied().collect();
        mount.memory_kills = context.cgroups.out_of_memory_kills(name);
        if let Some(helper) = &mut mount.helper {
            tracing::info!(mount = name, "adopted a living helper");
            mount.ready_since = Some(Instant::now());
            // An earlier supervisor may have been killed before it was there.
            helper.move_into(&context.cgroups, name, memory_bytes(&mount.record));
        }
        mount.search.go_on(mount.record.dead().any(|dead| mount.is_there(dead)));
        mount
    }

    /// What was asked for.
    pub fn spec(&self) -> &Spec {
        &self.record.spec
    }

    /// Each readable once a helper has ended: the one that serves, and those that it took over
    /// from.
    pub fn handles(&self) -> Vec<OwnedFd> {
        let helpers = self.helper.iter().chain(&self.leaving);
        helpers.filter_map(|helper| helper.handle().try_clone_to_owned().ok()).collect()
    }

    /// The end of the helper's log.
    pub fn log(&self) -> String {
        self.private.log_from(0)
    }

    /// Keeps the helper's log within its bound.
    pub fn trim_log(&self) {
        self.private.trim_log();
    }

    /// How it is, for people.
    pub fn status(&self, table: &MountTable) -> Status {
        let situation = self.situation(table);
        let condition = match next(&situation) {
            Next::Nothing => Condition::Serving,
            Next::RollBack => Condition::Busy,
            Next::Restart => Condition::Dead,
            Next::Repair => Condition::Partly,
            Next::Leave => Condition::Unproved,
            Next::End => Condition::Ending,
        };
        Status {
            name: self.name.clone(),
            target: self.record.spec.target.clone(),
            helper: self.record.spec.helper.clone(),
            source: self.record.spec.source.clone(),
            condition,
            pid: self.helper.as_ref().map(|helper| helper.process().pid),
            restarts: self.record.restarts,
            healed: self.record.healed,
            last_exit: self.record.last_exit,
            unhealed: self.unhealed.clone(),
            devices: Some(self.devices()),
            renew_at_ms: self.record.renew_at_ms,
            writes: self.helper.as_ref().and_then(|helper| helper.process().writes()),
        }
    }

    fn devices(&self) -> Vec<DeviceNumber> {
        let connections = self.record.connections.iter();
        connections.filter(|one| self.is_there(one)).map(|one| one.device).collect()
    }

    /// What cannot be read proves nothing, and is said where it leads to doing nothing.
    fn is_there(&self, connection: &Connection) -> bool {
        self.connections.has(connection).unwrap_or(false)
    }

    fn situation(&self, table: &MountTable) -> Situation {
        let private = self.private.mountpoint();
        let is_alive = self.helper.as_ref().is_some_and(Running::is_alive);
        let (mut shown, mut is_unproved) = (Vec::new(), false);
        for entry in table.entries().iter().filter(|entry| entry.mount_point != private) {
            if self.is_own(entry) {
                shown.push(entry.device);
            } else if self.is_doubtful(entry) {
                // Elsewhere, with the helper dead, it is another file system that got the number.
                is_unproved |= is_alive || entry.mount_point == self.target();
            }
        }
        Situation {
            phase: self.record.phase,
            is_alive,
            serving: self.record.serving.map(|connection| connection.device),
            shown,
            is_unproved,
            is_private_mounted: table.top(&private).is_some(),
            is_unhealed: !self.unhealed.is_empty(),
        }
    }

    /// Whether an entry of the mount table shows what a helper of this mount serves or served.
    fn is_own(&self, entry: &Entry) -> bool {
        let connection = self.record.with_number(entry.device);
        connection.is_some_and(|connection| self.is_there(connection))
    }

    /// Whether an entry has a number of this mount, and nothing says whether it is its own. After
    /// the kernel's list of connections was mounted anew, with no supervisor running, that is what
    /// all of them are. One that was seen in the list of this process is never given another inode,
    /// as its list stays open: another connection with its number is somebody else's for sure, also
    /// while a helper lives on that has lost its own.
    fn is_doubtful(&self, entry: &Entry) -> bool {
        let may_be_own = |known: &Connection| !self.seen.contains(known);
        entry.fs_type.starts_with("fuse")
            && self.record.with_number(entry.device).is_some_and(may_be_own)
            && !self.is_own(entry)
    }

    /// When [`Mount::reconcile`] has something to do; `None`: when something happens.
    pub fn due(&self, table: &MountTable, now: Instant) -> Option<Instant> {
        let due = self.due_by_situation(table, now)?;
        Some(self.failed_until.map_or(due, |failed_until| due.max(failed_until)))
    }

    fn due_by_situation(&self, table: &MountTable, now: Instant) -> Option<Instant> {
        if !self.leaving.iter().all(Running::is_alive) {
            return Some(now);
        }
        match next(&self.situation(table)) {
            Next::Nothing => self.search.next,
            Next::RollBack => Some(now),
            Next::Restart if self.helper.is_some() => Some(now),
            Next::Leave if self.is_doubt_reported && !self.has_dead_helper() => None,
            Next::Leave => Some(now),
            Next::End if self.helper.is_none() || self.has_dead_helper() => Some(now),
            Next::Restart | Next::Repair | Next::End => Some(self.not_before.unwrap_or(now)),
        }
    }

    fn has_dead_helper(&self) -> bool {
        self.helper.as_ref().is_some_and(|helper| !helper.is_alive())
    }

    /// Does what is due for the mount to be as recorded. `false`: the mount is forgotten.
    pub fn reconcile(&mut self, context: &SupervisorContext) -> bool {
        self.leaving.retain(Running::is_alive);
        self.failed_until = None;
        let done = match self.reconcile_once(context) {
            Ok(is_kept) => is_kept,
            Err(error) => {
                tracing::error!(%error, mount = self.name, target = %self.target().display(), "a mount could not be looked after");
                self.failed_until = Some(Instant::now() + REPAIR_AGAIN);
                true
            }
        };
        if !done {
            context.cgroups.remove(&self.name);
        }
        done
    }

    fn reconcile_once(&mut self, context: &SupervisorContext) -> Result<bool, Error> {
        let next = next(&self.situation(&MountTable::read()?));
        if next != Next::End {
            self.gone_since = None;
        }
        if next != Next::Leave {
            self.is_doubt_reported = false;
        }
        match next {
            Next::Nothing if self.search.is_due() => {
                self.finish_replacement(context).map(|()| true)
            }
            Next::Nothing => Ok(true),
            Next::RollBack => self.roll_back(context).map(|()| false),
            Next::Leave => self.note_doubt(context).map(|()| true),
            Next::End => self.end(context),
            Next::Repair => self.finish_replacement(context).map(|()| true),
            Next::Restart => {
                self.note_death(context)?;
                if self.not_before.is_some_and(|moment| moment > Instant::now()) {
                    return Ok(true);
                }
                self.restart(context);
                Ok(true)
            }
        }
    }

    /// Whether the target shows it.
    ///
    /// # Errors
    /// `Internal` when the mount table cannot be read.
    pub fn is_at_target(&self) -> Result<bool, Error> {
        let table = MountTable::read()?;
        Ok(table.top(self.target()).is_some_and(|entry| self.is_own(entry)))
    }

    /// Whether what the target shows is this mount's or is not: one of the two, for sure.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is neither.
    pub fn check_target(&self) -> Result<(), Error> {
        let table = MountTable::read()?;
        if table.top(self.target()).is_none_or(|entry| !self.is_doubtful(entry)) {
            return Ok(());
        }
        let target = self.target().display();
        Err(Error::precondition(format!(
            "what is mounted at {target} has the number of the mount that was made there, and \
             nothing proves that it is the same"
        ))
        .with_hint(format!("it is left alone; `umount {target}` takes it away")))
    }

    /// Whether whoever asked for it has no answer.
    pub fn is_unfinished(&self) -> bool {
        self.record.phase == Phase::Starting
    }

    /// Whether any mount point of this namespace shows it.
    ///
    /// # Errors
    /// `Internal` when the mount table cannot be read.
    pub fn is_shown(&self) -> Result<bool, Error> {
        Ok(!self.situation(&MountTable::read()?).shown.is_empty())
    }

    /// For a mount whose target does not show it any more: waits for the end of its helper, and
    /// forgets it. `false`: other mount points still show it.
    ///
    /// # Errors
    /// `Internal` with what is left.
    pub fn discard(
        &mut self,
        context: &SupervisorContext,
        deadline: Instant,
    ) -> Result<bool, Error> {
        if next(&self.situation(&MountTable::read()?)) == Next::End {
            self.private.detach_mount()?;
        }
        if let Some(helper) = &self.helper {
            // It ends by itself when the last mount point is gone, and may be writing until then.
            helper.wait(END.min(deadline.saturating_duration_since(Instant::now())));
        }
        if next(&self.situation(&MountTable::read()?)) != Next::End {
            return Ok(false);
        }
        if let Some(helper) = self.helper.take() {
            let ending = helper.stop();
            tracing::info!(mount = self.name, target = %self.target().display(), "unmounted: {ending}");
        }
        self.forget(context)?;
        Ok(true)
    }

    fn target(&self) -> &Path {
        &self.record.spec.target
    }

    fn save(&self, context: &SupervisorContext) -> Result<(), Error> {
        context.records.save(&self.name, &self.record)
    }

    /// Removes every trace of a mount that was not made.
    ///
    /// # Errors
    /// `Internal` with what is left.
    pub fn roll_back(&mut self, context: &SupervisorContext) -> Result<(), Error> {
        if let Some(helper) = self.helper.take() {
            helper.kill();
        }
        self.detach_from_target()?;
        self.forget(context)
    }

    /// Takes this mount away from its target, and nothing that is somebody else's.
    fn detach_from_target(&self) -> Result<(), Error> {
        if self.record.connections.is_empty() {
            return Ok(());
        }
        let target = self.target();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let failed =
            |error: Errno| Error::internal(format!("cannot unmount {}: {error}", target.display()));
        let shown = match rustix::fs::openat(CWD, target, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            shown => shown.map_err(failed)?,
        };
        match self.connections.of_file(&shown)? {
            Some(connection) if self.record.connections.contains(&connection) => {
                let mount = format!("/proc/self/fd/{}", shown.as_raw_fd());
                rustix::mount::unmount(mount, UnmountFlags::DETACH).map_err(failed)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Something with its number is mounted where it might be: says so, once.
    fn note_doubt(&mut self, context: &SupervisorContext) -> Result<(), Error> {
        if self.has_dead_helper() {
            self.note_death(context)?;
        }
        if !std::mem::replace(&mut self.is_doubt_reported, true) {
            let why = match self.connections.open() {
                Ok(_) => "it is not the FUSE connection that was recorded".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(mount = self.name, target = %self.target().display(), "what has the number of this mount is left alone, it may be somebody else's: {why}");
        }
        Ok(())
    }

    fn forget(&mut self, context: &SupervisorContext) -> Result<(), Error> {
        self.private.remove()?;
        context.records.forget(&self.name)?;
        context.cgroups.remove(&self.name);
        Ok(())
    }

    /// Nobody on this node shows the mount any more. `false`: it is forgotten.
    fn end(&mut self, context: &SupervisorContext) -> Result<bool, Error> {
        // What an interrupted repair left there would keep the helper.
        self.private.detach_mount()?;
        if self.helper.as_ref().is_some_and(Running::is_alive) {
            let since = *self.gone_since.get_or_insert_with(Instant::now);
            if since.elapsed() < LINGER {
                self.not_before = Some(since + LINGER);
                return Ok(true);
            }
            tracing::warn!(mount = self.name, target = %self.target().display(), "unmounted here, and another mount namespace still held it; its helper is ended");
        }
        if let Some(helper) = self.helper.take() {
            let ending = helper.stop();
            tracing::info!(mount = self.name, target = %self.target().display(), "unmounted: {ending}");
        }
        self.forget(context)?;
        Ok(false)
    }
}

/// What its helper's control group holds it to.
fn memory_bytes(record: &Record) -> Option<u64> {
    record.spec.profile.memory_mib.map(|mebibytes| mebibytes.saturating_mul(1 << 20))
}
