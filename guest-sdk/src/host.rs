//! The seam between a backend and its host. In a component it is the contract's imports, called
//! directly, so that what a backend does not use is not imported; in a native build it is whatever
//! [`testing::FakeHost`](crate::testing::FakeHost) is installed on the thread.

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::seam::*;
#[cfg(target_arch = "wasm32")]
pub(crate) use component::*;

#[cfg(target_arch = "wasm32")]
mod component {
    use crate::bindings::backend::wharf::volume::{config, http, log, random, wall_clock};

    pub(crate) use config::{all as config_all, get as config_get};
    pub(crate) use http::{send, send_all};
    pub(crate) use log::{panicked, write};
    pub(crate) use random::bytes as random_bytes;
    pub(crate) use wall_clock::now;
}
