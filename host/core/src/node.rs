//! Node verbs: what is already true is left alone, the rest is a plan from the backend, run by the
//! [`Node`] port.
//!
//! Idempotency is decided here, once, from the stage record and the mount table; where the two
//! differ the mount table wins. Unstage and unpublish make no backend call: they work after a
//! crash, a swap, or the removal of the backend.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind};
use crate::inflight::{InFlight, InFlightGuard};
use crate::pacing::Backoff;
use crate::policy::NodePolicy;
use crate::ports::{
    Backend, Call, Clock, Node, NodeGuard, PublishRecord, RemovePath, StageRecord, Usage,
};
use crate::types::{
    AccessMode, AccessType, Capability, Description, NodeDescription, NodeExpandRequest,
    PublishRequest, StageRequest, TranslateRequest, Translated, VolumeId,
};

/// The node verbs of one driver.
pub struct NodeService {
    driver: String,
    backend: Arc<dyn Backend>,
    node: Arc<dyn Node>,
    clock: Arc<dyn Clock>,
    policy: NodePolicy,
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
        Self { driver: driver.into(), backend, node, clock, policy, in_flight: InFlight::default() }
    }

    /// This node, as the backend sees it. It may ask the cloud, so what is expected to pass is
    /// repeated until the caller's time is over.
    pub fn describe(&self, call: &Call) -> Result<NodeDescription, Error> {
        let mut backoff = Backoff::default();
        loop {
            let error = match self.backend.describe_node(call) {
                Ok(description) => return Ok(description),
                Err(error) => error,
            };
            let wait = backoff.next(error.retry_after);
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
    pub fn backend_description(&self, call: &Call) -> Result<Description, Error> {
        self.backend.describe(call)
    }

    /// FlexVolume options in the words of the contract.
    pub fn translate(&self, call: &Call, request: &TranslateRequest) -> Result<Translated, Error> {
        self.backend.translate(call, request)
    }

    /// Waits until the node sees the volume's device, and says which it is. Changes nothing.
    pub fn await_attached(&self, call: &Call, request: &StageRequest) -> Result<PathBuf, Error> {
        let plan = self.backend.plan_stage(call, request)?;
        self.node
            .find_device(call, &plan, &self.policy)
            .map_err(|error| self.explain(error, "device of", &request.volume))
    }

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
        let _held = self.hold(call, &request.volume, "stage")?;
        self.stage_held(call, request, staging_path)
            .map_err(|error| self.explain(error, "stage of", &request.volume))
    }

    fn stage_held(
        &self,
        call: &Call,
        request: &StageRequest,
        staging_path: &Path,
    ) -> Result<(), Error> {
        self.clear_dead(call, staging_path)?;
        let known = self.node.record(&self.driver, &request.volume)?;
        if let Some(record) = &known
            && self.is_staged_as(record, request, staging_path)?
        {
            return Ok(());
        }
        let plan = self.backend.plan_stage(call, request)?;
        let mut record = StageRecord {
            driver: self.driver.clone(),
            volume: request.volume.clone(),
            staging_path: staging_path.to_owned(),
            capability: request.capability.clone(),
            context: request.context.clone(),
            publish_context: request.publish_context.clone(),
            device: None,
            complete: false,
            targets: known.as_ref().map(|record| record.targets.clone()).unwrap_or_default(),
        };
        self.node.save(&record)?;
        match self.node.run(call, &plan, &self.policy, staging_path, None) {
            Ok(device) => {
                record.device = device;
                record.complete = true;
                self.node.save(&record)
            }
            Err(error) => {
                if record.targets.is_empty() {
                    self.node.forget(&self.driver, &request.volume)?;
                }
                Err(error)
            }
        }
    }

    /// A mount whose disk was taken away answers nothing but errors, so it is not what anybody
    /// wants to find staged.
    fn clear_dead(&self, call: &Call, staging_path: &Path) -> Result<(), Error> {
        match self.node.mounted(staging_path)? {
            Some(mounted) if mounted.is_dead => match mounted.elsewhere.first() {
                None => self.node.unmount(call, staging_path, RemovePath::No),
                Some(other) => Err(Error::precondition(format!(
                    "the disk under {} was taken away while it was mounted, and {} still shows it",
                    staging_path.display(),
                    other.display()
                ))
                .with_hint(
                    "delete the pods on this node that use the volume; then it is mounted anew",
                )),
            },
            Some(_) | None => Ok(()),
        }
    }

    /// Whether there is nothing left to do. An incomplete record, or one whose mount is gone, means
    /// that there is.
    fn is_staged_as(
        &self,
        record: &StageRecord,
        request: &StageRequest,
        staging_path: &Path,
    ) -> Result<bool, Error> {
        if !record.complete || record.staging_path.as_os_str().is_empty() {
            return Ok(false);
        }
        let is_live = match record.capability.access {
            AccessType::Mount { .. } => self.node.is_mounted(&record.staging_path)?,
            AccessType::Block => record.staging_path == staging_path,
        };
        if !is_live {
            return Ok(false);
        }
        if record.staging_path != staging_path {
            return Err(Error::precondition(format!(
                "it is staged on this node already, at {}",
                record.staging_path.display()
            ))
            .with_hint("unstage it there first"));
        }
        check_same_use(&record.capability, &request.capability)?;
        // A raw device has no mount that proves anything: the plan runs again and finds the device,
        // or says that it is gone.
        Ok(matches!(record.capability.access, AccessType::Mount { .. }))
    }

    /// Undoes [`NodeService::stage`]. Not staged: nothing is done.
    ///
    /// # Errors
    /// `FailedPrecondition` while a workload still uses it.
    pub fn unstage(
        &self,
        call: &Call,
        volume: &VolumeId,
        staging_path: &Path,
    ) -> Result<(), Error> {
        let _held = self.hold_to_leave(call, volume, "unstage")?;
        let record = self.record_to_leave(volume);
        self.check_ours(volume, staging_path)
            .and_then(|()| self.unstage_held(call, record, staging_path))
            .map_err(|error| self.explain(error, "unstage of", volume))
    }

    /// [`NodeService::unstage`] by path alone, for a caller that knows nothing else. Works without
    /// a record.
    pub fn unstage_path(&self, call: &Call, path: &Path) -> Result<(), Error> {
        let (_held, record) = self.hold_path(call, path, "unstage", |record| {
            record.targets.iter().all(|target| target.target_path != path)
        })?;
        self.unstage_held(call, record, path)
            .map_err(|error| error.context(format!("unstage of {}", path.display())))
    }

    fn unstage_held(
        &self,
        call: &Call,
        record: Option<StageRecord>,
        staging_path: &Path,
    ) -> Result<(), Error> {
        let Some(record) = record else {
            // Nothing says where it is published but the mounts themselves.
            let elsewhere = self
                .node
                .mounted(staging_path)?
                .map(|mounted| mounted.elsewhere)
                .unwrap_or_default();
            elsewhere.first().map_or(Ok(()), |path| Err(still_published(path)))?;
            return self.node.unmount(call, staging_path, RemovePath::No);
        };
        self.check_unused(&record)?;
        if record.staging_path != staging_path && self.node.is_mounted(&record.staging_path)? {
            return self.node.unmount(call, staging_path, RemovePath::No);
        }
        // The record goes first: kubelet does not repeat a call that was killed after the unmount,
        // and one that was killed before it finds the mount by its path.
        warn_only("forget the volume", self.node.forget(&self.driver, &record.volume));
        self.node
            .unmount(call, staging_path, RemovePath::No)
            .or_else(|error| self.node.save(&record).and(Err(error)))
    }

    fn check_unused(&self, record: &StageRecord) -> Result<(), Error> {
        for target in &record.targets {
            if self.node.is_mounted(&target.target_path)? {
                return Err(still_published(&target.target_path));
            }
        }
        Ok(())
    }

    /// Publishes the volume for one workload. Published already, the same way: nothing is done and
    /// no backend is asked.
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
        let _held = self.hold(call, &request.volume, "publish")?;
        self.publish_held(call, request, target, staging)
            .map_err(|error| self.explain(error, "publish of", &request.volume))
    }

    fn publish_held(
        &self,
        call: &Call,
        request: &PublishRequest,
        target: &Path,
        staging: Option<&Path>,
    ) -> Result<(), Error> {
        let mut known = self.node.record(&self.driver, &request.volume)?;
        if let (Some(record), Some(staging)) = (&known, staging)
            && is_half_staged(record, staging)
        {
            self.stage_held(call, &stage_request(record), staging)?;
            known = self.node.record(&self.driver, &request.volume)?;
        }
        if let Some(record) = &known {
            if self.is_published_as(record, request, target)? {
                return Ok(());
            }
            self.check_single_workload(record, request, target)?;
        }
        if let Some(staging) = staging {
            self.check_staged(known.as_ref(), request, staging)?;
        }
        let plan = self.backend.plan_publish(call, request)?;
        let mut record = known.unwrap_or_else(|| self.record_of_publish(request, staging));
        record.targets.retain(|published| published.target_path != target);
        let before = record.clone();
        record.targets.push(PublishRecord {
            target_path: target.to_owned(),
            capability: request.capability.clone(),
            read_only: request.read_only,
        });
        self.node.save(&record)?;
        match self.node.run(call, &plan, &self.policy, target, staging) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.save_or_forget(&before)?;
                Err(error)
            }
        }
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
        if mounted.is_dead {
            return Ok(false);
        }
        check_same_use(&published.capability, &request.capability)?;
        if published.read_only != request.read_only {
            return Err(Error::new(
                ErrorKind::AlreadyExists,
                crate::Blame::User,
                format!("it is published at {} with another read-only setting", target.display()),
            ));
        }
        // Older kernels make a mount read-only in a second step, before which this host may have
        // been killed.
        Ok(mounted.is_read_only || !request.read_only)
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
                && self.node.is_mounted(&other.target_path)?
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
        record: Option<&StageRecord>,
        request: &PublishRequest,
        staging: &Path,
    ) -> Result<(), Error> {
        let own = record.filter(|record| record.staging_path == staging);
        let is_staged = match request.capability.access {
            AccessType::Mount { .. } => self.node.is_mounted(staging)?,
            AccessType::Block => own.is_some_and(|record| {
                record.complete && record.capability.access == AccessType::Block
            }),
        };
        if is_staged {
            return if own.is_some() { Ok(()) } else { self.check_ours(&request.volume, staging) };
        }
        Err(Error::precondition(format!("it is not staged at {}", staging.display()))
            .with_hint("it has to be staged there first"))
    }

    /// Undoes [`NodeService::publish`] and removes the target path. Not published: nothing is done.
    pub fn unpublish(&self, call: &Call, volume: &VolumeId, target: &Path) -> Result<(), Error> {
        let _held = self.hold_to_leave(call, volume, "unpublish")?;
        let record = self.record_to_leave(volume);
        self.check_ours(volume, target)
            .and_then(|()| self.unpublish_held(call, record, target, RemovePath::Yes))
            .map_err(|error| self.explain(error, "unpublish of", volume))
    }

    /// [`NodeService::unpublish`] by path alone; the folder itself stays. Works without a record.
    pub fn unpublish_path(&self, call: &Call, path: &Path) -> Result<(), Error> {
        let (_held, record) = self.hold_path(call, path, "unpublish", |_| true)?;
        self.unpublish_held(call, record, path, RemovePath::No)
            .map_err(|error| error.context(format!("unpublish of {}", path.display())))
    }

    fn unpublish_held(
        &self,
        call: &Call,
        record: Option<StageRecord>,
        target: &Path,
        remove: RemovePath,
    ) -> Result<(), Error> {
        self.node.unmount(call, target, remove)?;
        let Some(mut record) = record else { return Ok(()) };
        let count = record.targets.len();
        record.targets.retain(|published| published.target_path != target);
        if record.targets.len() != count {
            // It is unmounted. A record that says otherwise is harmless, and a disk that is full
            // would keep the pod for ever.
            warn_only("write down that it is unpublished", self.save_or_forget(&record));
        }
        Ok(())
    }

    /// What is mounted at the path is not another volume's.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the other.
    fn check_ours(&self, volume: &VolumeId, path: &Path) -> Result<(), Error> {
        match self.node.record_of_path(path) {
            Ok(Some(record))
                if (record.driver != self.driver || record.volume != *volume)
                    && self.node.is_mounted(path)? =>
            {
                Err(Error::precondition(format!(
                    "{} belongs to volume {} of {}",
                    path.display(),
                    record.volume,
                    record.driver
                ))
                .with_hint("name the volume that is mounted there"))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "cannot tell whose path it is; the caller is believed");
                Ok(())
            }
        }
    }

    /// A record that says nothing any more is removed.
    fn save_or_forget(&self, record: &StageRecord) -> Result<(), Error> {
        if record.targets.is_empty() && record.staging_path.as_os_str().is_empty() {
            return self.node.forget(&self.driver, &record.volume);
        }
        self.node.save(record)
    }

    /// Makes a grown volume usable on this node, and says how large it is. Large enough already:
    /// nothing is done.
    ///
    /// # Errors
    /// `NotFound` when this node has neither a record of the volume nor anything mounted at `path`.
    pub fn expand(
        &self,
        call: &Call,
        request: &NodeExpandRequest,
        path: &Path,
    ) -> Result<u64, Error> {
        let _held = self.hold(call, &request.volume, "node expansion")?;
        self.expand_held(call, request, path)
            .map_err(|error| self.explain(error, "node expansion of", &request.volume))
    }

    fn expand_held(
        &self,
        call: &Call,
        request: &NodeExpandRequest,
        path: &Path,
    ) -> Result<u64, Error> {
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
            ..request.clone()
        };
        let plan = self.backend.plan_expand(call, &request)?;
        let device = self.node.run(call, &plan, &self.policy, path, None)?;
        let measured =
            device.or(record.and_then(|record| record.device)).unwrap_or_else(|| path.to_owned());
        self.node.device_size(&measured)?.ok_or_else(|| {
            Error::internal(format!("{} has no block device behind it", measured.display()))
        })
    }

    /// Space of a volume that is staged or published here.
    pub fn usage(&self, _call: &Call, volume: &VolumeId, path: &Path) -> Result<Usage, Error> {
        self.known(volume, path)?;
        self.node.usage(path).map_err(|error| self.explain(error, "usage of", volume))
    }

    fn known(&self, volume: &VolumeId, path: &Path) -> Result<Option<StageRecord>, Error> {
        let record = self.node.record(&self.driver, volume)?;
        if record.is_none() && !self.node.is_mounted(path)? {
            return Err(Error::not_found(format!("volume {volume} is not on this node")));
        }
        Ok(record)
    }

    /// Whether something is mounted at exactly this path.
    pub fn is_staged(&self, path: &Path) -> Result<bool, Error> {
        self.node.is_mounted(path)
    }

    /// The block device that is mounted at exactly this path, if one is.
    pub fn mounted_device(&self, path: &Path) -> Result<Option<PathBuf>, Error> {
        Ok(self.node.mounted(path)?.and_then(|mounted| mounted.device))
    }

    /// One call for a volume at a time: in this process, and on this node.
    fn hold(
        &self,
        call: &Call,
        volume: &VolumeId,
        verb: &'static str,
    ) -> Result<(InFlightGuard, NodeGuard), Error> {
        let guard = self.in_flight.begin(volume.as_str(), verb)?;
        Ok((guard, self.node.lock(call, &self.driver, volume)?))
    }

    /// The same for a call that takes something away. It has to work where nothing can be written,
    /// so there it goes on without the lock.
    fn hold_to_leave(
        &self,
        call: &Call,
        volume: &VolumeId,
        verb: &'static str,
    ) -> Result<(InFlightGuard, Option<NodeGuard>), Error> {
        let guard = self.in_flight.begin(volume.as_str(), verb)?;
        match self.node.lock(call, &self.driver, volume) {
            Ok(lock) => Ok((guard, Some(lock))),
            Err(error) if error.kind == ErrorKind::Aborted => Err(error),
            Err(error) => {
                tracing::warn!(%error, %volume, "going on without the lock");
                Ok((guard, None))
            }
        }
    }

    /// The record of a volume that is taken away. One that cannot be read counts as none: the mount
    /// table says what there is to undo.
    fn record_to_leave(&self, volume: &VolumeId) -> Option<StageRecord> {
        self.node.record(&self.driver, volume).unwrap_or_else(|error| {
            tracing::warn!(%error, %volume, "going on without the record");
            None
        })
    }

    /// The volume that a path belongs to, as far as it is known, held; and its record, read while
    /// it is held.
    #[allow(clippy::type_complexity, reason = "guards and a record, taken apart at once")]
    fn hold_path(
        &self,
        call: &Call,
        path: &Path,
        verb: &'static str,
        is_meant: impl Fn(&StageRecord) -> bool,
    ) -> Result<((InFlightGuard, Option<NodeGuard>), Option<StageRecord>), Error> {
        let seen = self.node.record_of_path(path).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "going on without a record");
            None
        });
        match seen.filter(|record| record.driver == self.driver && is_meant(record)) {
            None => Ok(((self.in_flight.begin(&path.to_string_lossy(), verb)?, None), None)),
            Some(seen) => {
                let held = self.hold_to_leave(call, &seen.volume, verb)?;
                Ok((held, self.record_to_leave(&seen.volume)))
            }
        }
    }

    fn explain(&self, error: Error, verb: &str, volume: &VolumeId) -> Error {
        error.context(format!("{verb} volume {volume}")).context(&self.driver)
    }
}

