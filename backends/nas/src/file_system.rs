//! `volumeAs: filesystem`: a file system of the volume's own, with one mount target.
//!
//! It is found again by a tag with the volume's name, and by the client token where the listing
//! does not show it yet, so a lost answer or a restart never makes a second one. Its handle is
//! `filesystem#ID#delete`, or `…#keep` where the class does not say `deleteVolume: "true"`.

use serde::Deserialize;
use wharf_alicloud::fnv128a;
use wharf_sdk::controller::CreateRequest;
use wharf_sdk::types::{Parameters, Pending, Volume};
use wharf_sdk::{Answer, Error, ErrorKind};

use crate::action::Action;
use crate::attributes::Named;
use crate::handle::is_plain;
use crate::nfs_options::{Defaults, NfsOptions};
use crate::parameters::flag;
use crate::quota;

/// Says which volume a file system is; also how it is found again.
const VOLUME_NAME: &str = "csi.alibabacloud.com/volume-name";
/// Says that a Kubernetes driver made it.
const MANAGED: (&str, &str) = ("k8s.aliyun.com", "true");
/// Mount targets and extreme file systems take seconds to minutes.
const LOOK_AGAIN_MS: u32 = 2000;
/// The smallest extreme file system, in GiB.
const SMALLEST_EXTREME: u64 = 100;
/// Of DescribeFileSystems.
const PAGE: u32 = 100;

const KNOWN: [&str; 19] = [
    "volumeAs",
    "fileSystemType",
    "storageType",
    "zoneId",
    "regionId",
    "vpcId",
    "vSwitchId",
    "accessGroupName",
    "encryptType",
    "snapshotID",
    "protocolType",
    "networkType",
    "description",
    "deleteVolume",
    "vers",
    "options",
    "mountType",
    "mountProtocol",
    "sysConfig",
];

/// What is handed on to the cloud as it stands, under its own name.
const HANDED_ON: [(&str, &str); 3] =
    [("zoneId", "ZoneId"), ("snapshotID", "SnapshotId"), ("description", "Description")];

/// A file system for each volume.
#[derive(Debug)]
pub struct NewFileSystem {
    is_extreme: bool,
    storage_type: String,
    is_encrypted: bool,
    handed_on: Parameters,
    vpc: String,
    vswitch: String,
    access_group: String,
    is_deleted: bool,
    context: Parameters,
}

impl NewFileSystem {
    /// Reads the parameters of a class.
    ///
    /// # Errors
    /// `invalid-argument` naming the key.
    pub fn read(named: &Named, mount_options: &[String]) -> Result<Self, Error> {
        named.check_known(&[&KNOWN])?;
        let needed = |key: &str| match named.get(key) {
            "" => Err(Error::invalid(key, "", "the id of the network that the nodes are in")),
            value => Ok(value.to_owned()),
        };
        let one_of = |key: &str, absent: &str, allowed: &[&str]| {
            let value = if named.get(key).is_empty() { absent } else { named.get(key) };
            match allowed.iter().find(|allowed| allowed.eq_ignore_ascii_case(value)) {
                Some(found) => Ok((*found).to_owned()),
                None => Err(Error::invalid(key, value, allowed.join(" or "))),
            }
        };
        let kind = one_of("fileSystemType", "standard", &["standard", "extreme"])?;
        let is_extreme = kind == "extreme";
        let storage_type = match is_extreme {
            false => one_of("storageType", "Performance", &["Performance", "Capacity"])?,
            true => one_of("storageType", "standard", &["standard", "advance"])?,
        };
        one_of("protocolType", "NFS", &["NFS"])?;
        one_of("networkType", "vpc", &["vpc"])?;
        let is_encrypted = one_of("encryptType", "0", &["0", "1"])? == "1";
        let (vers, options) = (named.get("vers"), named.get("options"));
        let nfs = NfsOptions::read(vers, options, mount_options, Defaults::Csi)?;
        if is_extreme && nfs.version.word() != "3" {
            return Err(Error::invalid("vers", nfs.version.word(), "3 (an extreme file system)"));
        }
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let given = |(_, value): &(String, String)| !value.is_empty();
        let handed_on = HANDED_ON.map(|(key, name)| pair(name, named.get(key)));
        Ok(Self {
            is_extreme,
            storage_type,
            is_encrypted,
            handed_on: handed_on.into_iter().filter(given).collect(),
            vpc: needed("vpcId")?,
            vswitch: needed("vSwitchId")?,
            access_group: match named.get("accessGroupName") {
                "" => "DEFAULT_VPC_GROUP_NAME".to_owned(),
                group => group.to_owned(),
            },
            is_deleted: flag(named, "deleteVolume", false)?,
            context: [pair("vers", vers), pair("options", options)]
                .into_iter()
                .filter(given)
                .collect(),
        })
    }

