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

/// The machine's time, or a multiple of it: then what is waited for is over sooner. A sleep ends
/// within ten milliseconds once its call is cancelled.
#[derive(Debug)]
pub struct RealClock {
    began: std::time::Instant,
    speed: u32,
}

impl RealClock {
    /// So many times as fast as the machine's.
    pub fn with_speed(speed: u32) -> Self {
        Self { began: std::time::Instant::now(), speed }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        Self::with_speed(1)
    }
}

impl Clock for RealClock {
    fn now(&self) -> Instant {
        self.began.elapsed() * self.speed
    }

    fn sleep(&self, duration: Duration, call: &Call) {
        const SLICE: Duration = Duration::from_millis(10);
        let end = self.now().saturating_add(duration);
        while self.now() < end && !call.is_cancelled() {
            std::thread::sleep(SLICE.min(end.saturating_sub(self.now()) / self.speed));
        }
    }
}
