//! `capacity`: what it is asked, and what it answers.

use super::{Capacity, Query};
use crate::types::{Capability, Parameters, Segments};

/// `capacity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapacityRequest {
    /// How the volumes are to be used; empty: nobody said.
    pub capabilities: Vec<Capability>,
    /// Their parameters.
    pub parameters: Parameters,
    /// Where they are to be reachable from; absent: anywhere.
    pub topology: Option<Segments>,
}

/// The result of `capacity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// Bytes that can be created now.
    pub bytes: u64,
    /// The smallest volume; absent: not known.
    pub minimum_volume_bytes: Option<u64>,
    /// The largest volume, no more than `bytes`; absent: not known.
    pub maximum_volume_bytes: Option<u64>,
}

impl Query for Capacity {
    fn title(_: &CapacityRequest) -> String {
        "look-up of the capacity".to_owned()
    }
}
