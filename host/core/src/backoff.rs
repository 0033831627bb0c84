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

/// The pauses between attempts at one thing. [`Backoff::default`]: an operation that met transient
/// errors.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(FIRST_PAUSE, LONGEST_PAUSE)
    }
}

impl Backoff {
    /// Pauses from the first on, each twice as long as the one before, up to the longest.
    pub const fn between(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The pause after one more failure.
    pub fn next_pause(&mut self) -> Duration {
        let pause = pause_after(self.failures, self.first, self.longest);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// Something moved on: the next pause is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The pause where so many failures in a row were before the last one: a quarter more or less than
/// that number says, so that what failed together does not come back together.
pub fn pause_after(failures: u32, first: Duration, longest: Duration) -> Duration {
    jittered(first.saturating_mul(2_u32.saturating_pow(failures)).min(longest))
}

/// Between three and five quarters of a pause. Each `RandomState` has keys of its own, which is all
/// the randomness that this needs.
fn jittered(pause: Duration) -> Duration {
    let eighths = u32::try_from(RandomState::new().hash_one(()) % 257).unwrap_or(0);
    (pause * 3 + pause * 2 * eighths / 256) / 4
}

/// Whether the cloud asked to slow down a moment ago. Operations that wait are then looked at less
/// often: reads are requests of the same account, and what they wait for comes later than usual.
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
    fn pauses_double_up_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::default();
        for usual in [100, 200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis) {
            let pause = backoff.next_pause();
            assert!(pause >= usual * 3 / 4 && pause <= usual * 5 / 4, "{pause:?} for {usual:?}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= FIRST_PAUSE * 5 / 4);
    }

    #[test]
    fn pauses_end_at_the_longest_however_often_it_fails() {
        let [first, longest] = [1, 60].map(Duration::from_secs);
        for failures in [6, 31, 32, u32::MAX] {
            let pause = pause_after(failures, first, longest);
            assert!(pause >= longest * 3 / 4 && pause <= longest * 5 / 4, "{failures}: {pause:?}");
        }
    }

    #[test]
    fn operations_that_failed_together_come_back_apart() {
        let pauses: std::collections::BTreeSet<Duration> =
            (0..50).map(|_| Backoff::default().next_pause()).collect();
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
