//! One call for a volume at a time: in this process, and on this node.

use std::path::Path;

use super::NodeService;
use crate::error::{Error, ErrorKind};
use crate::inflight::InFlightGuard;
use crate::ports::{Call, NodeGuard, StageRecord};
use crate::types::VolumeId;

/// Held by a call that takes something away: the second guard is missing where nothing can be
/// locked.
pub(super) type TeardownGuard = (InFlightGuard, Option<NodeGuard>);

/// What a call waits for before it has its volume.
const OTHERS: &str = "another process of this node that works on the volume";
const TAKING_AWAY: &str = "mounts of this node to go";

impl NodeService {
    /// Keeps every other call from working on the volume.
    pub(super) fn lock(
        &self,
        call: &Call,
        volume: &VolumeId,
        verb: &'static str,
    ) -> Result<(InFlightGuard, NodeGuard), Error> {
        let guard = self.in_flight.begin(volume.as_str(), verb)?;
        guard.waits_for(OTHERS);
        let lock = self.node.lock(call, &self.driver, volume)?;
        guard.waits_for("the backend's plan and its steps");
        Ok((guard, lock))
    }

    /// The same for a call that takes something away. It has to work where nothing can be written,
    /// so there it goes on without the lock.
    pub(super) fn lock_for_teardown(
        &self,
        call: &Call,
        volume: &VolumeId,
        verb: &'static str,
    ) -> Result<TeardownGuard, Error> {
        let guard = self.in_flight.begin(volume.as_str(), verb)?;
        guard.waits_for(OTHERS);
        let lock = self.node.lock(call, &self.driver, volume);
        guard.waits_for(TAKING_AWAY);
        match lock {
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
    pub(super) fn record_for_teardown(&self, volume: &VolumeId) -> Option<StageRecord> {
        self.node.record(&self.driver, volume).unwrap_or_else(|error| {
            tracing::warn!(%error, %volume, "going on without the record");
            None
        })
    }

    /// The volume that a path belongs to, as far as it is known, locked; and its record, read while
    /// it is locked.
    pub(super) fn lock_path_for_teardown(
        &self,
        call: &Call,
        path: &Path,
        verb: &'static str,
        is_meant: impl Fn(&StageRecord) -> bool,
    ) -> Result<(TeardownGuard, Option<StageRecord>), Error> {
        let seen = self.node.record_of_path(path).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "going on without a record");
            None
        });
        match seen.filter(|record| record.driver == self.driver && is_meant(record)) {
            None => {
                let guard = self.in_flight.begin(&path.to_string_lossy(), verb)?;
                guard.waits_for(TAKING_AWAY);
                Ok(((guard, None), None))
            }
            Some(seen) => {
                let guard = self.lock_for_teardown(call, &seen.volume, verb)?;
                Ok((guard, self.record_for_teardown(&seen.volume)))
            }
        }
    }
}
