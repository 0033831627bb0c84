//! What an operator sees of the real binary with real backends: its health and its numbers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what a test's own helpers meet fails the test"
)]

mod observed {
    mod health;
    mod metrics;
    mod scene;
}
