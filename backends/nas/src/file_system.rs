//! `volumeAs: filesystem`: a file system of the volume's own, with one mount target.
//!
//! It is found again by a tag with the volume's name, and by the client token where the listing
//! does not show it yet, so a lost answer or a restart never makes a second one. A token that
//! stands for a file system that is gone again (a name that is used anew within the day) gives way
//! to the next one. What is found is compared with what is asked for. Its handle is
//! `filesystem#ID#delete`, or `…#keep` where the class does not say `deleteVolume: "true"`.

mod described;

use serde::Deserialize;
use wharf_alicloud::fnv128a;
use wharf_sdk::controller::CreateRequest;
use wharf_sdk::types::{CapacityRange, Parameters, Pending, Volume};
use wharf_sdk::{Answer, Error, Pairs as _, Progress};

use self::described::{FileSystem, by_name, has_mount_target, is_there};
pub use self::described::{Network, Tag, network, with_quotas};
use crate::action::Action;
use crate::attributes::{Mode, Named, OWN_FILE_SYSTEM, read_ahead_kb};
use crate::gone::gone;
use crate::handle::is_plain;
use crate::nfs_options::{Defaults, NfsOptions};
use crate::ordered::{Kind, LOOK_AFTER_MS, order_once};
use crate::parameters::flag;
use crate::quota;

/// Says which volume a file system is; also how it is found again.
pub const VOLUME_NAME: &str = "csi.alibabacloud.com/volume-name";
/// Says that a Kubernetes driver made it.
pub const MANAGED: (&str, &str) = ("k8s.aliyun.com", "true");
/// The smallest extreme file system, in GiB.
const SMALLEST_EXTREME: u64 = 100;

