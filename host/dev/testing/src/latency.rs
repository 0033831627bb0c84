//! How long something takes, for tests that hold it against how long it took before.

use std::time::Duration;

/// The one in the middle. On busy processors a single one of many may wait for long, and this one
/// does not.
///
/// # Panics
/// When there is none.
#[allow(clippy::indexing_slicing, reason = "a test measured nothing")]
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