fn still_published(path: &Path) -> Error {
    Error::precondition(format!("it is still published at {}", path.display()))
        .with_hint("unpublish it there first")
}

/// For what is right to do and wrong to fail for.
fn warn_only(what: &str, done: Result<(), Error>) {
    if let Err(error) = done {
        tracing::warn!(%error, "cannot {what}");
    }
}

/// Staging was killed on the way. kubelet does not call again when it finds the mount there, so
/// publishing finishes it.
fn is_half_staged(record: &StageRecord, staging: &Path) -> bool {
    !record.complete && record.staging_path == staging
}

/// What the record was written for.
fn stage_request(record: &StageRecord) -> StageRequest {
    StageRequest {
        volume: record.volume.clone(),
        capability: record.capability.clone(),
        context: record.context.clone(),
        publish_context: record.publish_context.clone(),
    }
}

/// Two uses of one path agree when they are of the same kind with the same options, and both only
/// read or both may write. What else the mode says is not seen by the kernel.
fn check_same_use(has: &Capability, wants: &Capability) -> Result<(), Error> {
    let agree = match (&has.access, &wants.access) {
        (AccessType::Block, AccessType::Block) => true,
        (
            AccessType::Mount { fs_type: has, flags: has_flags },
            AccessType::Mount { fs_type: wants, flags: wants_flags },
        ) => (has == wants || wants.is_empty() || has.is_empty()) && has_flags == wants_flags,
        (AccessType::Block, AccessType::Mount { .. })
        | (AccessType::Mount { .. }, AccessType::Block) => false,
    };
    if agree && has.mode.is_read_only() == wants.mode.is_read_only() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::AlreadyExists,
        crate::Blame::User,
        "it is in place already for an incompatible use (file system, raw device, mount options \
         or reading only differ)",
    ))
}
