//! Components that do what they must not, called through the public interface as a host calls them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests speak in assertions"
)]

mod authentication;
mod bench;
mod contract;
mod describe;
mod fixture;
mod limits;
mod pace;
mod requests;
mod server;
mod shares;
mod tls;
