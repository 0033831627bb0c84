//! Decisions: verbs, plans, policy, idempotency, errors.
//!
//! Everything in Wharf points here, and this crate points at nothing: no files, no network, no
//! processes, no environment, no clock, no async runtime (`clippy.toml` beside this crate's
//! manifest bans them). What it needs from the world comes in through the ports in [`ports`]; front
//! ends call [`controller::Controller`] and [`node::NodeService`].

pub mod backoff;
pub mod controller;
pub mod error;
pub mod helper_profile;
mod inflight;
pub mod manifest;
pub mod mount_options;
pub mod node;
mod observe_batcher;

pub mod plan;
pub mod policy;
pub mod ports;
mod secret;
pub mod text;
pub mod types;
mod unfinished;
pub mod verbs;

pub use error::{Blame, Effect, Error, ErrorKind};
pub use inflight::UnderWay;
pub use secret::{Secret, SecretBytes};
