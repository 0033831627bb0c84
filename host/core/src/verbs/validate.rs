//! `validate`: what it is asked, and what it answers.

use super::{Query, Validate};
use crate::types::{Caller, Capability, Parameters, VolumeId};

/// `validate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidateRequest {
    /// The volume.
    pub volume: VolumeId,
    /// Its context, as the caller has it.
    pub context: Parameters,
    /// Its parameters, as the caller has them.
    pub parameters: Parameters,
    /// Its mutable parameters, as the caller has them.
    pub mutable_parameters: Parameters,
    /// What is asked about.
    pub capabilities: Vec<Capability>,
    /// Who asks.
    pub caller: Caller,
}

/// The result of `validate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    /// Whether everything asked about holds.
    pub confirmed: bool,
    /// Why not; or what a person should know besides.
    pub message: String,
}

impl Query for Validate {
    fn volume(request: &ValidateRequest) -> Option<&VolumeId> {
        Some(&request.volume)
    }

    fn title(request: &ValidateRequest) -> String {
        format!("validation of volume {}", request.volume)
    }
}
