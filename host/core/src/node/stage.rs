//! Staging: the volume's file system on the staging path, or its device made ready.
//!
//! A volume whose keys come with a call may name its secret for publishing alone. Staging then has
//! none, so it only writes the volume down; the first publish, which brings the secret, finishes.

use std::path::Path;

use super::outcome::Outcome;
use super::recorded_use::check_compatible_use;
use super::{NodeService, check_path, log_failure};
use crate::error::{Error, ErrorKind};
use crate::plan::{Goal, Plan, Step};
use crate::ports::{Call, CallSecrets, Mounted, RemovePath, StageRecord};
use crate::types::AccessType;
use crate::verbs::{AskExt as _, PlanStage, StageRequest};

/// Which call stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StagedBy {
    /// The staging call itself. One that fails is forgotten.
    Stage,
    /// The first publish, which finishes what staging left. It may fail and come again, and
    /// staging does not come before it, so the volume stays written down.
    Publish,
}

impl NodeService {
    /// Stages the volume. Staged already, the same way: nothing is done and no backend is asked.
    ///
    /// # Errors
    /// `AlreadyExists` when it is staged here for an incompatible use; `FailedPrecondition` when it
    /// is staged elsewhere on this node.
    pub fn stage(
        &self,
        call: &Call,
        request: &StageRequest,
        staging_path: &Path,
    ) -> Result<(), Error> {
        let _guard = self.lock(call, &request.volume, "stage")?;
        let mut request = request.clone();
        self.secret_attributes.take(&mut request.context, &mut request.caller);
        self.stage_locked(call, &request, staging_path, StagedBy::Stage)
            .map_err(|error| self.explain(error, "stage of", &request.volume))
    }

    pub(super) fn stage_locked(
        &self,
        call: &Call,
        request: &StageRequest,
        staging_path: &Path,
        by: StagedBy,
    ) -> Result<(), Error> {
        check_path(staging_path)?;
        let mounted = self.clear_dead(call, staging_path)?;
        let known = self.node.record(&self.driver, &request.volume)?;
        if let Some(record) = &known
            && self.is_staged_as(record, request, staging_path, mounted.as_ref())?
        {
            return Ok(());
        }
        if mounted.is_some() {
            self.check_ours(&request.volume, staging_path)?;
        }
        let goal = match request.capability.access {
            AccessType::Mount { .. } => Goal::StagedFileSystem,
            AccessType::Block => Goal::StagedDevice,
        };
        let plan = self.backend.call::<PlanStage>(call, request)?;
        let plan = self.prepare(plan, goal, false, &request.capability, false)?;
        let mut record = StageRecord {
            driver: self.driver.clone(),
            volume: request.volume.clone(),
            staging_path: staging_path.to_owned(),
            capability: request.capability.clone(),
            context: request.context.clone(),
            publish_context: request.publish_context.clone(),
            device: None,
            serial: None,
            plan: Some(plan),
            complete: false,
            targets: known.as_ref().map(|record| record.targets.clone()).unwrap_or_default(),
        };
        self.node.save(&record)?;
        let secrets = match by {
            StagedBy::Stage if request.caller.secrets.is_empty() => CallSecrets::Later,
            StagedBy::Stage | StagedBy::Publish => CallSecrets::Brought(&request.caller.secrets),
        };
        let wanted = Outcome {
            goal,
            destination: staging_path,
            staged: None,
            only_reads: request.capability.is_read_only(),
            secrets,
        };
        let ran = match &record.plan {
            Some(plan) => self.run_to(call, plan, &request.volume, wanted),
            None => Ok(None),
        };
        match ran {
            Ok(found) => {
                // Held until the record is saved.
                if let Some(found) = &found {
                    record.device = Some(found.path.clone());
                    record.serial.clone_from(&found.serial);
                }
                record.complete = true;
                self.node.save(&record)
            }
            Err(error)
                if error.kind == ErrorKind::Unauthenticated
                    && matches!(secrets, CallSecrets::Later)
                    && record.plan.as_ref().is_some_and(needs_keys) =>
            {
                tracing::info!(%error, volume = %request.volume, "staged by the first publish");
                Ok(())
            }
            Err(error) => {
                if by == StagedBy::Stage && record.targets.is_empty() {
                    log_failure(
                        "forget the volume",
                        self.node.forget(&self.driver, &request.volume),
                    );
                }
                Err(error)
            }
        }
    }

    /// A mount whose disk was taken away answers nothing but errors, so it is not what anybody
    /// wants to find staged. Says what is mounted there then.
    fn clear_dead(&self, call: &Call, staging_path: &Path) -> Result<Option<Mounted>, Error> {
        match self.node.mounted(staging_path)? {
            Some(mounted) if mounted.is_dead => match mounted.elsewhere.first() {
                None => {
                    self.node.unmount(call, staging_path, RemovePath::No)?;
                    self.node.mounted(staging_path)
                }
                Some(other) => Err(Error::precondition(format!(
                    "the disk under {} was taken away while it was mounted, and {} still shows it",
                    staging_path.display(),
                    other.display()
                ))
                .with_hint(
                    "delete the pods on this node that use the volume; then it is mounted anew",
                )),
            },
            mounted => Ok(mounted),
        }
    }

    /// Whether there is nothing left to do. An incomplete record, or one whose mount is gone, means
    /// that there is. `mounted` is what is at the staging path.
    fn is_staged_as(
        &self,
        record: &StageRecord,
        request: &StageRequest,
        staging_path: &Path,
        mounted: Option<&Mounted>,
    ) -> Result<bool, Error> {
        if !record.complete || record.staging_path.as_os_str().is_empty() {
            return Ok(false);
        }
        let is_mount = matches!(record.capability.access, AccessType::Mount { .. });
        if record.staging_path != staging_path {
            if !is_mount || !self.is_mounted_at(&record.staging_path)? {
                return Ok(false);
            }
            return Err(Error::precondition(format!(
                "it is staged on this node already, at {}",
                record.staging_path.display()
            ))
            .with_hint("unstage it there first"));
        }
        if is_mount && mounted.is_none() {
            return Ok(false);
        }
        check_compatible_use(&record.capability, &request.capability)?;
        match mounted.filter(|_| is_mount) {
            Some(mounted) => self.check_same_mount(record, mounted, staging_path).map(|()| true),
            // A raw device has no mount that proves anything: the plan runs again and finds the
            // device, or says that it is gone.
            None => Ok(false),
        }
    }
}

/// Whether a mount helper is to be given a credential.
pub(super) fn needs_keys(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step, Step::MountFuse(fuse) if fuse.credential.is_some()))
}
