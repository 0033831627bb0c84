//! Until when what is under way may take. One for the whole process, because every build and
//! installation that a part of `test` or `ci` sets off has to keep to the part's, however deep down
//! it is started. Set for each part; other commands have none, for a person watches them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

static UNTIL: Mutex<Option<Instant>> = Mutex::new(None);

/// As good as for ever, and small enough to be added to a point in time.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// From now on there is this much time.
pub fn set(limit: Duration) {
    *UNTIL.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(limit);
}

/// How much is left.
pub fn left() -> Duration {
    UNTIL
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .map_or(FOR_EVER, |until| until.saturating_duration_since(Instant::now()))
}
