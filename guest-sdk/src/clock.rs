//! Wall-clock time, as the host gives it.

/// Milliseconds since 1970-01-01 UTC.
pub fn now_ms() -> u64 {
    crate::host::now()
}
