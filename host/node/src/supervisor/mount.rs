//! One mount and its helper: made, kept, healed, given new keys, and forgotten. Every method is
//! linear and may wait; `registry` sees to it that a mount has one caller at a time, and that no
//! mount waits for another.
//!
//! Each step is on record before it is taken, in such an order that a supervisor that is killed
//! between any two of them finds out from the record, the mount table and the process list what is
//! left to do (`decide`).

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use wharf_core::Error;

use super::decide::{Deaths, Next, Phase, Situation, next};
use super::launch::Running;
use super::private::{Private, detach};
use super::protocol::{Condition, Spec, Status};
use super::record::Record;
use super::repair;
use super::world::World;
use crate::mounts::table::MountTable;

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
/// Places that could not be repaired are tried again this often: a container may have just come up.
const REPAIR_AGAIN: Duration = Duration::from_secs(10);

/// One mount.
#[derive(Debug)]
pub(crate) struct Mount {
    name: String,
    record: Record,
    private: Private,
    helper: Option<Running>,
    /// Since when its mount has been ready.
    ready_since: Option<Instant>,
    deaths: Deaths,
    /// Not before this is anything done about a dead helper or an unrepaired place.
    not_before: Option<Instant>,
    gone_since: Option<Instant>,
    unhealed: Vec<String>,
    /// Replaced helpers that end when their last file is closed.
    leaving: Vec<Running>,
}

impl Mount {
    /// One that is about to be made.
    pub fn new(world: &World, name: &str, spec: Spec, form: Option<String>) -> Self {
        Self::of(world, name, Record::new(&world.boot, spec, form))
    }

