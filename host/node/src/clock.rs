//! Real time for the host: monotonic, and its sleep ends early when nobody waits any more.

use std::sync::OnceLock;
use std::time::Duration;

use wharf_core::ports::{Call, Clock, Instant};

/// A cancelled call stops sleeping within this time; short enough that nobody notices, long enough
/// to cost nothing.
const CANCELLATION_POLL: Duration = Duration::from_millis(50);

/// One origin for the whole process, so that every [`SystemClock`] has the same time.
static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();

/// Monotonic time since the first use in this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        ORIGIN.get_or_init(std::time::Instant::now).elapsed()
    }

    fn sleep(&self, duration: Duration, call: &Call) {
        let end = self.now().saturating_add(duration);
        while !call.is_cancelled() {
            let left = end.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(CANCELLATION_POLL));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_clock_of_a_process_tells_the_same_time() {
        let before = SystemClock.now();
        let after = SystemClock.now();
        assert!(after >= before && after - before < Duration::from_secs(60));
    }

    #[test]
    fn a_cancelled_call_does_not_sleep() {
        let call = Call::until(Duration::MAX);
        call.cancel();
        let start = SystemClock.now();
        SystemClock.sleep(Duration::from_secs(3600), &call);
        assert!(SystemClock.now() - start < Duration::from_secs(60));
    }
}
