//! Parked calls: what a `hold` fault does, and how a test waits for and releases them.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::faults::HoldPoint;

/// A parked call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRequest {
    /// What to release it by.
    pub id: u64,
    /// Its operation.
    pub action: String,
    /// What it asks.
    pub parameters: BTreeMap<String, String>,
    /// Whether its work is still to be done.
    pub point: HoldPoint,
}

#[derive(Debug, Default)]
pub(crate) struct Holds {
    parked: Mutex<Parked>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Parked {
    next: u64,
    calls: BTreeMap<u64, (HeldRequest, oneshot::Sender<()>)>,
}

impl Holds {
    /// Parks a call until it is released.
    pub(crate) async fn park(
        &self,
        action: &str,
        parameters: &BTreeMap<String, String>,
        point: HoldPoint,
    ) {
        let released = {
            let (release, released) = oneshot::channel();
            let mut parked = self.lock();
            parked.next += 1;
            let held = HeldRequest {
                id: parked.next,
                action: action.to_owned(),
                parameters: parameters.clone(),
                point,
            };
            parked.calls.insert(held.id, (held, release));
            self.changed.notify_all();
            released
        };
        // An error means that the region stops: the call goes on and finds it stopped.
        let _ = released.await;
    }

    /// The parked calls, in the order of their arrival.
    pub(crate) fn list(&self) -> Vec<HeldRequest> {
        self.lock().calls.values().map(|(held, _)| held.clone()).collect()
    }

    /// Releases one; `false` when there is none of that id.
    pub(crate) fn release(&self, id: u64) -> bool {
        match self.lock().calls.remove(&id) {
            Some((_, release)) => release.send(()).is_ok(),
            None => false,
        }
    }

    /// Releases all; answers how many there were.
    pub(crate) fn release_all(&self) -> usize {
        let calls = std::mem::take(&mut self.lock().calls);
        calls.into_values().filter_map(|(_, release)| release.send(()).ok()).count()
    }

    /// Waits until so many calls are parked; answers those that are.
    pub(crate) fn wait_for(&self, count: usize, timeout: Duration) -> Vec<HeldRequest> {
        let end = Instant::now() + timeout;
        let mut parked = self.lock();
        while parked.calls.len() < count {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            parked =
                self.changed.wait_timeout(parked, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        parked.calls.values().map(|(held, _)| held.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Parked> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