    fn of(world: &World, name: &str, record: Record) -> Self {
        Self {
            name: name.to_owned(),
            private: Private::new(&world.run_directory, name),
            record,
            helper: None,
            ready_since: None,
            deaths: Deaths::default(),
            not_before: None,
            gone_since: None,
            unhealed: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// One that an earlier supervisor left, with its helper if that still lives.
    pub fn adopt(world: &World, name: &str, record: Record) -> Self {
        let helper = record.process.and_then(Running::adopt);
        let mut mount = Self::of(world, name, record);
        if helper.is_some() {
            tracing::info!(mount = name, "adopted a living helper");
            mount.ready_since = Some(Instant::now());
        }
        mount.helper = helper;
        mount
    }

    /// The number of a device is used again once its file system is gone. With its helper dead, a
    /// mount that answers is somebody else's.
    fn forget_devices_of_others(&mut self) {
        let is_served = self.helper.as_ref().is_some_and(Running::is_alive)
            // By the helper that was being replaced.
            || self.record.retired.is_some();
        if is_served {
            return;
        }
        let Ok(table) = MountTable::read() else { return };
        self.record.devices.retain(|device| {
            let mut places = table.of_device(*device).map(|entry| &entry.mount_point);
            places.any(|place| repair::ask_root(place, ANSWER).is_err())
        });
    }

    /// What was asked for.
    pub fn spec(&self) -> &Spec {
        &self.record.spec
    }

    /// Readable once the helper has ended.
    pub fn handle(&self) -> Option<OwnedFd> {
        self.helper.as_ref().and_then(|helper| helper.handle().try_clone_to_owned().ok())
    }

    /// The end of the helper's log.
    pub fn log(&self) -> String {
        self.private.log_from(0)
    }

    /// How it is, for people.
    pub fn status(&self, table: &MountTable) -> Status {
        let situation = self.situation(table);
        let condition = match next(&situation) {
            Next::Nothing => Condition::Serving,
            Next::RollBack => Condition::Busy,
            Next::Restart => Condition::Dead,
            Next::Repair => Condition::Partly,
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
            last_exit: self.record.last_exit.clone(),
            unhealed: self.unhealed.clone(),
        }
    }

    fn situation(&self, table: &MountTable) -> Situation {
        let private = self.private.mountpoint();
        let shown = table
            .entries()
            .iter()
            .filter(|entry| entry.mount_point != private && entry.fs_type.starts_with("fuse"))
            .map(|entry| entry.device)
            .filter(|device| self.record.devices.contains(device))
            .collect();
        Situation {
            phase: self.record.phase,
            is_alive: self.helper.as_ref().is_some_and(Running::is_alive),
            serving: self.record.serving,
            shown,
            is_private_mounted: table.top(&private).is_some(),
            is_unhealed: !self.unhealed.is_empty(),
        }
    }

    /// When [`Mount::tend`] has something to do; `None`: when something happens.
    pub fn due(&self, table: &MountTable, now: Instant) -> Option<Instant> {
        match next(&self.situation(table)) {
            Next::Nothing => None,
            Next::RollBack => Some(now),
            Next::Restart if self.helper.is_some() => Some(now),
            Next::End if self.helper.as_ref().is_none_or(|helper| !helper.is_alive()) => Some(now),
            Next::Restart | Next::Repair | Next::End => Some(self.not_before.unwrap_or(now)),
        }
    }

    /// Does what is due. `false`: the mount is forgotten.
    pub fn tend(&mut self, world: &World) -> bool {
        self.private.trim_log();
        self.leaving.retain(Running::is_alive);
        let done = match self.tend_once(world) {
            Ok(is_kept) => is_kept,
            Err(error) => {
                tracing::error!(%error, mount = self.name, target = %self.target().display(), "a mount could not be looked after");
                self.not_before = Some(Instant::now() + REPAIR_AGAIN);
                true
            }
        };
        if !done {
            world.cgroups.remove(&self.name);
        }
        done
    }

    fn tend_once(&mut self, world: &World) -> Result<bool, Error> {
        self.forget_devices_of_others();
        let next = next(&self.situation(&MountTable::read()?));
        if next != Next::End {
            self.gone_since = None;
        }
        match next {
            Next::Nothing => Ok(true),
            Next::RollBack => self.take_back(world).map(|()| false),
            Next::End => self.end(world),
            Next::Repair => self.finish_replacement(world).map(|()| true),
            Next::Restart => {
                self.bury(world)?;
                if self.not_before.is_some_and(|moment| moment > Instant::now()) {
                    return Ok(true);
                }
                self.restart(world);
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
        let top = table.top(self.target()).map(|entry| entry.device);
        Ok(top.is_some_and(|device| self.record.devices.contains(&device)))
    }

    /// Whether whoever asked for it has no answer.
    pub fn is_unfinished(&self) -> bool {
        self.record.phase == Phase::Starting
    }

    /// Whether any place of this namespace shows it, as far as its number tells.
    ///
    /// # Errors
    /// `Internal` when the mount table cannot be read.
    pub fn is_shown(&self) -> Result<bool, Error> {
        Ok(next(&self.situation(&MountTable::read()?)) != Next::End)
    }

    /// For a mount whose target does not show it any more: waits for the end of its helper, and
    /// forgets it. `false`: other places still show it.
    ///
    /// # Errors
    /// `Internal` with what is left.
    pub fn discard(&mut self, world: &World, deadline: Instant) -> Result<bool, Error> {
        if let Some(helper) = &self.helper {
            // It ends by itself when the last place is gone, and may be writing until then.
            helper.wait(END.min(deadline.saturating_duration_since(Instant::now())));
        }
        // Its number may be another file system's by now.
        self.forget_devices_of_others();
        if self.is_shown()? {
            return Ok(false);
        }
        if let Some(helper) = self.helper.take() {
            let ending = helper.stop();
            tracing::info!(mount = self.name, target = %self.target().display(), "unmounted: {ending}");
        }
        self.forget(world)?;
        Ok(true)
    }

    fn target(&self) -> &Path {
        &self.record.spec.target
    }

    fn save(&self, world: &World) -> Result<(), Error> {
        world.records.save(&self.name, &self.record)
    }

    /// Removes every trace of a mount that was not made.
    ///
    /// # Errors
    /// `Internal` with what is left.
    pub fn take_back(&mut self, world: &World) -> Result<(), Error> {
        if let Some(helper) = self.helper.take() {
            helper.kill();
        }
        let top = MountTable::read()?.top(self.target()).map(|entry| entry.device);
        if top.is_some_and(|device| self.record.devices.contains(&device)) {
            detach(self.target())?;
        }
        self.forget(world)
    }

    fn forget(&mut self, world: &World) -> Result<(), Error> {
        self.private.remove()?;
        world.records.forget(&self.name)?;
        world.cgroups.remove(&self.name);
        Ok(())
    }

    /// Nobody on this node shows the mount any more. `false`: it is forgotten.
    fn end(&mut self, world: &World) -> Result<bool, Error> {
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
        self.forget(world)?;
        Ok(false)
    }
}
