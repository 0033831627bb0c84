//! The front end behind real gRPC on a real unix socket, with a cloud and a machine in memory
//! behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests, outside of a test function"
)]

#[cfg(test)]
mod authority;
mod capacity;
mod conditions;
mod drain;
mod edge;
mod modify;
mod offers;
mod once;
mod registration;
mod rig;
mod secrets;
mod time;
