//! One operation per volume at a time. The CO should not send two (CSI, "Concurrency"), but a retry
//! may overtake a call that timed out; the second one is told to come back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;

/// The volumes that are being worked on. Bounded by the front ends' bound on calls.
#[derive(Debug, Default, Clone)]
pub(crate) struct InFlight {
    keys: Arc<Mutex<HashMap<String, &'static str>>>,
}

impl InFlight {
    /// Takes the volume for this verb until the guard is dropped.
    ///
    /// # Errors
    /// `Aborted` naming the verb that has it.
    pub(crate) fn begin(&self, key: &str, verb: &'static str) -> Result<InFlightGuard, Error> {
        let mut keys = lock(&self.keys);
        if let Some(other) = keys.get(key) {
            return Err(Error::aborted(format!(
                "{verb} of {key}: another call ({other}) for it is still running"
            ))
            .with_hint("it is called again by itself; nothing to do"));
        }
        keys.insert(key.to_owned(), verb);
        Ok(InFlightGuard { keys: Arc::clone(&self.keys), key: key.to_owned() })
    }
}

/// Gives the volume back.
#[derive(Debug)]
pub(crate) struct InFlightGuard {
    keys: Arc<Mutex<HashMap<String, &'static str>>>,
    key: String,
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        lock(&self.keys).remove(&self.key);
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

    #[test]
    fn a_second_call_for_the_same_volume_is_told_to_come_back() {
        let in_flight = InFlight::default();
        let first = in_flight.begin("d-1", "attach").unwrap();
        let refused = in_flight.begin("d-1", "delete").unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Aborted);
        assert!(refused.message.contains("attach"));
        assert!(in_flight.begin("d-2", "attach").is_ok());
        drop(first);
        assert!(in_flight.begin("d-1", "delete").is_ok());
    }
}
