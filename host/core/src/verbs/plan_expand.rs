//! `plan-expand`: what it is asked, and what it answers.

use crate::types::{Caller, Capability, Parameters, VolumeId};

/// `plan-expand`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeExpandRequest {
    /// The volume.
    pub volume: VolumeId,
    /// How it is used, where known.
    pub capability: Option<Capability>,
    /// Bytes that the device must have; zero: as many as it has.
    pub required_bytes: u64,
    /// What `create` returned, where known.
    pub context: Parameters,
    /// What `attach` returned, where known.
    pub publish_context: Parameters,
    /// Who asks.
    pub caller: Caller,
}
