//! How long the host waits before it asks again. What spaces requests is not here but where they
//! leave (the runtime's egress): that counts requests, this counts operations.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Mutex;
use std::time::Duration;

use crate::inflight::lock;
use crate::ports::Instant;

/// The first pause of an operation that met a transient error, doubled with each further one up to
/// the longest: a short fault costs little and a long one is not hammered.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A refusal is remembered for so long. A lane of requests at its limit meets it every few
/// seconds, so that it is not forgotten in between.
const CONGESTED_FOR: Duration = Duration::from_secs(10);

/// The pauses of one operation that met transient errors.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause: a quarter more or less than its number says, so that operations that failed
    /// together do not come back together.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.failures += 1;
        jittered(pause).max(retry_after.unwrap_or_default())
    }

    /// Something moved on.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Between three and five quarters of a pause. Each `RandomState` has keys of its own, which is all
/// the randomness that this needs.
fn jittered(pause: Duration) -> Duration {
    let eighths = u32::try_from(RandomState::new().hash_one(()) % 257).unwrap_or(0);
    (pause * 3 + pause * 2 * eighths / 256) / 4
}

/// Whether the cloud asked to slow down a moment ago. Operations that wait are then looked at less
/// often: looks are requests of the same account, and what they wait for comes later than usual.
#[derive(Debug, Default)]
pub(crate) struct Congestion {
    last: Mutex<Option<Instant>>,
}

impl Congestion {
    pub(crate) fn note(&self, now: Instant) {
        *lock(&self.last) = Some(now);
    }

    pub(crate) fn is_recent(&self, now: Instant) -> bool {
        lock(&self.last).is_some_and(|last| now.saturating_sub(last) < CONGESTED_FOR)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ports::{Call, Clock};

    /// Time that passes only in `sleep`.
    #[derive(Debug, Default)]
    pub(crate) struct SteppedClock {
        now: Mutex<Duration>,
    }

    impl Clock for SteppedClock {
        fn now(&self) -> Instant {
            *lock(&self.now)
        }
        fn sleep(&self, duration: Duration, _call: &Call) {
            *lock(&self.now) += duration;
        }
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_what_the_cloud_asks_for_is_a_floor() {
        let mut backoff = Backoff::default();
        for usual in [100, 200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis) {
            let pause = backoff.next(None);
            assert!(pause >= usual * 3 / 4 && pause <= usual * 5 / 4, "{pause:?} for {usual:?}");
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
        backoff.reset();
        assert!(backoff.next(None) <= FIRST_PAUSE * 5 / 4);
    }

    #[test]
    fn operations_that_failed_together_come_back_apart() {
        let pauses: std::collections::BTreeSet<Duration> =
            (0..50).map(|_| Backoff::default().next(None)).collect();
        assert!(pauses.len() > 25, "{} different pauses of 50", pauses.len());
    }

    #[test]
    fn congestion_is_forgotten_after_a_while() {
        let congestion = Congestion::default();
        assert!(!congestion.is_recent(Duration::ZERO));
        congestion.note(Duration::from_secs(5));
        assert!(congestion.is_recent(Duration::from_secs(14)));
        assert!(!congestion.is_recent(Duration::from_secs(15)));
    }
}
