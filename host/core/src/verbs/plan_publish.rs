//! `plan-publish`: what it is asked, and what it answers.

use crate::types::{Caller, Capability, Parameters, VolumeId};

/// `plan-publish`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// The volume.
    pub volume: VolumeId,
    /// How it will be used.
    pub capability: Capability,
    /// This workload only reads.
    pub read_only: bool,
    /// What `create` returned.
    pub context: Parameters,
    /// What `attach` returned.
    pub publish_context: Parameters,
    /// Who asks.
    pub caller: Caller,
}