/// Keys of a class.
pub const KEYS: [&str; 22] = [
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
    "mode",
    "modeType",
    "mountType",
    "mountProtocol",
    "sysConfig",
    "sysConfigs",
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
        if is_extreme && nfs.version.as_str() != "3" {
            return Err(Error::invalid("vers", nfs.version.as_str(), "3 (an extreme file system)"));
        }
        read_ahead_kb(named)?;
        let has_mode = Mode::read(named)?.is_some();
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
            context: ["vers", "options", "sysConfig", "sysConfigs", "mode", "modeType"]
                .map(|key| pair(key, named.get(key)))
                .into_iter()
                // By this a node knows that the root is this volume's, and may have its mode.
                .chain(has_mode.then(|| pair("volumeAs", OWN_FILE_SYSTEM)))
                .filter(given)
                .collect(),
        })
    }

    /// One step towards a file system that can be mounted.
    ///
    /// # Errors
    /// `already-exists` when the file system of this name is another one than is asked for;
    /// `out-of-range` where none has such a size; those of the cloud.
    pub fn create(
        &self,
        request: &CreateRequest,
        progress: &Progress,
    ) -> Result<Answer<Volume>, Error> {
        let size = self.size(&request.capacity)?;
        let Some(found) = by_name(&request.name)? else {
            let name = &request.name;
            let order = |renewals| self.order(request, size, &client_token(name, renewals));
            return order_once(Kind::FileSystem, name, progress, is_there, order).map(Answer::from);
        };
        self.check_same(request, size, &found)?;
        if !found.status.is_empty() && found.status != "Running" {
            return Ok(wait(&format!("file system {} to run", found.file_system_id)));
        }
        let targets = found.mount_targets.mount_target.iter();
        let of_use = targets.filter(|target| target.status != "Deleting");
        let Some(target) = of_use.min_by_key(|target| target.status == "Inactive") else {
            let id = &found.file_system_id;
            let is_there = |domain: &str| has_mount_target(id, domain);
            let order = |_| self.order_mount_target(id);
            return order_once(Kind::MountTarget, id, progress, is_there, order).map(Answer::from);
        };
        let network = [
            ("vpcId", self.vpc.as_str(), target.vpc_id.as_str()),
            ("vSwitchId", &self.vswitch, &target.vsw_id),
            ("accessGroupName", &self.access_group, &target.access_group_name),
        ];
        check_alike(request, &found, &network)?;
        if target.status == "Inactive" {
            // Nobody but a person makes it so, and it stays so.
            return Err(Error::precondition(format!(
                "mount target {} of file system {} is inactive, so nobody can mount the volume",
                target.mount_target_domain, found.file_system_id
            ))
            .with_hint("activate it in the NAS console, or delete it and another one is made")
            .as_observed());
        }
        if target.status != "Active" || target.mount_target_domain.is_empty() {
            return Ok(wait(&format!("the mount target of {}", found.file_system_id)));
        }
        let end = if self.is_deleted { "delete" } else { "keep" };
        // Only extreme file systems have a size of their own.
        let bytes = match size {
            Some(_) => quota::bytes(found.capacity),
            None => request.capacity.required_bytes.unwrap_or(0),
        };
        let volume = Volume::new(format!("filesystem#{}#{end}", found.file_system_id), bytes)
            .with_context("server", &target.mount_target_domain)
            .with_context("path", if self.is_extreme { "/share" } else { "/" });
        let context = self.context.iter();
        Ok(Answer::Done(
            context.fold(volume, |volume, (key, value)| volume.with_context(key, value)),
        ))
    }

    /// What is asked for, in GiB, of an extreme file system; any other has no size.
    fn size(&self, capacity: &CapacityRange) -> Result<Option<u64>, Error> {
        if !self.is_extreme {
            return Ok(None);
        }
        let asked = capacity.required_bytes.unwrap_or(0).div_ceil(1 << 30).max(SMALLEST_EXTREME);
        match capacity.limit_bytes.filter(|limit| *limit > 0 && quota::bytes(asked) > *limit) {
            None => Ok(Some(asked)),
            Some(limit) => Err(Error::out_of_range(format!(
                "extreme file systems have whole GiB, at least {SMALLEST_EXTREME}, and {asked} GiB \
                 are more than {limit} bytes"
            ))),
        }
    }

    /// Whether the file system of this name is the one that is asked for. Where nothing is said
    /// (of the zone, of a snapshot), any is.
    fn check_same(
        &self,
        request: &CreateRequest,
        size: Option<u64>,
        found: &FileSystem,
    ) -> Result<(), Error> {
        let zone = self.handed_on.value("ZoneId").unwrap_or(&found.zone_id);
        let encrypted = if found.encrypt_type == 0 { "0" } else { "1" };
        let alike = [
            ("fileSystemType", self.kind(), found.file_system_type.as_str()),
            ("storageType", &self.storage_type, &found.storage_type),
            ("encryptType", if self.is_encrypted { "1" } else { "0" }, encrypted),
            ("protocolType", "NFS", &found.protocol_type),
            ("zoneId", zone, &found.zone_id),
        ];
        check_alike(request, found, &alike)?;
        let Some(asked) = size else { return Ok(()) };
        let limit = request.capacity.limit_bytes.filter(|limit| *limit > 0);
        let is_too_large = limit.is_some_and(|limit| quota::bytes(found.capacity) > limit);
        if found.capacity < asked || is_too_large {
            let (has, asked) = (format!("{} GiB", found.capacity), format!("{asked} GiB"));
            return Err(another(request, found, "size", &asked, &has));
        }
        Ok(())
    }

    fn kind(&self) -> &'static str {
        if self.is_extreme { "extreme" } else { "standard" }
    }

    fn order(
        &self,
        request: &CreateRequest,
        size: Option<u64>,
        client_token: &str,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Made {
            file_system_id: String,
        }
        let call = Action::CreateFileSystem
            .call()
            .with("FileSystemType", self.kind())
            .with("ProtocolType", "NFS")
            .with("StorageType", &self.storage_type)
            .with("EncryptType", u8::from(self.is_encrypted))
            .with("VpcId", &self.vpc)
            .with("VSwitchId", &self.vswitch)
            .with("ClientToken", client_token)
            .with_some("Capacity", size)
            .with_tags([MANAGED, (VOLUME_NAME, request.name.as_str())]);
        let handed_on = self.handed_on.iter();
        let call = handed_on.fold(call, |call, (name, value)| call.with(name, value));
        Ok(call.send::<Made>()?.file_system_id)
    }

    fn order_mount_target(&self, file_system: &str) -> Result<String, Error> {
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        struct Made {
            mount_target_domain: String,
        }
        let call = Action::CreateMountTarget
            .call()
            .with("FileSystemId", file_system)
            .with("NetworkType", "Vpc")
            .with("VpcId", &self.vpc)
            .with("VSwitchId", &self.vswitch)
            .with("AccessGroupName", &self.access_group);
        Ok(call.send::<Made>()?.mount_target_domain)
    }
}

