//! `modify`: what it is asked, and what it answers.

use super::{Change, Modify};
use crate::types::{Caller, Parameters, VolumeId};

/// `modify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifyRequest {
    /// The volume.
    pub volume: VolumeId,
    /// What it must be like; what is not named stays as it is.
    pub mutable_parameters: Parameters,
    /// Who asks.
    pub caller: Caller,
}

impl Change for Modify {
    type Done = ();

    fn volume(request: &ModifyRequest) -> &VolumeId {
        &request.volume
    }

    fn title(request: &ModifyRequest) -> String {
        format!("modification of volume {}", request.volume)
    }
}
