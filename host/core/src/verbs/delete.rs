//! `delete`: what it is asked, and what it answers.

use super::{Change, Delete};
use crate::types::{Caller, VolumeId};

/// `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// The volume.
    pub volume: VolumeId,
    /// Who asks.
    pub caller: Caller,
}

impl Change for Delete {
    type Done = ();
    const ENDS: bool = true;

    fn volume(request: &DeleteRequest) -> &VolumeId {
        &request.volume
    }

    fn title(request: &DeleteRequest) -> String {
        format!("delete of volume {}", request.volume)
    }
}