    /// One step towards a file system that can be mounted.
    ///
    /// # Errors
    /// Those of the cloud.
    pub fn create(&self, request: &CreateRequest) -> Result<Answer<Volume>, Error> {
        let Some(found) = by_name(&request.name)? else {
            let made = self.order(request)?;
            return Ok(wait(&format!("file system {made} to be made")));
        };
        if !found.status.is_empty() && found.status != "Running" {
            return Ok(wait(&format!("file system {} to run", found.file_system_id)));
        }
        let targets = &found.mount_targets.mount_target;
        let Some(target) = targets.iter().find(|target| target.status != "Deleting") else {
            self.order_mount_target(&found.file_system_id)?;
            return Ok(wait(&format!("a mount target of {}", found.file_system_id)));
        };
        if target.status != "Active" || target.mount_target_domain.is_empty() {
            return Ok(wait(&format!("the mount target of {}", found.file_system_id)));
        }
        let end = if self.is_deleted { "delete" } else { "keep" };
        let volume = Volume::new(
            format!("filesystem#{}#{end}", found.file_system_id),
            self.capacity(request)
                .map_or(request.capacity.required_bytes.unwrap_or(0), quota::bytes),
        )
        .with_context("server", &target.mount_target_domain)
        .with_context("path", if self.is_extreme { "/share" } else { "/" });
        let context = self.context.iter();
        Ok(Answer::Done(
            context.fold(volume, |volume, (key, value)| volume.with_context(key, value)),
        ))
    }

    /// Only extreme file systems have a size, in GiB.
    fn capacity(&self, request: &CreateRequest) -> Option<u64> {
        let asked = request.capacity.required_bytes.unwrap_or(0).div_ceil(1 << 30);
        self.is_extreme.then(|| asked.max(SMALLEST_EXTREME))
    }

    fn order(&self, request: &CreateRequest) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Made {
            file_system_id: String,
        }
        let kind = if self.is_extreme { "extreme" } else { "standard" };
        let call = Action::CreateFileSystem
            .call()
            .with("FileSystemType", kind)
            .with("ProtocolType", "NFS")
            .with("StorageType", &self.storage_type)
            .with("EncryptType", u8::from(self.is_encrypted))
            .with("VpcId", &self.vpc)
            .with("VSwitchId", &self.vswitch)
            .with("ClientToken", client_token(&request.name))
            .with_some("Capacity", self.capacity(request))
            .with_tags([MANAGED, (VOLUME_NAME, request.name.as_str())]);
        let handed_on = self.handed_on.iter();
        let call = handed_on.fold(call, |call, (name, value)| call.with(name, value));
        Ok(call.send::<Made>()?.file_system_id)
    }

    fn order_mount_target(&self, file_system: &str) -> Result<(), Error> {
        let call = Action::CreateMountTarget
            .call()
            .with("FileSystemId", file_system)
            .with("NetworkType", "Vpc")
            .with("VpcId", &self.vpc)
            .with("VSwitchId", &self.vswitch)
            .with("AccessGroupName", &self.access_group);
        let _: serde_json::Value = call.send()?;
        Ok(())
    }
}

