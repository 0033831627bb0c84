//! `region.json`: where a running region listens and who may call it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a running region listens and who may call it; the same as `region.json` in its directory,
/// which only its owner can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionDescription {
    /// The region id.
    pub region: String,
    /// Its zones.
    pub zones: Vec<String>,
    /// The account id, as in ARNs.
    pub account: String,
    /// Base URLs.
    pub endpoints: Endpoints,
    /// The authority behind the certificates of `https://` endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// The account's own keys.
    pub admin: AccessKey,
    /// The instances.
    pub instances: Vec<InstanceDescription>,
}

/// Base URLs (`http://127.0.0.1:40123`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// ECS, and `/_region`.
    pub ecs: String,
    /// NAS. Empty in a file of a region that had none.
    #[serde(default)]
    pub nas: String,
    /// STS.
    pub sts: String,
    /// OSS, and the S3-compatible face of it. Empty in a file of a region that had none.
    #[serde(default)]
    pub oss: String,
    /// The metadata service of the first instance.
    pub metadata: String,
}

/// A permanent key pair.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccessKey {
    /// Access key id.
    pub access_key_id: String,
    /// Access key secret.
    pub access_key_secret: String,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("AccessKey")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceDescription {
    /// `i-…`.
    pub id: String,
    /// Its zone.
    pub zone: String,
    /// The keys of its RAM user.
    #[serde(flatten)]
    pub keys: AccessKey,
    /// Where a caller puts the instance's `wharf.toml`; the region does not write it.
    pub config: PathBuf,
    /// The base URL of its own metadata service.
    pub metadata: String,
    /// The directory that stands for its `/dev/disk/by-id`.
    pub by_id: PathBuf,
    /// The directory that stands for its `/sys`: the kernel's own, and the serials of its disks.
    pub sysfs: PathBuf,
}
