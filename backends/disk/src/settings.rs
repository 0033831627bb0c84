//! The operator's settings, and what the metadata service knows in their place.

use serde::Deserialize;
use wharf_alicloud::metadata;
use wharf_sdk::{Error, config};

/// Where this machine is, according to the metadata service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// `cn-hangzhou`.
    pub region_id: String,
    /// `cn-hangzhou-i`.
    pub zone_id: String,
    /// `i-…`.
    pub instance_id: String,
    /// `ecs.g7.large`.
    #[serde(default)]
    pub instance_type: String,
}

impl Identity {
    /// Asks the metadata service.
    ///
    /// # Errors
    /// There is none here, or it does not answer; the hint names the settings that make it
    /// unnecessary.
    pub fn ask() -> Result<Self, Error> {
        metadata::identity(
            "outside of an ECS instance, set `region`, `zone` and `instance-id` for the disk \
             backend",
        )
    }
}

/// The region of every request.
///
/// # Errors
/// It is neither set nor known to the metadata service.
pub fn region() -> Result<String, Error> {
    match config::get("region") {
        Some(region) => Ok(region),
        None => Ok(Identity::ask()?.region_id),
    }
}

/// The zone of volumes that nothing else places.
///
/// # Errors
/// It is neither set nor known to the metadata service.
pub fn zone() -> Result<String, Error> {
    match config::get("zone") {
        Some(zone) => Ok(zone),
        None => Ok(Identity::ask()?.zone_id),
    }
}

/// The cluster's id, where disks are tagged with one.
pub fn cluster_id() -> Option<String> {
    config::get("cluster-id")
}

/// Whether an attach may take a disk from its holder.
///
/// # Errors
/// The setting is neither `true` nor `false`.
pub fn force_detach() -> Result<bool, Error> {
    config::flag("force-detach")
}
