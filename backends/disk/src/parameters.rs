//! StorageClass and VolumeAttributesClass parameters. Keys are case-sensitive, as in the cloud's
//! own driver; a key that is not listed here, and a value that a key does not allow, is refused by
//! name.
//!
//! | key | value |
//! |---|---|
//! | `type` | categories, best first, separated by commas; `available` and absent:
//! `cloud_ssd,cloud_efficiency,cloud_auto` |
//! | `performanceLevel` | `PL0` … `PL3`, best first, separated by commas; for `cloud_essd` |
//! | `zoneId` (`zoneid`) | zones, best first, separated by commas; narrows the topology requirement
//! |
//! | `regionId` | the backend's region, or absent |
//! | `encrypted`, `kmsKeyId` (`alibabacloud.com/kms-key-id`, which wins),
//! `alibabacloud.com/createdisk-arn` | encryption; the last one is a JSON list |
//! | `multiAttach` | `true` or `enabled`: the disk may be attached to several nodes |
//! | `diskTags`, `diskTags/<key>` | `k:v,k2:v2`; one value |
//! | `resourceGroupId`, `storageClusterId` | the second one needs `performanceLevel` |
//! | `provisionedIops`, `burstingEnabled` | for `cloud_auto` |
//! | `volumeSizeAutoAvailable` | sizes below 20 GiB become 20 GiB |
//! | `volumeDeleteSnapshotRetentionDays` | 1 to 65536; a tag on the disk |
//! | `fsType`, `mkfsOptions`, `sysConfig`, `omitfsck` | for the node; see
//! [`filesystem`](crate::filesystem) and [`queue_settings`](mod@crate::queue_settings) |
//! | `volume.alibabacloud.com/disk-id` | takes over this disk instead of creating one |
//! | `csi.alibabacloud.com/disk-snapshot-id` | starts from this snapshot |
//!
//! Accepted without effect: `volumeExpandAutoSnapshot` and `readOnly` (obsolete),
//! `restrictToHpnZone: never` (what happens anyway), and what Kubernetes and its provisioners add
//! about the claim (`csi.storage.k8s.io/…`, `allowVolumeExpansion`,
//! `csi.alibabacloud.com/reclaimPolicy`, `csi.alibabacloud.com/storageclassName`, and every key of
//! a domain that is not the cloud's: its own provisioner adds the claim's annotations).
//! Refused although the cloud's own driver has them: `dataCacheSize`, `dataCacheMode`, `readIOPS`,
//! `writeIOPS`, `readBPS`, `writeBPS`: a limit that nobody enforces must not be promised.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;
use wharf_sdk::types::Parameters;
use wharf_sdk::{Error, Pairs as _};

use crate::category::{Category, Level};
use crate::filesystem::Formatting;
use crate::queue_settings;
use crate::serial::DiskId;
use crate::tags::CREATED_FOR;

/// Takes over a disk.
pub const DISK_ID: &str = "volume.alibabacloud.com/disk-id";
/// Starts from a snapshot.
pub const SNAPSHOT_ID: &str = "csi.alibabacloud.com/disk-snapshot-id";
/// The claim's annotation for `kmsKeyId`.
const KMS_KEY_ID: &str = "alibabacloud.com/kms-key-id";

const DISK_TAG: &str = "diskTags/";
const REMOVED_DISK_TAG: &str = "-diskTags/";

