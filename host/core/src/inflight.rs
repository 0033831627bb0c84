//! One operation per volume at a time. The CO should not send two (CSI, "Concurrency"), but a retry
//! may overtake a call that timed out; the second one is asked to come back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::ports::{Clock, Instant};

/// A call that is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// Its volume: a name, an id, or a path where neither is known.
    pub volume: String,
    /// What is done with it.
    pub verb: &'static str,
    /// For how long.
    pub since: Duration,
    /// What it waits for now.
    pub waits_for: String,
}

#[derive(Debug)]
struct Entry {
    verb: &'static str,
    began: Instant,
    waits_for: String,
}

type Entries = Arc<Mutex<HashMap<String, Entry>>>;

/// The volumes that are being worked on. Bounded by the front ends' bound on calls.
#[derive(Clone)]
pub(crate) struct InFlight {
    clock: Arc<dyn Clock>,
    entries: Entries,
}

impl InFlight {
    /// Nothing is being worked on.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, entries: Entries::default() }
    }

    /// Takes the volume for this verb until the guard is dropped.
    ///
    /// # Errors
    /// `Aborted` naming the verb that has it.
    pub(crate) fn begin(&self, key: &str, verb: &'static str) -> Result<InFlightGuard, Error> {
        let mut entries = lock(&self.entries);
        if let Some(Entry { verb: other, .. }) = entries.get(key) {
            return Err(Error::aborted(format!(
                "{verb} of {key}: another call ({other}) for it is still running"
            ))
            .with_hint("it is called again by itself; nothing to do"));
        }
        let waits_for = "the backend".to_owned();
        entries.insert(key.to_owned(), Entry { verb, began: self.clock.now(), waits_for });
        Ok(InFlightGuard { entries: Arc::clone(&self.entries), key: key.to_owned() })
    }

    /// Everything that is being worked on, the oldest first.
    pub(crate) fn under_way(&self) -> Vec<UnderWay> {
        let now = self.clock.now();
        let entries = lock(&self.entries);
        let mut all: Vec<_> = entries
            .iter()
            .map(|(key, entry)| UnderWay {
                volume: key.clone(),
                verb: entry.verb,
                since: now.saturating_sub(entry.began),
                waits_for: entry.waits_for.clone(),
            })
            .collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.since));
        all
    }
}

/// Gives the volume back.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    entries: Entries,
    key: String,
}

impl InFlightGuard {
    /// Says what the call waits for, for those who ask.
    pub(crate) fn waits_for(&self, what: &str) {
        if let Some(entry) = lock(&self.entries).get_mut(&self.key) {
            what.clone_into(&mut entry.waits_for);
        }
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        lock(&self.entries).remove(&self.key);
    }
}

/// A poisoned lock only means that another thread panicked between two complete states; every state
/// here is complete.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Instant {
            Duration::from_secs(7)
        }

        fn sleep(&self, _: Duration, _: &crate::ports::Call) {}
    }

    #[test]
    fn what_is_under_way_is_told_with_what_it_waits_for() {
        let in_flight = InFlight::new(Arc::new(Still));
        let guard = in_flight.begin("d-1", "attach").unwrap();
        guard.waits_for("the disk to be attached");
        let under_way = in_flight.under_way();
        let told: Vec<_> = under_way
            .iter()
            .map(|it| (it.volume.as_str(), it.verb, it.waits_for.as_str()))
            .collect();
        assert_eq!(told, [("d-1", "attach", "the disk to be attached")]);
        drop(guard);
        assert_eq!(in_flight.under_way(), []);
    }

    #[test]
    fn a_second_call_for_the_same_volume_is_told_to_come_back() {
        let in_flight = InFlight::new(Arc::new(Still));
        let first = in_flight.begin("d-1", "attach").unwrap();
        let refused = in_flight.begin("d-1", "delete").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Aborted);
        assert!(refused.message.contains("attach"));
        assert!(in_flight.begin("d-2", "attach").is_ok());
        drop(first);
        assert!(in_flight.begin("d-1", "delete").is_ok());
    }
}