/// The same name is the same request, for as long as the cloud remembers it; 64 characters at most.
fn client_token(name: &str) -> String {
    format!("wharf-{:032x}", fnv128a(name))
}

fn wait<T>(what: &str) -> Answer<T> {
    Pending::after_ms(LOOK_AGAIN_MS, format!("the cloud is asked for {what}")).into()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    file_systems: FileSystems,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FileSystems {
    file_system: Vec<FileSystem>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct FileSystem {
    file_system_id: String,
    status: String,
    mount_targets: MountTargets,
    tags: Tags,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MountTargets {
    mount_target: Vec<MountTarget>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct MountTarget {
    mount_target_domain: String,
    status: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tags {
    tag: Vec<Tag>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Tag {
    key: String,
    value: String,
}

impl FileSystem {
    /// The name of the volume that this was made for.
    fn volume_name(&self) -> Option<&str> {
        let mut tags = self.tags.tag.iter();
        tags.find(|tag| tag.key == VOLUME_NAME).map(|tag| tag.value.as_str())
    }
}

fn by_name(name: &str) -> Result<Option<FileSystem>, Error> {
    let call = Action::DescribeFileSystems
        .call()
        .with("FileSystemType", "all")
        .with("PageSize", PAGE)
        .with_tags([(VOLUME_NAME, name)]);
    let page: Page = call.send()?;
    let mut found = page.file_systems.file_system.into_iter();
    Ok(found.find(|system| system.volume_name() == Some(name) && !is_ending(system)))
}

fn is_ending(system: &FileSystem) -> bool {
    matches!(system.status.as_str(), "Stopping" | "Stopped" | "Deleting")
}

/// The file system of a handle whose class said `deleteVolume: "true"`.
pub fn to_delete(handle: &str) -> Option<&str> {
    let id = handle.strip_prefix("filesystem#")?.strip_suffix("#delete")?;
    is_plain(id).then_some(id)
}

/// One step towards the end of a file system. One that was not made for a volume stays.
///
/// # Errors
/// `failed-precondition` for a file system without the tag of a volume; those of the cloud.
pub fn delete(id: &str) -> Result<Answer<()>, Error> {
    let call = Action::DescribeFileSystems
        .call()
        .with("FileSystemId", id)
        .with("FileSystemType", "all")
        .with("PageSize", PAGE);
    let page: Page = match gone(call.send().map_err(Error::from))? {
        Some(page) => page,
        None => return Ok(Answer::Done(())),
    };
    let mut systems = page.file_systems.file_system.into_iter();
    let Some(found) = systems.find(|system| system.file_system_id == id && !is_ending(system))
    else {
        return Ok(Answer::Done(()));
    };
    if found.volume_name().is_none() {
        return Err(Error::precondition(format!(
            "file system {id} has no tag `{VOLUME_NAME}`, so it was not made for a volume"
        ))
        .with_hint("delete it in the console if nothing needs it, then the PersistentVolume")
        .as_observed());
    }
    let targets = &found.mount_targets.mount_target;
    if targets.is_empty() {
        let end = Action::DeleteFileSystem.call().with("FileSystemId", id);
        gone(end.send::<serde_json::Value>().map_err(Error::from))?;
        return Ok(Answer::Done(()));
    }
    for target in targets.iter().filter(|target| target.status == "Active") {
        let end = Action::DeleteMountTarget
            .call()
            .with("FileSystemId", id)
            .with("MountTargetDomain", &target.mount_target_domain);
        gone(end.send::<serde_json::Value>().map_err(Error::from))?;
    }
    Ok(wait(&format!("the end of the mount targets of {id}")))
}

/// What is not there needs no ending.
fn gone<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        // The cloud says so of a mount target that is gone.
        Err(error) if error.code.as_deref() == Some("InvalidParam.MountTargetDomain") => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests;
