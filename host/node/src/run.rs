//! Runs a plan: checks it as a whole, then makes its steps true one by one, and takes back what
//! this call did when one fails. How a step is made true is in its own file in `steps/`.

use std::path::{Path, PathBuf};

use wharf_core::plan::{DirectoryBase, MountPlace, Plan, Step};
use wharf_core::policy::NodePolicy;
use wharf_core::ports::{Call, CallSecrets, PlanRun};
use wharf_core::{Error, ErrorKind};

use crate::context::NodeContext;
use crate::disk::device::Device;
use crate::disk::ownership::RecordedUses;
use crate::mounts::paths::MountTarget;
use crate::mounts::table::MountTable;
use crate::remote::Session;
use crate::steps::mount_nfs::Unseen;
use crate::steps::performer;
use crate::undo::UndoLog;

/// One run of one plan, and what its steps did so far.
pub(crate) struct Run<'a> {
    pub context: &'a NodeContext,
    pub call: &'a Call,
    pub policy: &'a NodePolicy,
    /// Whose disk the found one has to be, read once nobody else decides about that disk.
    pub recorded_uses: &'a dyn Fn() -> Result<RecordedUses, Error>,
    /// The path of the call.
    pub destination: &'a Path,
    /// The staging path, in a call that has one besides its own path.
    pub staged: Option<&'a Path>,
    /// What came with the call.
    pub secrets: CallSecrets<'a>,
    /// What the last `find-device` found.
    pub device: Option<Device>,
    /// Whether the plan grows the file system.
    pub grows: bool,
    /// What the plan works on out of sight.
    pub purpose: String,
    /// The export that the plan mounted out of sight.
    pub scratch: Option<Scratch>,
    /// Whether a later step works on what is mounted on the call's path.
    pub is_worked_on_later: bool,
    /// The mount of the call's path, while steps work on it that have to be done before anybody
    /// sees it.
    pub unseen: Option<Unseen>,
    pub undo: UndoLog,
}

/// A mount that only this plan sees: it lives in a process of its own and is gone with it.
pub(crate) struct Scratch {
    pub session: Session,
    /// What is mounted, for an error.
    pub shown: String,
}

impl<'a> Run<'a> {
    /// Nothing has happened yet.
    pub fn new(
        context: &'a NodeContext,
        call: &'a Call,
        run: &PlanRun<'a>,
        recorded_uses: &'a dyn Fn() -> Result<RecordedUses, Error>,
    ) -> Self {
        Self {
            context,
            call,
            policy: run.policy,
            recorded_uses,
            destination: run.destination,
            staged: run.staged,
            secrets: run.secrets,
            device: None,
            grows: false,
            purpose: String::new(),
            scratch: None,
            is_worked_on_later: false,
            unseen: None,
            undo: UndoLog::default(),
        }
    }

    /// Makes the plan true, and returns the device that it found.
    pub fn finish(mut self, plan: &Plan) -> Result<Option<Device>, Error> {
        self.policy.check(plan)?;
        plan.steps.iter().try_for_each(|step| performer(step).validate())?;
        self.grows = plan.steps.iter().any(|step| matches!(step, Step::Grow(_)));
        self.purpose = purpose(plan);
        match self.steps(plan) {
            Ok(()) => {
                self.undo.commit();
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
                    step.name()
                )));
            }
            tracing::debug!(
                step = step.describe(),
                destination = %self.destination.display(),
                "making a step true"
            );
            let later = plan.steps.get(index + 1..).unwrap_or_default();
            self.is_worked_on_later = later.iter().any(works_on_target);
            let performed = performer(step).perform(self).and_then(|()| self.show_when_done());
            let Err(error) = performed else { continue };
            if error.kind == ErrorKind::NotFound && is_of_use_to_takers_alone(plan, index) {
                tracing::warn!(step = step.describe(), "nothing is left to take away: {error}");
                return Ok(());
            }
            return Err(error.context(format!("step {} ({})", index + 1, step.name())));
        }
        Ok(())
    }

    /// kubelet takes a mount for a finished one; so it appears after the last step that works on
    /// it.
    fn show_when_done(&mut self) -> Result<(), Error> {
        match self.unseen.take_if(|_| !self.is_worked_on_later) {
            Some(unseen) => unseen.show(self),
            None => Ok(()),
        }
    }

    /// Where the mount lands; the directories that lead there are made when they are missing.
    pub fn target(&mut self) -> Result<MountTarget, Error> {
        self.context.roots.locate_or_create(self.destination, &mut self.undo)
    }

    /// What is staged is always a mount: a plain directory would be the node's own disk.
    pub fn staged_target(&self) -> Result<MountTarget, Error> {
        let path = self.staged.ok_or_else(|| {
            Error::precondition(
                "the plan shows what was staged, but the call names no staging path",
            )
        })?;
        let target = self.context.roots.locate(path)?.ok_or_else(|| not_staged(path))?;
        if MountTable::read()?.top(target.path()).is_none() {
            return Err(not_staged(path));
        }
        Ok(target)
    }

    /// What the last `find-device` found.
    pub fn found_device(&self) -> Result<&Device, Error> {
        self.device.as_ref().ok_or_else(|| {
            Error::invalid("this step needs a device, and no step before it looks for one")
        })
    }

    /// The path of a directory that the operator granted under this name, links resolved.
    pub fn granted_directory(&self, name: &str) -> Result<PathBuf, Error> {
        let root = self
            .policy
            .directories
            .get(name)
            .ok_or_else(|| Error::denied(format!("the directory `{name}` is not granted")))?;
        root.canonicalize().map_err(|error| {
            Error::precondition(format!(
                "the granted directory `{name}` ({}) cannot be used: {error}",
                root.display()
            ))
        })
    }
}

/// Whether a step mounts out of sight what all steps after it only move aside or remove something
/// in. Where that does not exist, they are true: what is not there is already aside.
fn is_of_use_to_takers_alone(plan: &Plan, index: usize) -> bool {
    let (Some(Step::MountNfs(mount)), Some(after)) =
        (plan.steps.get(index), plan.steps.get(index + 1..))
    else {
        return false;
    };
    let takes_away = |step: &Step| {
        matches!(step, Step::MoveAside(_) | Step::RemoveTree(_))
            && step.directory().is_some_and(|at| at.base == DirectoryBase::Scratch)
    };
    mount.place == MountPlace::Scratch && !after.is_empty() && after.iter().all(takes_away)
}

fn works_on_target(step: &Step) -> bool {
    step.directory().is_some_and(|directory| directory.base == DirectoryBase::Target)
}

/// The directories that a plan works on out of sight: a volume's own, so they name it, and whoever
/// tries again names the same. A new name for one may be another each time (an archive says when).
fn purpose(plan: &Plan) -> String {
    let mut paths: Vec<&str> = plan
        .steps
        .iter()
        .filter_map(Step::directory)
        .filter(|directory| directory.base == DirectoryBase::Scratch)
        .map(|directory| directory.path.as_str())
        .collect();
    paths.dedup();
    format!("work in {}", paths.join(", "))
}

pub(crate) fn not_staged(path: &Path) -> Error {
    Error::precondition(format!("nothing is staged at {}", path.display()))
        .with_hint("the volume has to be staged there first")
}
