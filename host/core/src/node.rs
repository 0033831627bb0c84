//! Node verbs: what is already true is left alone, the rest is a plan from the backend, run by the
//! [`Node`] port. One file below `node/` for each verb and its opposite.
//!
//! Idempotency is decided here, once, from the stage record and the mount table; where the two
//! differ the mount table wins, also about which disk it is that is mounted. Unstage and unpublish
//! make no backend call: they work after a crash, a swap, or the removal of the backend.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

pub use self::secret_attributes::SecretAttributes;
use crate::backoff::Backoff;
use crate::error::Error;
use crate::inflight::{InFlight, UnderWay};
use crate::plan::{Goal, Plan};
use crate::policy::NodePolicy;
use crate::ports::{
    Backend, Call, CallSecrets, Clock, FoundDevice, Node, PlanRun, StageRecord, Stats,
};
use crate::types::{Capability, Description, NodeDescription, VolumeId};
use crate::verbs::{
    AskExt as _, DescribeNode, PlanStage, StageRequest, Translate, TranslateRequest, Translated,
};

mod expand;
mod locking;
mod outcome;
mod publish;
mod recorded_use;
mod renew;
mod secret_attributes;
mod stage;
mod takeover;
mod teardown;

/// The node verbs of one driver.
pub struct NodeService {
    driver: String,
    backend: Arc<dyn Backend>,
    node: Arc<dyn Node>,
    clock: Arc<dyn Clock>,
    policy: NodePolicy,
    secret_attributes: SecretAttributes,
    in_flight: InFlight,
}

impl NodeService {
    /// `policy`: what the operator lets this backend's plans do.
    pub fn new(
        driver: impl Into<String>,
        backend: Arc<dyn Backend>,
        node: Arc<dyn Node>,
        clock: Arc<dyn Clock>,
        policy: NodePolicy,
    ) -> Self {
        let in_flight = InFlight::new(Arc::clone(&clock));
        let secret_attributes = SecretAttributes::default();
        Self { driver: driver.into(), backend, node, clock, policy, secret_attributes, in_flight }
    }

    /// Attributes of a volume, without regard to case, that hold a secret in plain text. A call
    /// that stages or publishes has them as its secrets, if it brings none.
    #[must_use]
    pub fn with_secret_attributes(self, names: Vec<String>) -> Self {
        Self { secret_attributes: SecretAttributes::new(names), ..self }
    }

    /// The calls that are being worked on, the oldest first.
    pub fn under_way(&self) -> Vec<UnderWay> {
        self.in_flight.under_way()
    }

    /// This node, as the backend sees it. It may ask the cloud, so what is expected to pass is
    /// repeated until the caller's time is over.
    pub fn describe(&self, call: &Call) -> Result<NodeDescription, Error> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.backend.call::<DescribeNode>(call, &()) {
                Ok(description) => return Ok(description),
                Err(error) => error,
            };
            let wait = backoff.next_pause().max(error.retry_after.unwrap_or_default());
            if !error.kind.is_transient()
                || call.is_cancelled()
                || call.remaining(self.clock.now()) <= wait
            {
                return Err(error.context("description of this node").context(&self.driver));
            }
            self.clock.sleep(wait, call);
        }
    }

    /// What the active backend says of itself.
    pub fn backend_description(&self, call: &Call) -> Result<Arc<Description>, Error> {
        self.backend.description(call)
    }

    /// The same without waiting for anything; `None` where that is not possible now.
    pub fn description_at_hand(&self) -> Option<Arc<Description>> {
        self.backend.description_at_hand()
    }

    /// FlexVolume options in the words of the contract.
    pub fn translate(&self, call: &Call, request: &TranslateRequest) -> Result<Translated, Error> {
        self.backend.call::<Translate>(call, request)
    }

    /// Waits until the node sees the volume's device, and says which it is. Changes nothing.
    pub fn await_attached(&self, call: &Call, request: &StageRequest) -> Result<PathBuf, Error> {
        let plan = self.backend.call::<PlanStage>(call, request)?;
        self.node
            .find_device(call, &plan, &self.policy)
            .map_err(|error| self.explain(error, "device of", &request.volume))
    }

    /// Space and condition of a volume that is staged or published here. What is abnormal is
    /// logged: a caller may look at the space alone.
    ///
    /// # Errors
    /// `NotFound` when it is not here. A volume that does not answer is no error.
    pub fn stats(&self, call: &Call, volume: &VolumeId, path: &Path) -> Result<Stats, Error> {
        self.known(volume, path)?;
        let stats = self
            .node
            .stats(call, path)
            .map_err(|error| self.explain(error, "statistics of", volume))?;
        if stats.condition.abnormal {
            tracing::warn!(%volume, driver = %self.driver, "{}", stats.condition.message);
        }
        Ok(stats)
    }

    /// Whether something is mounted at exactly this path.
    pub fn is_staged(&self, path: &Path) -> Result<bool, Error> {
        self.node.is_mounted(path)
    }

    /// The block device that is mounted at exactly this path, if one is.
    pub fn mounted_device(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        Ok(self.node.mounted(path)?.and_then(|mounted| mounted.device))
    }

    fn known(&self, volume: &VolumeId, path: &Path) -> Result<Option<StageRecord>, Error> {
        let record = self.node.record(&self.driver, volume)?;
        if record.is_none() && !self.node.is_mounted(path)? {
            return Err(Error::not_found(format!("volume {volume} is not on this node")));
        }
        Ok(record)
    }

    /// The backend's plan as the host lets it run: fit for the call, and only reading where only
    /// reading is asked for, whatever the backend made of it.
    fn prepare(
        &self,
        plan: Plan,
        goal: Goal,
        is_staged: bool,
        capability: &Capability,
        read_only: bool,
    ) -> Result<Plan, Error> {
        plan.check_goal(goal, is_staged)?;
        let is_shared = capability.mode.is_multi_node();
        let only_reads = read_only || capability.is_read_only();
        Ok(if only_reads { plan.for_reading(is_shared) } else { plan })
    }

    fn run(
        &self,
        call: &Call,
        plan: &Plan,
        volume: &VolumeId,
        destination: &Path,
        staged: Option<&Path>,
        secrets: CallSecrets<'_>,
    ) -> Result<Option<FoundDevice>, Error> {
        let run = PlanRun {
            plan,
            policy: &self.policy,
            driver: &self.driver,
            volume,
            destination,
            staged,
            secrets,
        };
        self.node.run(call, &run)
    }

    fn explain(&self, error: Error, verb: &str, volume: &VolumeId) -> Error {
        error.context(format!("{verb} volume {volume}")).context(&self.driver)
    }
}

/// Paths that name a place by themselves; nothing else is ever written into a record.
fn check_path(path: &Path) -> Result<(), Error> {
    let has_parent = path.components().any(|component| component == Component::ParentDir);
    if path.is_absolute() && !has_parent {
        return Ok(());
    }
    let shown: String = path.to_string_lossy().chars().take(200).collect();
    Err(Error::invalid(format!("`{shown}` is not an absolute path without `..`")))
}

/// For what is right to do and wrong to fail for.
fn log_failure(what: &str, done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(%error, "cannot {what}");
    }
}
