//! `translate`: what it is asked, and what it answers.

use crate::types::{Parameters, VolumeId};

/// `translate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslateRequest {
    /// `vendor/driver`.
    pub driver: String,
    /// The options, without kubelet's own keys and without secrets.
    pub options: Parameters,
    /// PersistentVolume or inline volume name.
    pub volume_name: String,
}

/// The result of `translate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The volume.
    pub volume: VolumeId,
    /// Its context.
    pub context: Parameters,
    /// Keys of the context that hold only while FlexVolume mounts the volume.
    pub only_over_flexvolume: Vec<String>,
}
