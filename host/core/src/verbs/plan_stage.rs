//! `plan-stage`: what it is asked, and what it answers.

use crate::types::{Caller, Capability, Parameters, VolumeId};

/// `plan-stage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRequest {
    /// The volume.
    pub volume: VolumeId,
    /// How it will be used.
    pub capability: Capability,
    /// What `create` returned.
    pub context: Parameters,
    /// What `attach` returned.
    pub publish_context: Parameters,
    /// Who asks.
    pub caller: Caller,
}
