//! Publishing: what is staged, or the device itself, at a workload's path.

use std::path::Path;

use super::outcome::Outcome;
use super::recorded_use::{check_compatible_use, check_same_group};
use super::stage::StagedBy;
use super::{NodeService, check_path, log_failure};
use crate::error::{Blame, Error, ErrorKind};
use crate::plan::{FindDevice, Goal, Plan};
use crate::ports::{Call, CallSecrets, Mounted, PublishRecord, StageRecord};
use crate::types::{AccessMode, AccessType, Caller, Capability};
use crate::verbs::{AskExt as _, PlanPublish, PublishRequest, StageRequest};

impl NodeService {
    /// Publishes the volume for one workload. Published already, the same way: no backend is asked,
    /// and nothing is done but that a mount helper gets the keys of this call, or those that its
    /// account has by now.
    ///
    /// # Errors
    /// `AlreadyExists` when it is published there differently; `FailedPrecondition` when it is not
    /// staged, or belongs to one workload only.
    pub fn publish(
        &self,
        call: &Call,
        request: &PublishRequest,
        target: &Path,
        staging: Option<&Path>,
    ) -> Result<(), Error> {
        let _guard = self.lock(call, &request.volume, "publish")?;
        let mut request = request.clone();
        self.secret_attributes.take(&mut request.context, &mut request.caller);
        self.publish_locked(call, &request, target, staging)
            .map_err(|error| self.explain(error, "publish of", &request.volume))
    }

    fn publish_locked(
        &self,
        call: &Call,
        request: &PublishRequest,
        target: &Path,
        staging: Option<&Path>,
    ) -> Result<(), Error> {
        check_path(target)?;
        if let Some(staging) = staging {
            check_path(staging)?;
        }
        let mut known = self.node.record(&self.driver, &request.volume)?;
        self.check_is_target(known.as_ref(), target, staging)?;
        if let (Some(record), Some(staging)) = (&known, staging)
            && is_half_staged(record, staging)
        {
            let stage = stage_request(record, &request.caller);
            self.stage_locked(call, &stage, staging, StagedBy::Publish)?;
            known = self.node.record(&self.driver, &request.volume)?;
        }
        if let Some(record) = &known {
            if self.is_published_as(record, request, target)? {
                return self.renew_keys(call, record, &request.caller.secrets, target);
            }
            self.check_single_workload(record, request, target)?;
        }
        self.check_ours(&request.volume, target)?;
        if let Some(staging) = staging {
            let mut staged = match request.capability.access {
                AccessType::Mount { .. } => self.node.mounted(staging)?,
                AccessType::Block => None,
            };
            if self.shows_earlier_mount(call, known.as_ref(), request, target, staged.as_ref())? {
                return Ok(());
            }
            if staged.is_none() && self.stage_by_helper(call, &mut known, request, staging)? {
                staged = self.node.mounted(staging)?;
            }
            self.check_staged(call, known.as_ref(), request, staging, staged)?;
        }
        let goal = match request.capability.access {
            AccessType::Mount { .. } => Goal::PublishedFileSystem,
            AccessType::Block => Goal::PublishedDevice,
        };
        let plan = self.backend.call::<PlanPublish>(call, request)?;
        let plan =
            self.prepare(plan, goal, staging.is_some(), &request.capability, request.read_only)?;
        let mut record = known.unwrap_or_else(|| self.record_of_publish(request, staging));
        check_plan_is_for(&record, &plan)?;
        record.targets.retain(|published| published.target_path != target);
        let before = record.clone();
        let published = PublishRecord {
            target_path: target.to_owned(),
            capability: request.capability.clone(),
            read_only: request.read_only,
            plan: Some(plan.clone()),
            complete: plan.ends_with_its_mount(),
        };
        record.targets.push(published.clone());
        self.node.save(&record)?;
        let wanted = Outcome {
            goal,
            destination: target,
            staged: staging,
            only_reads: request.read_only || request.capability.is_read_only(),
            secrets: CallSecrets::Brought(&request.caller.secrets),
        };
        self.run_to(call, &plan, &request.volume, wanted).inspect_err(|_| {
            log_failure("write down what is published", self.save_or_forget(&before));
        })?;
        if published.complete {
            return Ok(());
        }
        record.targets.pop();
        record.targets.push(PublishRecord { complete: true, ..published });
        self.node.save(&record)
    }