/// What a StorageClass asks for, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct DiskParameters {
    /// Best first.
    pub categories: Vec<&'static Category>,
    /// Best first; empty: the cloud's default.
    pub levels: Vec<&'static Level>,
    /// Best first; empty: any.
    pub zones: Vec<String>,
    /// The region, if the class names one.
    pub region: Option<String>,
    /// Encrypt the disk.
    pub encrypted: bool,
    /// With this key; `None`: the cloud's default key.
    pub kms_key: Option<String>,
    /// Through these roles.
    pub arns: Vec<Arn>,
    /// Several nodes may hold the disk.
    pub multi_attach: bool,
    /// The person's tags and those that name the claim.
    pub tags: BTreeMap<String, String>,
    /// Resource group.
    pub resource_group: Option<String>,
    /// Dedicated storage cluster.
    pub storage_cluster: Option<String>,
    /// Provisioned IOPS, where the category has them.
    pub provisioned_iops: Option<u64>,
    /// Bursting, where the category has it.
    pub bursting: bool,
    /// Sizes below the default become the default.
    pub round_up: bool,
    /// Days to keep the snapshot that a deletion takes.
    pub retention_days: Option<u32>,
    /// The disk to take over.
    pub adopt: Option<DiskId>,
    /// The snapshot to start from.
    pub snapshot: Option<String>,
    /// How its file system will be made.
    pub formatting: Formatting,
}

/// One role on the way to an encryption key. The cloud's own driver reads the names in any case;
/// these are the cases that people write.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Arn {
    /// The role.
    #[serde(alias = "rolearn", alias = "roleArn", alias = "RoleArn", rename = "Rolearn")]
    pub role: String,
    /// Its type.
    #[serde(alias = "roletype", alias = "roleType", rename = "RoleType", default)]
    pub kind: String,
    /// Whom it acts for.
    #[serde(alias = "assumerolefor", alias = "assumeRoleFor", rename = "AssumeRoleFor", default)]
    pub acts_for: String,
}

impl Default for DiskParameters {
    fn default() -> Self {
        Self {
            categories: Category::available(),
            levels: Vec::new(),
            zones: Vec::new(),
            region: None,
            encrypted: false,
            kms_key: None,
            arns: Vec::new(),
            multi_attach: false,
            tags: BTreeMap::new(),
            resource_group: None,
            storage_cluster: None,
            provisioned_iops: None,
            bursting: false,
            round_up: false,
            retention_days: None,
            adopt: None,
            snapshot: None,
            formatting: Formatting::default(),
        }
    }
}

impl DiskParameters {
    /// Reads both maps; `mutable` wins.
    ///
    /// # Errors
    /// `invalid-argument` naming the first key that is not known or whose value is not allowed.
    pub fn read(parameters: &Parameters, mutable: &Parameters) -> Result<Self, Error> {
        let mut read = Self { tags: old_tags(parameters)?, ..Self::default() };
        for (key, value) in parameters {
            read.set(key, value)?;
        }
        for (key, value) in mutable {
            read.change(key, value)?;
        }
        if let Some(annotated) = parameters.value(KMS_KEY_ID) {
            read.kms_key = some(annotated);
        }
        // What names the claim wins over what a person wrote.
        for (key, tag) in CREATED_FOR {
            if let Some((_, value)) =
                parameters.iter().find(|(name, value)| name == key && !value.is_empty())
            {
                read.tags.insert(tag.to_owned(), value.clone());
            }
        }
        read.formatting = Formatting::read(parameters)?;
        queue_settings::read(parameters)?;
        read.check()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match key {
            "zoneId" | "zoneid" => self.zones = listed(key, value)?,
            "regionId" => self.region = some(value),
            "encrypted" => self.encrypted = flag(key, value)?,
            "kmsKeyId" => self.kms_key = some(value),
            "alibabacloud.com/createdisk-arn" => self.arns = arns(key, value)?,
            "multiAttach" => self.multi_attach = multi_attach(key, value)?,
            "resourceGroupId" => self.resource_group = some(value),
            "storageClusterId" => self.storage_cluster = some(value),
            "volumeSizeAutoAvailable" => self.round_up = flag(key, value)?,
            "volumeDeleteSnapshotRetentionDays" => {
                self.retention_days =
                    Some(number(key, value, "a whole number from 1 to 65536", |days| {
                        (1..=65_536).contains(days)
                    })?)
            }
            DISK_ID => {
                self.adopt = Some(
                    DiskId::parse(value)
                        .ok_or_else(|| Error::invalid(key, value, "a disk id (`d-…`)"))?,
                )
            }
            SNAPSHOT_ID => self.snapshot = some(value),
            KMS_KEY_ID | "readOnly" | "volumeExpandAutoSnapshot" => {}
            "restrictToHpnZone" if matches!(value, "" | "never") => {}
            "restrictToHpnZone" => {
                return Err(Error::invalid(key, value, "never (Lingjun nodes are not supported)"));
            }
            "dataCacheSize" | "dataCacheMode" => {
                return Err(refused(key, "a cache in front of the disk"));
            }
            "readIOPS" | "writeIOPS" | "readBPS" | "writeBPS" => {
                return Err(refused(key, "a limit on a workload's I/O"));
            }
            "fsType" | "mkfsOptions" | "sysConfig" | "omitfsck" | "diskTags" => {}
            _ if is_metadata(key) => {}
            _ => return self.set_mutable(key, value, KNOWN),
        }
        Ok(())
    }

