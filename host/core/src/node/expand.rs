//! Expanding on the node: what is mounted, as large as its device.

use std::path::Path;

use super::{NodeService, check_path};
use crate::error::Error;
use crate::plan::{DeviceMatch, Goal, Plan, Step};
use crate::ports::{Call, CallSecrets, StageRecord};
use crate::types::AccessType;
use crate::verbs::{AskExt as _, NodeExpandRequest, PlanExpand};

impl NodeService {
    /// Makes a grown volume usable on this node, and says how large it is. Large enough already:
    /// nothing is done.
    ///
    /// # Errors
    /// `NotFound` when this node has neither a record of the volume nor anything mounted at `path`;
    /// `FailedPrecondition` when nothing of the volume is mounted there.
    pub fn expand(
        &self,
        call: &Call,
        request: &NodeExpandRequest,
        path: &Path,
    ) -> Result<u64, Error> {
        let _guard = self.lock(call, &request.volume, "node expansion")?;
        self.expand_locked(call, request, path)
            .map_err(|error| self.explain(error, "node expansion of", &request.volume))
    }

    fn expand_locked(
        &self,
        call: &Call,
        request: &NodeExpandRequest,
        path: &Path,
    ) -> Result<u64, Error> {
        check_path(path)?;
        let record = self.known(&request.volume, path)?;
        let request = NodeExpandRequest {
            capability: request
                .capability
                .clone()
                .or_else(|| record.as_ref().map(|record| record.capability.clone())),
            context: if request.context.is_empty() {
                record.as_ref().map(|record| record.context.clone()).unwrap_or_default()
            } else {
                request.context.clone()
            },
            publish_context: if request.publish_context.is_empty() {
                record.as_ref().map(|record| record.publish_context.clone()).unwrap_or_default()
            } else {
                request.publish_context.clone()
            },
            ..request.clone()
        };
        let access = request.capability.as_ref().map(|capability| &capability.access);
        if access != Some(&AccessType::Block) {
            self.check_mounted(record.as_ref(), path)?;
        }
        let mut plan = self.backend.call::<PlanExpand>(call, &request)?;
        plan.check_goal(Goal::Grown, false)?;
        if let Some(record) = &record {
            look_for_staged(&mut plan, record);
        }
        let secrets = CallSecrets::Brought(&request.caller.secrets);
        let found = self.run(call, &plan, &request.volume, path, None, secrets)?;
        let measured = found
            .map(|found| found.path)
            .or(record.and_then(|record| record.device))
            .unwrap_or_else(|| path.to_owned());
        self.node.device_size(&measured)?.ok_or_else(|| {
            Error::internal(format!("{} has no block device behind it", measured.display()))
        })
    }

    fn check_mounted(&self, record: Option<&StageRecord>, path: &Path) -> Result<(), Error> {
        let mounted = self.node.mounted(path)?.ok_or_else(|| {
            Error::precondition(format!(
                "nothing is mounted at {}, so nothing there can grow",
                path.display()
            ))
            .with_hint("it grows when it is staged the next time")
        })?;
        record.map_or(Ok(()), |record| self.check_same_mount(record, &mounted, path))
    }
}

/// What was staged is what grows. A backend that is asked to expand may know less than one that was
/// asked to stage: not what `attach` answered.
fn look_for_staged(plan: &mut Plan, record: &StageRecord) {
    let Some(serial) = &record.serial else { return };
    for step in &mut plan.steps {
        if let Step::FindDevice(find) = step {
            find.matches = vec![DeviceMatch::Serial(serial.clone())];
        }
    }
}
