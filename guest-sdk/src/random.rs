//! Unpredictable bytes, from the host.

/// So many unpredictable bytes, at most 4096.
pub fn bytes(count: u32) -> Vec<u8> {
    crate::host::random_bytes(count)
}
