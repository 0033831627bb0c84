//! Request rates: one token bucket per action, for the whole account. Time is handed in, so a
//! bucket is a plain function of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;

/// Request rates above which calls are refused with `Throttling.User`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// For actions without an entry of their own; absent: no limit. Object storage, which bears ten
    /// thousand calls in a second, is never held to it.
    pub default: Option<Limit>,
    /// By action; those of NAS as `nas:CreateDir`.
    pub actions: BTreeMap<String, Limit>,
}

/// So many calls in so many seconds; a bucket of that size that refills evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Calls.
    pub calls: u32,
    /// In so many seconds.
    pub seconds: u32,
}

impl RateLimits {
    /// No limits.
    pub fn none() -> Self {
        Self::default()
    }

    /// The default quotas of an ordinary account as far as they are public: the API reference's
    /// flow-control note for `AttachDisk` says 500 calls in 60 s; the others are set in
    /// proportion from what users report and are configuration, not fact.
    pub fn real() -> Self {
        let per_minute = |calls| Limit { calls, seconds: 60 };
        let actions = [
            ("AttachDisk", 500),
            ("DetachDisk", 500),
            ("CreateDisk", 200),
            ("DeleteDisk", 200),
            ("ResizeDisk", 200),
            ("DescribeDisks", 900),
            ("DescribeInstances", 900),
            ("DescribeInstanceTypes", 500),
            ("DescribeAvailableResource", 500),
            ("DescribeSnapshots", 500),
            ("CreateSnapshot", 200),
            ("DeleteSnapshot", 200),
            ("ModifyDiskSpec", 100),
            ("DescribeTasks", 300),
            ("TagResources", 200),
            ("UntagResources", 200),
        ];
        let actions = actions.map(|(action, calls)| (action.to_owned(), per_minute(calls)));
        // The API portal says 100 calls a second for each operation of NAS.
        let of_nas = Limit { calls: 100, seconds: 1 };
        let of_nas = crate::nas::actions().map(|action| (format!("nas:{action}"), of_nas));
        let actions = actions.into_iter().chain(of_nas).collect();
        Self { default: Some(per_minute(300)), actions }
    }

    fn of(&self, action: &str) -> Option<Limit> {
        self.actions.get(action).copied().or(self.default)
    }
}

/// The buckets. Bounded by the number of actions that the region knows: only those are asked for.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    limits: RateLimits,
    /// Whether a bucket is empty when its action is first called.
    used_up: bool,
    levels: BTreeMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    // In call-milliseconds: one call costs its limit's `seconds * 1000`, one millisecond gives
    // `calls`. Whole numbers, so no drift.
    level: u64,
    at: Millis,
}

impl Buckets {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self { limits, used_up: false, levels: BTreeMap::new() }
    }

    pub(crate) fn used_up(limits: RateLimits) -> Self {
        Self { used_up: true, ..Self::new(limits) }
    }

    /// The same for a service that is not held to the default.
    pub(crate) fn admit_listed(&mut self, action: &str, now: Millis) -> bool {
        !self.limits.actions.contains_key(action) || self.admit(action, now)
    }

    /// Whether the call may pass; takes its token if so.
    pub(crate) fn admit(&mut self, action: &str, now: Millis) -> bool {
        let Some(limit) = self.limits.of(action) else { return true };
        let price = u64::from(limit.seconds) * 1000;
        let full = price * u64::from(limit.calls);
        let bucket = self
            .levels
            .entry(action.to_owned())
            .or_insert(Bucket { level: if self.used_up { 0 } else { full }, at: now });
        bucket.level =
            full.min(bucket.level.saturating_add(
                now.saturating_sub(bucket.at).saturating_mul(u64::from(limit.calls)),
            ));
        bucket.at = now;
        let admitted = bucket.level >= price;
        if admitted {
            bucket.level -= price;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets() -> Buckets {
        let actions = BTreeMap::from([("AttachDisk".to_owned(), Limit { calls: 2, seconds: 10 })]);
        Buckets::new(RateLimits { default: None, actions })
    }

    #[test]
    fn a_bucket_gives_what_it_holds_and_then_refuses() {
        let mut buckets = buckets();
        assert_eq!(
            [0, 0, 0, 4_999].map(|now| buckets.admit("AttachDisk", now)),
            [true, true, false, false]
        );
        assert!(buckets.admit("DetachDisk", 0), "an action without a limit passes");
    }

    #[test]
    fn a_bucket_that_is_used_up_gives_what_comes_in_from_the_first_call_on() {
        let mut buckets = Buckets::used_up(buckets().limits);
        assert_eq!(
            [1_000, 5_999, 6_000, 6_001].map(|now| buckets.admit("AttachDisk", now)),
            [false, false, true, false]
        );
    }

    #[test]
    fn a_bucket_refills_evenly_and_never_overflows() {
        let mut buckets = buckets();
        assert_eq!(
            [0, 0, 5_000, 5_000].map(|now| buckets.admit("AttachDisk", now)),
            [true, true, true, false]
        );
        assert_eq!(
            [900_000, 900_000, 900_000].map(|now| buckets.admit("AttachDisk", now)),
            [true, true, false]
        );
    }
}
