//! One pacing and one back-off for an account. Every operation asks here before it lets a backend
//! change something, so that a hundred operations that the cloud throttles do not answer with a
//! hundred retries at once.
//!
//! The rate follows the cloud's own answers: additive-increase, multiplicative-decrease, as in
//! congestion control. Nothing is assumed about the cloud's limits.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::inflight::lock;
use crate::ports::{Call, Clock, Instant};

/// Changing calls under way at once. More only lengthens the queue in the cloud, and as many are
/// wasted when it starts to throttle.
const MAX_CONCURRENT: usize = 16;
/// The pause after the first throttled answer, and the longest one (the existing driver's are 1–10
/// s; these begin earlier because the whole account waits).
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The distance between calls once throttled, at first and at most.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_INTERVAL: Duration = Duration::from_secs(2);
/// What a throttled answer and any other do to the distance: one of the first kind outweighs five
/// of the second, so an account at its limit meets it about every sixth call, and one that is
/// throttled by chance is not slowed down for ever.
const SLOWER: f32 = 1.5;
const FASTER: f32 = 0.92;
/// Below this distance calls are not spaced at all.
const NEGLIGIBLE_INTERVAL: Duration = Duration::from_millis(5);
/// How often a waiting call looks whether its caller has gone.
const CANCELLATION_CHECK: Duration = Duration::from_millis(50);

/// The pace of one account, shared by every driver that uses it.
#[derive(Debug, Default)]
pub struct Pacer {
    state: Mutex<Pace>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Pace {
    running: usize,
    interval: Duration,
    next: Instant,
    paused_until: Instant,
    streak: u32,
}

impl Pacer {
    /// Waits for this call's turn.
    ///
    /// # Errors
    /// `DeadlineExceeded` when the caller's time is over before; nothing was done then.
    pub(crate) fn acquire(self: &Arc<Self>, call: &Call, clock: &dyn Clock) -> Result<Turn, Error> {
        loop {
            let wait = {
                let mut pace = lock(&self.state);
                let now = clock.now();
                if call.is_cancelled() || call.remaining(now).is_zero() {
                    return Err(Error::new(
                        ErrorKind::DeadlineExceeded,
                        crate::Blame::Cloud,
                        "the account is being throttled and the call's time is over",
                    ));
                }
                if pace.running >= MAX_CONCURRENT {
                    drop(self.freed.wait_timeout(pace, CANCELLATION_CHECK));
                    continue;
                }
                let start = pace.next.max(pace.paused_until);
                if start <= now {
                    pace.running += 1;
                    pace.next = now + pace.interval;
                    return Ok(Turn { pacer: Arc::clone(self) });
                }
                start - now
            };
            clock.sleep(wait.min(call.remaining(clock.now())), call);
        }
    }

    /// The cloud asked to slow down. Several answers to calls of the same moment count once.
    pub(crate) fn throttled(&self, now: Instant, retry_after: Option<Duration>) {
        let mut pace = lock(&self.state);
        if now < pace.paused_until {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << pace.streak.min(5)).min(LONGEST_PAUSE);
        pace.streak += 1;
        pace.paused_until = now + pause.max(retry_after.unwrap_or_default()).min(LONGEST_PAUSE);
        pace.interval = pace.interval.mul_f32(SLOWER).clamp(FIRST_INTERVAL, LONGEST_INTERVAL);
    }

    /// The cloud answered.
    pub(crate) fn answered(&self) {
        let mut pace = lock(&self.state);
        pace.streak = 0;
        pace.interval = pace.interval.mul_f32(FASTER);
        if pace.interval < NEGLIGIBLE_INTERVAL {
            pace.interval = Duration::ZERO;
        }
    }

    fn release(&self) {
        lock(&self.state).running -= 1;
        self.freed.notify_one();
    }
}

/// One call's turn; the next one starts when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    pacer: Arc<Pacer>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pacer.release();
    }
}

/// The pauses of one operation that met transient errors: 100 ms doubling to 5 s, so that a short
/// fault costs little and a long one is not hammered.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let pause = Duration::from_millis(100)
            .saturating_mul(1 << self.failures.min(6))
            .min(Duration::from_secs(5));
        self.failures += 1;
        pause.max(retry_after.unwrap_or_default())
    }

    /// Something moved on.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
    fn a_throttled_account_pauses_once_for_many_answers_and_then_spaces_its_calls() {
        let (pacer, clock) = (Arc::new(Pacer::default()), SteppedClock::default());
        let call = Call::until(Duration::from_secs(3600));
        drop(pacer.acquire(&call, &clock).unwrap());
        (0..10).for_each(|_| pacer.throttled(clock.now(), None));
        drop(pacer.acquire(&call, &clock).unwrap());
        assert_eq!(clock.now(), FIRST_PAUSE);
        drop(pacer.acquire(&call, &clock).unwrap());
        assert_eq!(clock.now(), FIRST_PAUSE + FIRST_INTERVAL);
    }

    #[test]
    fn answers_bring_the_pace_back() {
        let (pacer, clock) = (Arc::new(Pacer::default()), SteppedClock::default());
        pacer.throttled(clock.now(), None);
        (0..100).for_each(|_| pacer.answered());
        assert_eq!(lock(&pacer.state).interval, Duration::ZERO);
    }

    #[test]
    fn a_call_whose_time_is_over_does_not_wait_for_its_turn() {
        let (pacer, clock) = (Arc::new(Pacer::default()), SteppedClock::default());
        pacer.throttled(clock.now(), Some(Duration::from_secs(5)));
        let error = pacer.acquire(&Call::until(Duration::from_secs(1)), &clock).unwrap_err();
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
        assert_eq!(clock.now(), Duration::from_secs(1));
    }
}