    /// A target is neither where this volume is staged nor where another one is.
    fn check_is_target(
        &self,
        record: Option<&StageRecord>,
        target: &Path,
        staging: Option<&Path>,
    ) -> Result<(), Error> {
        if staging.is_some_and(|staging| self.node.is_same_path(staging, target)) {
            return Err(Error::invalid(format!(
                "the target path {} is the staging path; a workload gets a path of its own",
                target.display()
            )));
        }
        self.check_not_staging(record, target)
    }

    /// The record of a volume that was staged before there were records, or that needs no staging.
    fn record_of_publish(&self, request: &PublishRequest, staging: Option<&Path>) -> StageRecord {
        StageRecord {
            driver: self.driver.clone(),
            volume: request.volume.clone(),
            staging_path: staging.map(Path::to_owned).unwrap_or_default(),
            capability: request.capability.clone(),
            context: request.context.clone(),
            publish_context: request.publish_context.clone(),
            device: None,
            serial: None,
            plan: None,
            complete: true,
            targets: Vec::new(),
        }
    }

    fn is_published_as(
        &self,
        record: &StageRecord,
        request: &PublishRequest,
        target: &Path,
    ) -> Result<bool, Error> {
        let Some(published) =
            record.targets.iter().find(|published| published.target_path == target)
        else {
            return Ok(false);
        };
        let Some(mounted) = self.node.mounted(target)? else { return Ok(false) };
        if mounted.is_dead || !published.complete {
            return Ok(false);
        }
        check_compatible_use(&published.capability, &request.capability)?;
        self.check_same_mount(record, &mounted, target)?;
        if published.read_only != request.read_only {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                Blame::User,
                format!("it is published at {} with another read-only setting", target.display()),
            ));
        }
        // Older kernels make a mount read-only in a second step, before which this host may have
        // been killed.
        let only_reads = request.read_only || request.capability.is_read_only();
        Ok(mounted.is_read_only || !only_reads)
    }

    fn check_single_workload(
        &self,
        record: &StageRecord,
        request: &PublishRequest,
        target: &Path,
    ) -> Result<(), Error> {
        let is_exclusive =
            |capability: &Capability| capability.mode == AccessMode::SingleNodeSingleWriter;
        for other in record.targets.iter().filter(|other| other.target_path != target) {
            if (is_exclusive(&other.capability) || is_exclusive(&request.capability))
                && self.is_mounted_at(&other.target_path)?
            {
                return Err(Error::precondition(format!(
                    "one workload only may use it, and it is published at {}",
                    other.target_path.display()
                )));
            }
        }
        Ok(())
    }

    fn check_staged(
        &self,
        call: &Call,
        record: Option<&StageRecord>,
        request: &PublishRequest,
        staging: &Path,
        mounted: Option<Mounted>,
    ) -> Result<(), Error> {
        let own = record.filter(|record| record.staging_path == staging);
        let not_staged = || {
            Error::precondition(format!("it is not staged at {}", staging.display()))
                .with_hint("it has to be staged there first")
        };
        if request.capability.access == AccessType::Block {
            let is_ready = own.is_some_and(|record| {
                record.complete && record.capability.access == AccessType::Block
            });
            return if is_ready { Ok(()) } else { Err(not_staged()) };
        }
        let mounted = mounted.ok_or_else(not_staged)?;
        match own {
            Some(record) => {
                check_same_group(&record.capability, &request.capability)?;
                self.check_same_mount(record, &mounted, staging)
            }
            None => {
                self.check_ours(&request.volume, staging)?;
                self.check_unrecorded(call, request, &mounted, staging)
            }
        }
    }
}

/// The plan looks for the disk that is staged, and for no other.
fn check_plan_is_for(record: &StageRecord, plan: &Plan) -> Result<(), Error> {
    match (&record.serial, plan.find_device().and_then(FindDevice::serial)) {
        (Some(staged), Some(wanted)) if staged != wanted => Err(Error::precondition(format!(
            "the plan looks for the disk with serial {wanted}, and the one with serial {staged} \
             is staged"
        ))
        .with_hint("unstage the volume first; it is another disk by now")),
        _ => Ok(()),
    }
}

/// Staging was killed on the way, or had no keys. kubelet does not call it again when it finds the
/// mount there, or has had its answer, so publishing finishes it.
fn is_half_staged(record: &StageRecord, staging: &Path) -> bool {
    !record.complete && record.staging_path == staging
}

/// What the record was written for, with the secrets of the call that finishes it.
pub(super) fn stage_request(record: &StageRecord, caller: &Caller) -> StageRequest {
    StageRequest {
        volume: record.volume.clone(),
        capability: record.capability.clone(),
        context: record.context.clone(),
        publish_context: record.publish_context.clone(),
        caller: caller.clone(),
    }
}