    fn change(&mut self, key: &str, value: &str) -> Result<(), Error> {
        match removed_disk_tag(key) {
            Some(tag) => drop(self.tags.remove(tag)),
            None if is_metadata(key) => {}
            None => self.set_mutable(key, value, MUTABLE)?,
        }
        Ok(())
    }

    fn set_mutable(&mut self, key: &str, value: &str, known: &str) -> Result<(), Error> {
        match key {
            "type" => self.categories = categories(value)?,
            "performanceLevel" => self.levels = levels(value)?,
            "provisionedIops" => self.provisioned_iops = Some(provisioned_iops(value)?),
            "burstingEnabled" => self.bursting = flag(key, value)?,
            _ => match disk_tag(key) {
                Some(tag) => drop(self.tags.insert(tag.to_owned(), value.to_owned())),
                None => return Err(Error::unknown_key(key, value, known)),
            },
        }
        Ok(())
    }

    fn check(self) -> Result<Self, Error> {
        if let (Some(cluster), true) = (&self.storage_cluster, self.levels.is_empty()) {
            return Err(Error::invalid(
                "storageClusterId",
                cluster,
                "only together with `performanceLevel`",
            ));
        }
        if let (Some(key), false) = (&self.kms_key, self.encrypted) {
            return Err(Error::invalid(
                "kmsKeyId",
                key,
                "only together with `encrypted: \"true\"`",
            ));
        }
        Ok(self)
    }
}

const KNOWN: &str = "alibabacloud.com/createdisk-arn, alibabacloud.com/kms-key-id, \
                     burstingEnabled, csi.alibabacloud.com/disk-snapshot-id, diskTags, \
                     diskTags/<key>, encrypted, fsType, kmsKeyId, mkfsOptions, multiAttach, \
                     omitfsck, performanceLevel, provisionedIops, regionId, resourceGroupId, \
                     storageClusterId, sysConfig, type, volume.alibabacloud.com/disk-id, \
                     volumeDeleteSnapshotRetentionDays, volumeSizeAutoAvailable, zoneId";
/// Keys of a VolumeAttributesClass, for an error.
pub const MUTABLE: &str =
    "burstingEnabled, diskTags/<key>, -diskTags/<key>, performanceLevel, provisionedIops, type";

