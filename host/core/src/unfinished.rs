//! Where a create stood when its caller's time was over: the next call of the same request goes on
//! from there, and does not first try again what was refused a moment ago.
//!
//! It only saves time. A process that has forgotten, or never knew, begins anew and ends with the
//! same volume.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::inflight::lock;
use crate::ports::Instant;
use crate::types::Caller;
use crate::verbs::CreateRequest;

/// As many as external-provisioner works on at once (its `--worker-threads`), and some; each is as
/// large as its request, a few KiB. When there is no room, the oldest is forgotten.
const MAX_ENTRIES: usize = 128;
/// The provisioner comes back within five minutes (its longest back-off). What a backend answered
/// longer ago is worth no more than asking it again.
const RETENTION: Duration = Duration::from_secs(10 * 60);

/// Operations by the name of the volume.
pub(crate) struct Unfinished<T> {
    entries: Mutex<HashMap<String, Entry<T>>>,
}

struct Entry<T> {
    since: Instant,
    request: CreateRequest,
    operation: T,
}

impl<T> Default for Unfinished<T> {
    fn default() -> Self {
        Self { entries: Mutex::default() }
    }
}

impl<T> Unfinished<T> {
    pub(crate) fn insert(&self, request: &CreateRequest, operation: T, now: Instant) {
        let mut entries = lock(&self.entries);
        if entries.len() >= MAX_ENTRIES && !entries.contains_key(&request.name) {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.since);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                entries.remove(&name);
            }
        }
        let entry = Entry { since: now, request: without_caller(request), operation };
        entries.insert(request.name.clone(), entry);
    }

    /// What is stored for this very request. Another request of the same name has to be compared
    /// with what is there, so it begins anew.
    pub(crate) fn take(&self, request: &CreateRequest, now: Instant) -> Option<T> {
        let entry = lock(&self.entries).remove(&request.name)?;
        (entry.request == without_caller(request) && now < entry.since + RETENTION)
            .then_some(entry.operation)
    }
}

/// Secrets are not stored, and who asks changes nothing about the volume.
fn without_caller(request: &CreateRequest) -> CreateRequest {
    CreateRequest { caller: Caller::default(), ..request.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CapacityRange;

    fn request(name: &str) -> CreateRequest {
        CreateRequest {
            name: name.into(),
            capacity: CapacityRange { required: None, limit: None },
            capabilities: vec![],
            parameters: vec![],
            mutable_parameters: vec![],
            source: None,
            topology: None,
            caller: Caller::default(),
        }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn the_same_request_goes_on_once_and_another_one_of_its_name_begins_anew() {
        let unfinished = Unfinished::default();
        unfinished.insert(&request("a"), 1, at(0));
        assert_eq!(unfinished.take(&request("b"), at(1)), None);
        assert_eq!(unfinished.take(&request("a"), at(1)), Some(1));
        assert_eq!(unfinished.take(&request("a"), at(1)), None);

        unfinished.insert(&request("a"), 2, at(0));
        let larger = CreateRequest {
            capacity: CapacityRange { required: Some(1), limit: None },
            ..request("a")
        };
        assert_eq!(unfinished.take(&larger, at(1)), None);
        assert_eq!(unfinished.take(&request("a"), at(1)), None);
    }

    #[test]
    fn what_is_old_is_forgotten_and_so_is_the_oldest_of_too_many() {
        let unfinished = Unfinished::default();
        unfinished.insert(&request("a"), 0, at(0));
        assert_eq!(unfinished.take(&request("a"), at(0) + RETENTION), None);
        for number in 0..MAX_ENTRIES + 3 {
            unfinished.insert(&request(&number.to_string()), number, at(number as u64));
        }
        assert_eq!(lock(&unfinished.entries).len(), MAX_ENTRIES);
        assert_eq!(unfinished.take(&request("2"), at(0)), None);
        assert_eq!(unfinished.take(&request("3"), at(3)), Some(3));
    }
}
