//! Time for tests.

use std::sync::Mutex;
use std::time::Duration;

use wharf_core::ports::{Call, Clock, Instant};

use super::lock;

/// Time that stands still except in [`Clock::sleep`], which returns at once and lets as much time
/// pass.
#[derive(Debug, Default)]
pub struct FakeClock {
    now: Mutex<Duration>,
}

impl FakeClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *lock(&self.now) += by;
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Instant {
        *lock(&self.now)
    }

    fn sleep(&self, duration: Duration, call: &Call) {
        if !call.is_cancelled() {
            self.advance(duration);
        }
    }
}