/// Refuses a file system that differs in one of these: what it is called in a class, what is asked
/// for, what is there. What the cloud does not report is not compared.
fn check_alike(
    request: &CreateRequest,
    found: &FileSystem,
    pairs: &[(&str, &str, &str)],
) -> Result<(), Error> {
    let differs =
        |(_, asked, has): &&(&str, &str, &str)| !has.is_empty() && !asked.eq_ignore_ascii_case(has);
    match pairs.iter().find(differs) {
        Some((key, asked, has)) => Err(another(request, found, key, asked, has)),
        None => Ok(()),
    }
}

fn another(
    request: &CreateRequest,
    found: &FileSystem,
    key: &str,
    asked: &str,
    has: &str,
) -> Error {
    let (name, id) = (&request.name, &found.file_system_id);
    Error::already_exists(format!(
        "volume {name} is file system {id}, whose `{key}` is {has}, and {asked} is asked for"
    ))
    .with_hint("delete the volume first, or ask for the one that is there")
    .as_observed()
}

/// The same name is the same request, for as long as the cloud remembers it; 64 characters at most.
fn client_token(name: &str, renewals: u32) -> String {
    match renewals {
        0 => format!("wharf-{:032x}", fnv128a(name)),
        renewals => format!("wharf-{:032x}-{renewals}", fnv128a(name)),
    }
}

fn wait<T>(what: &str) -> Answer<T> {
    Pending::after_ms(LOOK_AFTER_MS, format!("the cloud is asked for {what}")).into()
}

/// The file system of a handle whose class said `deleteVolume: "true"`.
pub fn to_delete(handle: &str) -> Option<&str> {
    of_handle(handle).filter(|_| handle.ends_with("#delete"))
}

/// The file system of a handle.
pub fn of_handle(handle: &str) -> Option<&str> {
    let (id, end) = handle.strip_prefix("filesystem#")?.split_once('#')?;
    (is_plain(id) && matches!(end, "delete" | "keep")).then_some(id)
}

/// Whether a volume of this size fits into a file system; it grows by itself unless it is an
/// extreme one.
///
/// # Errors
/// `out-of-range` when it does not; `not-found`; those of the cloud.
pub fn check_room(id: &str, bytes: u64) -> Result<(), Error> {
    let Some(found) = described::by_id(id)? else {
        return Err(Error::not_found(format!("there is no file system {id}")).as_observed());
    };
    if found.file_system_type == "extreme" && quota::bytes(found.capacity) < bytes {
        return Err(Error::out_of_range(format!(
            "extreme file system {id} has {} GiB",
            found.capacity
        ))
        .with_hint("enlarge it in the console; the next try finds its size")
        .as_observed());
    }
    Ok(())
}

/// One step towards the end of a file system. One that was not made for a volume stays.
///
/// # Errors
/// `failed-precondition` for a file system without the tag of a volume; those of the cloud.
pub fn delete(id: &str) -> Result<Answer<()>, Error> {
    let Some(found) = described::by_id(id)? else { return Ok(Answer::Done(())) };
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
        gone(end.send::<serde_json::Value>())?;
        return Ok(Answer::Done(()));
    }
    // One that is made or deleted just then takes no order; whatever else it is, it is in the way.
    let is_settled = |status: &str| !matches!(status, "Pending" | "Deleting");
    for target in targets.iter().filter(|target| is_settled(&target.status)) {
        let end = Action::DeleteMountTarget
            .call()
            .with("FileSystemId", id)
            .with("MountTargetDomain", &target.mount_target_domain);
        gone(end.send::<serde_json::Value>())?;
    }
    Ok(wait(&format!("the end of the mount targets of {id}")))
}

#[cfg(test)]
mod tests;
