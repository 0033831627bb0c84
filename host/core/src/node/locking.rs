//! One call for a volume at a time: in this process, and on this node.

use std::path::Path;

use super::NodeService;
use crate::error::{Error, ErrorKind};
use crate::inflight::InFlightGuard;
use crate::ports::{Call, NodeGuard, StageRecord};
use crate::types::VolumeId;

/// What a call that unmounts holds. The second guard is missing where nothing can be locked.
pub(super) type TeardownGuard = (InFlightGuard, Option<NodeGuard>);

/// What a call waits for before it has its volume.
const WAITS_FOR_PROCESS: &str = "another process of this node that works on the volume";
const WAITS_FOR_UNMOUNT: &str = "the unmount on this node";

impl NodeService {
    /// Keeps every other call from working on the volume.
    pub(super) fn lock(
        &self,
        call: &Call,
        volume: &VolumeId,
        verb: &'static str,
    ) -> Result<(InFlightGuard, NodeGuard), Error> {
        let guard = self.in_flight.begin(volume.as_str(), verb)?;
        guard.waits_for(WAITS_FOR_PROCESS);
        let lock = self.node.lock(call, &self.driver, volume)?;
        guard.waits_for("the backend's plan and its steps");
        Ok((guard, lock))
    }

    /// The same for a call that unmounts. It has to work where nothing can be written, so there it
    /// goes on without the lock.
    pub(super) fn lock_for_teardown(
        &self,
        call: &Call,
        volume: &VolumeId,
        verb: &'static str,
    ) -> Result<TeardownGuard, Error> {
        let guard = self.in_flight.begin(volume.as_str(), verb)?;
        guard.waits_for(WAITS_FOR_PROCESS);
        let lock = self.node.lock(call, &self.driver, volume);
        guard.waits_for(WAITS_FOR_UNMOUNT);
        match lock {
            Ok(lock) => Ok((guard, Some(lock))),
            Err(error) if error.kind == ErrorKind::Aborted => Err(error),
            Err(error) => {
                tracing::warn!(%error, %volume, "going on without the lock");
                Ok((guard, None))
            }
        }
    }

    /// The record of a volume that is unmounted. One that cannot be read counts as none: the mount
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
        is_wanted: impl Fn(&StageRecord) -> bool,
    ) -> Result<(TeardownGuard, Option<StageRecord>), Error> {
        let seen = self.node.record_of_path(path).unwrap_or_else(|error| {
            tracing::warn!(%error, path = %path.display(), "going on without a record");
            None
        });
        match seen.filter(|record| record.driver == self.driver && is_wanted(record)) {
            None => {
                let guard = self.in_flight.begin(&path.to_string_lossy(), verb)?;
                guard.waits_for(WAITS_FOR_UNMOUNT);
                Ok(((guard, None), None))
            }
            Some(seen) => {
                let guard = self.lock_for_teardown(call, &seen.volume, verb)?;
                Ok((guard, self.record_for_teardown(&seen.volume)))
            }
        }
    }
}
