//! What the cloud says of file systems.

use serde::Deserialize;
use wharf_alicloud::{Failure, RpcCall};
use wharf_sdk::Error;

use super::VOLUME_NAME;
use crate::action::Action;
use crate::gone::gone;

/// Of DescribeFileSystems.
const PAGE: u32 = 100;
/// A region has twenty file systems unless the cloud grants more; a thousand are more than it does.
const MOST_PAGES: u32 = 10;
/// The cloud says so of an id whose file system is not made yet.
const ORDERING: &str = "InvalidFileSystemStatus.Ordering";

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    file_systems: FileSystems,
    total_count: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FileSystems {
    file_system: Vec<FileSystem>,
}

/// A file system; what the cloud does not say is empty.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct FileSystem {
    pub(super) file_system_id: String,
    pub(super) file_system_type: String,
    pub(super) storage_type: String,
    pub(super) protocol_type: String,
    pub(super) zone_id: String,
    pub(super) encrypt_type: u64,
    /// In GiB.
    pub(super) capacity: u64,
    pub(super) status: String,
    pub(super) mount_targets: MountTargets,
    tags: Tags,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct MountTargets {
    pub(super) mount_target: Vec<MountTarget>,
}

/// What a file system is mounted by.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct MountTarget {
    pub(super) mount_target_domain: String,
    pub(super) vpc_id: String,
    pub(super) vsw_id: String,
    pub(super) access_group_name: String,
    pub(super) status: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tags {
    tag: Vec<Tag>,
}

/// A tag, as the cloud reports it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Tag {
    /// Its name.
    pub key: String,
    /// What it says.
    pub value: String,
}

impl FileSystem {
    /// The name of the volume that this was made for.
    pub(super) fn volume_name(&self) -> Option<&str> {
        let mut tags = self.tags.tag.iter();
        tags.find(|tag| tag.key == VOLUME_NAME).map(|tag| tag.value.as_str())
    }

    fn is_ending(&self) -> bool {
        matches!(self.status.as_str(), "Stopping" | "Stopped" | "Deleting")
    }
}

/// The file system that was made for a volume of this name; one that ends is none.
pub(super) fn by_name(name: &str) -> Result<Option<FileSystem>, Error> {
    let call = asking().with_tags([(VOLUME_NAME, name)]);
    let page: Page = call.send()?;
    let mut found = page.file_systems.file_system.into_iter();
    Ok(found.find(|system| system.volume_name() == Some(name) && !system.is_ending()))
}

/// The file system of this id; one that ends is none.
pub(super) fn by_id(id: &str) -> Result<Option<FileSystem>, Error> {
    in_answer(id, ask_by_id(id))
}

/// Whether a file system exists that the listing by name does not show.
pub(super) fn is_there(id: &str) -> Result<bool, Error> {
    match ask_by_id(id) {
        Err(failure) if failure.is(ORDERING) => Ok(true),
        answer => in_answer(id, answer).map(|found| found.is_some()),
    }
}

/// Whether a file system has a mount target that the listing by name does not show.
pub(super) fn has_mount_target(id: &str, domain: &str) -> Result<bool, Error> {
    let targets = by_id(id)?.map(|system| system.mount_targets.mount_target).unwrap_or_default();
    Ok(targets.iter().any(|target| target.mount_target_domain == domain))
}

fn asking() -> RpcCall {
    Action::DescribeFileSystems.call().with("FileSystemType", "all").with("PageSize", PAGE)
}

fn ask_by_id(id: &str) -> Result<Page, Failure> {
    asking().with("FileSystemId", id).send()
}

fn in_answer(id: &str, answer: Result<Page, Failure>) -> Result<Option<FileSystem>, Error> {
    let Some(page) = gone(answer)? else { return Ok(None) };
    let mut systems = page.file_systems.file_system.into_iter();
    Ok(systems.find(|system| system.file_system_id == id && !system.is_ending()))
}

/// General-purpose NFS file systems, whose directories may have quotas, in the order of their ids.
///
/// # Errors
/// `failed-precondition` where there are too many to look at; those of the cloud.
pub fn with_quotas() -> Result<Vec<String>, Error> {
    let mut ids = Vec::new();
    for number in 1..=MOST_PAGES {
        let call = Action::DescribeFileSystems.call().with("FileSystemType", "standard");
        let page: Page = call.with("PageSize", PAGE).with("PageNumber", number).send()?;
        let systems = page.file_systems.file_system;
        let is_last = systems.is_empty() || number * PAGE >= page.total_count;
        let has_quotas =
            |system: &FileSystem| system.status == "Running" && system.protocol_type == "NFS";
        ids.extend(systems.into_iter().filter(has_quotas).map(|system| system.file_system_id));
        if is_last {
            ids.sort_unstable();
            ids.dedup();
            return Ok(ids);
        }
    }
    Err(Error::precondition(format!(
        "the region has more than {} file systems, too many to look for a quota in",
        MOST_PAGES * PAGE
    ))
    .with_hint("raise the quota of the volume's directory in the NAS console"))
}

/// From where a file system is reached.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The network.
    pub vpc: String,
    /// The part of it that has the mount target.
    pub vswitch: String,
    /// Who in it may mount.
    pub access_group: String,
}

/// From where the mount target of this name is reached, or the first one of the file system.
///
/// # Errors
/// `failed-precondition` for a file system without mount targets; those of the cloud.
pub fn network(id: &str, server: &str) -> Result<Network, Error> {
    let targets = by_id(id)?.map(|system| system.mount_targets.mount_target).unwrap_or_default();
    let named = targets.iter().find(|target| target.mount_target_domain == server);
    let target = named.or_else(|| targets.first()).ok_or_else(|| {
        Error::precondition(format!("file system {id} has no mount target"))
            .with_hint("say `vpcId`, `vSwitchId` and `accessGroupName` in the StorageClass")
    })?;
    Ok(Network {
        vpc: target.vpc_id.clone(),
        vswitch: target.vsw_id.clone(),
        access_group: target.access_group_name.clone(),
    })
}
