//! Call-outs from argument list to answer, against a cloud and a machine that keep state between
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test speaks in assertions, its doubles and tables too"
)]

mod cloud;
mod garbage;
mod golden;
mod journeys;
mod scenario;
mod world;
