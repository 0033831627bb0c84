//! The process itself: its standard streams and signals, how kubelet finds it, and how it says that
//! it is well. No backend is needed for that, so none is installed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

#[cfg(test)]
mod health;
mod home;
mod registration;
mod reload;
mod streams;
