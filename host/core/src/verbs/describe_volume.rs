//! `describe-volume`: what it is asked, and what it answers.

use crate::types::{Parameters, Volume};

/// `describe-volume`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribeVolumeRequest {
    /// `vendor/driver`.
    pub driver: String,
    /// The volume, as a PersistentVolume of CSI has it.
    pub volume: Volume,
}

/// How a PersistentVolume of FlexVolume names a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LegacyVolume {
    /// `vendor/driver`.
    pub driver: String,
    /// Its options.
    pub options: Parameters,
    /// Its file system; empty: not named.
    pub fs_type: String,
}
