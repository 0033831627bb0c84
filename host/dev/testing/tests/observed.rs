//! What an operator sees of the real binary with real backends: its health and its numbers.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what a test's own helpers meet fails the test"
)]

mod observed {
    mod doctor;
    mod health;
    mod metrics;
    mod scene;
}
#[allow(dead_code, reason = "some of it is for the end of the process alone")]
#[path = "stuck/server.rs"]
mod stuck;
