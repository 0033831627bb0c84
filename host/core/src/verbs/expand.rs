//! `expand`: what it is asked, and what it answers.

use super::{Change, Expand};
use crate::types::{Caller, Capability, CapacityRange, VolumeId};

/// `expand`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandRequest {
    /// The volume.
    pub volume: VolumeId,
    /// The size asked for.
    pub capacity: CapacityRange,
    /// How it is used, where the caller says.
    pub capability: Option<Capability>,
    /// Who asks.
    pub caller: Caller,
}

/// The result of `expand`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expanded {
    /// The size that it has now.
    pub capacity_bytes: u64,
    /// Whether a node still has to grow something.
    pub node_expansion_required: bool,
}

impl Change for Expand {
    type Done = Expanded;

    fn volume(request: &ExpandRequest) -> &VolumeId {
        &request.volume
    }

    fn title(request: &ExpandRequest) -> String {
        format!("expansion of volume {}", request.volume)
    }
}
