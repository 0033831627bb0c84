//! What a call costs here: `describe` again and again, each in a fresh instance. For `cargo xtask
//! bench`; nothing on a request's path calls it.

use std::time::{Duration, Instant};

use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

use crate::backend::WasmBackend;

/// The longest that a measurement takes, whatever it was asked for.
const LONGEST: Duration = Duration::from_secs(600);

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Half of the calls took no longer.
    pub p50: Duration,
    /// Ninety-nine of a hundred took no longer.
    pub p99: Duration,
    /// All threads together.
    pub calls_per_second: f64,
}

/// Calls `describe` `calls` times on each of `threads` threads.
///
/// # Errors
/// The first error of a call.
pub fn measure(
    backend: &WasmBackend,
    clock: &dyn Clock,
    threads: usize,
    calls: usize,
) -> Result<Measured, Error> {
    let call = Call::until(clock.now() + LONGEST);
    backend.ask_description(&call)?;
    let start = Instant::now();
    let times: Result<Vec<Vec<Duration>>, Error> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.max(1))
            .map(|_| scope.spawn(|| describe_often(backend, &call, calls)))
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(Error::internal("a measuring thread panicked")))
            })
            .collect()
    });
    let elapsed = start.elapsed();
    let mut times: Vec<Duration> = times?.into_iter().flatten().collect();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    Ok(Measured {
        p50: at(50),
        p99: at(99),
        calls_per_second: f64::from(u32::try_from(times.len()).unwrap_or(u32::MAX))
            / elapsed.as_secs_f64(),
    })
}

fn describe_often(
    backend: &WasmBackend,
    call: &Call,
    calls: usize,
) -> Result<Vec<Duration>, Error> {
    let timed = |_| {
        let start = Instant::now();
        backend.ask_description(call).map(|_| start.elapsed())
    };
    (0..calls).map(timed).collect()
}
