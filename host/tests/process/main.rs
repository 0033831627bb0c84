//! The process itself: its standard streams and signals, and how kubelet finds it. No backend is
//! needed for that, so none is installed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

#[cfg(test)]
mod home;
mod registration;
mod streams;