/// What Kubernetes, and the provisioners in front of this backend, say about a claim.
pub fn is_metadata(key: &str) -> bool {
    const OWN: [&str; 3] = [
        "allowVolumeExpansion",
        "csi.alibabacloud.com/reclaimPolicy",
        "csi.alibabacloud.com/storageclassName",
    ];
    let of_the_cloud = |domain: &str| {
        ["alibabacloud.com", "aliyun.com"].iter().any(|own| {
            domain.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    };
    OWN.contains(&key)
        || key
            .split_once('/')
            .is_some_and(|(domain, _)| domain.contains('.') && !of_the_cloud(domain))
}

fn refused(key: &str, what: &str) -> Error {
    Error::invalid_request(format!("parameter `{key}` ({what}) is not supported by this backend"))
        .with_hint("remove the parameter from the StorageClass")
}

fn some(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

/// `yes`, `true`, `1` and their opposites, in any case. The cloud's own driver reads anything else
/// as no.
pub fn flag(key: &str, value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" | "" => Ok(false),
        _ => Err(Error::invalid(key, value, "true, yes, 1, false, no or 0")),
    }
}

fn multi_attach(key: &str, value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "enabled" => Ok(true),
        "false" | "disabled" | "" => Ok(false),
        _ => Err(Error::invalid(key, value, "true, enabled, false or disabled")),
    }
}

fn number<T: FromStr>(
    key: &str,
    value: &str,
    allowed: &str,
    is_allowed: impl Fn(&T) -> bool,
) -> Result<T, Error> {
    value.parse().ok().filter(is_allowed).ok_or_else(|| Error::invalid(key, value, allowed))
}

fn listed(key: &str, value: &str) -> Result<Vec<String>, Error> {
    let items: Vec<String> = value.split(',').map(|item| item.trim().to_owned()).collect();
    if items.iter().any(String::is_empty) {
        return Err(Error::invalid(key, value, "names separated by commas"));
    }
    Ok(items)
}

/// `diskTags/<key>`: the key.
pub fn disk_tag(key: &str) -> Option<&str> {
    key.strip_prefix(DISK_TAG).filter(|tag| !tag.is_empty())
}

/// `-diskTags/<key>`: the key.
pub fn removed_disk_tag(key: &str) -> Option<&str> {
    key.strip_prefix(REMOVED_DISK_TAG).filter(|tag| !tag.is_empty())
}

/// `provisionedIops`.
///
/// # Errors
/// `invalid-argument`.
pub fn provisioned_iops(value: &str) -> Result<u64, Error> {
    number("provisionedIops", value, "a whole number", |_| true)
}

/// `type`, best first.
///
/// # Errors
/// `invalid-argument` for a category that there is not.
pub fn categories(value: &str) -> Result<Vec<&'static Category>, Error> {
    if matches!(value, "" | "available") {
        return Ok(Category::available());
    }
    let named = |name: &str| {
        Category::named(name.trim()).ok_or_else(|| Error::invalid("type", value, Category::names()))
    };
    value.split(',').map(named).collect()
}

/// `performanceLevel`, best first; empty: none is named.
///
/// # Errors
/// `invalid-argument` for a level that there is not.
pub fn levels(value: &str) -> Result<Vec<&'static Level>, Error> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let named = |name: &str| {
        Level::named(name.trim()).ok_or_else(|| {
            Error::invalid("performanceLevel", value, "PL0, PL1, PL2 or PL3, separated by commas")
        })
    };
    value.split(',').map(named).collect()
}

fn arns(key: &str, value: &str) -> Result<Vec<Arn>, Error> {
    let allowed = "a JSON list of objects with Rolearn, RoleType and AssumeRoleFor";
    serde_json::from_str(value)
        .map_err(|error| Error::invalid(key, value, format!("{allowed} ({error})")))
}

/// The old form `diskTags: "k:v,k2:v2"`, which the new form overrides.
fn old_tags(parameters: &Parameters) -> Result<BTreeMap<String, String>, Error> {
    let Some((key, value)) =
        parameters.iter().find(|(key, value)| key == "diskTags" && !value.is_empty())
    else {
        return Ok(BTreeMap::new());
    };
    let pair = |tag: &str| {
        tag.split_once(':')
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .filter(|(key, _)| !key.is_empty())
    };
    value
        .split(',')
        .map(|tag| {
            pair(tag)
                .ok_or_else(|| Error::invalid(key, value, "key:value pairs separated by commas"))
        })
        .collect()
}

#[cfg(test)]
mod tests;
