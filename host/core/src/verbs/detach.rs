//! `detach`: what it is asked, and what it answers.

use super::{Change, Detach};
use crate::types::{Caller, NodeId, VolumeId};

/// `detach`. No node: from every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachRequest {
    /// The volume.
    pub volume: VolumeId,
    /// The node that gives it up.
    pub node: Option<NodeId>,
    /// Who asks.
    pub caller: Caller,
}

impl Change for Detach {
    type Done = ();

    fn volume(request: &DetachRequest) -> &VolumeId {
        &request.volume
    }

    fn title(request: &DetachRequest) -> String {
        match &request.node {
            Some(node) => format!("detach of volume {} from node {node}", request.volume),
            None => format!("detach of volume {} from every node", request.volume),
        }
    }
}
