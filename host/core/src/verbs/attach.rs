//! `attach`: what it is asked, and what it answers.

use super::{Attach, Change};
use crate::types::{Caller, Capability, NodeId, Parameters, VolumeId};

/// `attach`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// The volume.
    pub volume: VolumeId,
    /// The node that gets it.
    pub node: NodeId,
    /// How it will be used.
    pub capability: Capability,
    /// Attach read-only.
    pub read_only: bool,
    /// What `create` returned.
    pub context: Parameters,
    /// Who asks.
    pub caller: Caller,
}

/// The result of `attach`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// What the node needs to find it.
    pub publish_context: Parameters,
}

impl Change for Attach {
    type Done = Attached;

    fn volume(request: &AttachRequest) -> &VolumeId {
        &request.volume
    }

    fn title(request: &AttachRequest) -> String {
        format!("attach of volume {} to node {}", request.volume, request.node)
    }
}
