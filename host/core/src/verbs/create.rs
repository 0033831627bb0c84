//! `create`: what it is asked, and what it answers.

use crate::types::{
    Caller, Capability, CapacityRange, Parameters, TopologyRequirement, VolumeSource,
};

/// `create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// The caller's name: same name, same volume.
    pub name: String,
    /// Size.
    pub capacity: CapacityRange,
    /// Every way in which it will be used.
    pub capabilities: Vec<Capability>,
    /// StorageClass parameters.
    pub parameters: Parameters,
    /// VolumeAttributesClass parameters.
    pub mutable_parameters: Parameters,
    /// What to start from.
    pub source: Option<VolumeSource>,
    /// Where.
    pub topology: Option<TopologyRequirement>,
    /// Who asks.
    pub caller: Caller,
}
