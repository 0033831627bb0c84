//! What an earlier driver left on this node: mounts that no record names. They go on, and stand in
//! nobody's way. Left out: taking them away, which needs no record either (`teardown`).

use std::path::Path;

use super::NodeService;
use super::publish::stage_request;
use super::stage::StagedBy;
use crate::error::{Blame, Error, ErrorKind};
use crate::plan::{FindDevice, Step};
use crate::ports::{Call, Mounted, StageRecord};
use crate::types::{AccessType, Caller};
use crate::verbs::{AskExt as _, PlanStage, PublishRequest, StageRequest};

impl NodeService {
    /// Whether the target shows what the helper of an earlier driver serves. No record names it, so
    /// this host mounted nothing there, and it is not what is staged. The path is of one workload
    /// and one volume, and nobody but a driver of this name mounts there. kubelet publishes again
    /// for a workload that has run for days, which goes on with what it has.
    ///
    /// # Errors
    /// `Unavailable` when the helper does not answer, `AlreadyExists` when a workload that is to
    /// read could write.
    pub(super) fn shows_earlier_mount(
        &self,
        call: &Call,
        record: Option<&StageRecord>,
        request: &PublishRequest,
        target: &Path,
        staged: Option<&Mounted>,
    ) -> Result<bool, Error> {
        let is_recorded = |record: &StageRecord| {
            record.targets.iter().any(|published| published.target_path == target)
        };
        if record.is_some_and(is_recorded) {
            return Ok(false);
        }
        let Some(found) = self.node.mounted(target)? else { return Ok(false) };
        let Some(shown) = found.helper_device else { return Ok(false) };
        if staged.and_then(|staged| staged.helper_device) == Some(shown) {
            return Ok(false);
        }
        let hint = "delete the pod: the next one gets a mount that this driver makes and heals";
        let stats = self.node.stats(call, target)?;
        if stats.usage.is_none() {
            return Err(Error::unavailable(format!(
                "an earlier driver mounted {}, and this driver does not start its helper again: {}",
                target.display(),
                stats.condition.message
            ))
            .with_hint(hint));
        }
        if (request.read_only || request.capability.is_read_only()) && !found.is_read_only {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                Blame::User,
                format!("an earlier driver mounted {} writable", target.display()),
            )
            .with_hint(hint));
        }
        tracing::info!(volume = %request.volume, target = %target.display(), "an earlier driver's mount is left as it is until its pod ends");
        Ok(true)
    }

    /// kubelet does not stage a volume again while pods of the node use it, and an earlier driver
    /// may have staged nothing, but shown those pods a mount of its own. A helper's mount needs
    /// nothing of that driver, so this publish stages it, and says so. Not served by a helper:
    /// nothing is done. For when nothing is mounted at the staging path.
    pub(super) fn stage_by_helper(
        &self,
        call: &Call,
        known: &mut Option<StageRecord>,
        request: &PublishRequest,
        staging: &Path,
    ) -> Result<bool, Error> {
        let is_elsewhere =
            |record: &StageRecord| !self.node.is_same_path(&record.staging_path, staging);
        if request.capability.access == AccessType::Block
            || known.as_ref().is_some_and(is_elsewhere)
        {
            return Ok(false);
        }
        let stage = match &*known {
            Some(record) => stage_request(record, &request.caller),
            None => stage_request_of(request, request.caller.clone()),
        };
        let unstaged =
            |error: Error| error.context(format!("nothing was staged at {}", staging.display()));
        let plan = self.backend.call::<PlanStage>(call, &stage).map_err(unstaged)?;
        if !plan.steps.iter().any(|step| matches!(step, Step::MountFuse(_))) {
            return Ok(false);
        }
        tracing::info!(volume = %request.volume, staging = %staging.display(), "nothing is staged, so publishing stages it");
        self.stage_locked(call, &stage, staging, StagedBy::Publish).map_err(|error| {
            let lacks_keys =
                error.kind == ErrorKind::Unauthenticated && request.caller.secrets.is_empty();
            let error = unstaged(error);
            if !lacks_keys {
                return error;
            }
            error.with_hint(
                "this call brought no secret: name it in `nodePublishSecretRef` too, or delete the \
                 volume's other pods on this node, so that kubelet stages it again",
            )
        })?;
        *known = self.node.record(&self.driver, &request.volume)?;
        Ok(true)
    }

    /// A volume that an earlier driver staged has no record; what the backend would look for says
    /// which disk it is.
    pub(super) fn check_unrecorded(
        &self,
        call: &Call,
        request: &PublishRequest,
        mounted: &Mounted,
        staging: &Path,
    ) -> Result<(), Error> {
        let Some(shown) = &mounted.serial else { return Ok(()) };
        let stage = stage_request_of(request, Caller::default());
        let plan = match self.backend.call::<PlanStage>(call, &stage) {
            Ok(plan) => plan,
            Err(error) => {
                tracing::warn!(%error, volume = %request.volume, "cannot tell which disk it is");
                return Ok(());
            }
        };
        match plan.find_device().and_then(FindDevice::serial) {
            Some(serial) if serial != shown => Err(Error::precondition(format!(
                "{} shows a disk with serial {shown}, and the volume is the one with serial \
                 {serial}",
                staging.display()
            ))
            .with_hint("another volume is mounted there; unmount that first")),
            Some(_) | None => Ok(()),
        }
    }
}

/// What kubelet would ask to be staged before it asked for this.
fn stage_request_of(request: &PublishRequest, caller: Caller) -> StageRequest {
    StageRequest {
        volume: request.volume.clone(),
        capability: request.capability.clone(),
        context: request.context.clone(),
        publish_context: request.publish_context.clone(),
        caller,
    }
}
