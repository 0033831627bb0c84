//! `CreateFileSystem`, `DescribeFileSystems`, `ModifyFileSystem`, `DeleteFileSystem`,
//! `GetRecycleBinAttribute`, `DescribeZones`.

use serde_json::{Value, json};

use super::state::{FileSystem, Kind, Life};
use super::{check_running, check_standard, file_system, file_system_mut, mount_targets};
use super::{quota_exceeded, required, tree};
use crate::answer::{Answer, ApiError, present};
use crate::clock::{Millis, iso8601};
use crate::pages::{Page, carries, key_value_tags};
use crate::params::Params;
use crate::world::World;

/// Storage types by kind.
const STANDARD: &[&str] = &["Performance", "Capacity", "Premium"];
const EXTREME: &[&str] = &["standard", "advance"];

/// The smallest extreme file system, and what a standard one may grow to, in GiB.
const SMALLEST_EXTREME: u64 = 100;
const STANDARD_CAPACITY: u64 = 10 << 20;

/// `CreateFileSystem`: a standard one is there at once, an extreme one is ordered first.
pub(super) fn create(world: &mut World, params: &Params) -> Answer {
    let mut system = plan(world, params)?;
    if world.state.nas.file_systems.len() >= world.options.quotas.file_systems {
        return Err(quota_exceeded("FileSystem"));
    }
    if params.boolean("DryRun")?.unwrap_or(false) {
        return Ok(json!({ "FileSystemId": "" }));
    }
    let (id, number) = world.identify_without_prefix("nas", 10);
    system.id = match system.kind {
        Kind::Standard => id,
        Kind::Extreme => format!("extreme-{id}"),
    };
    system.number = number;
    tree::make(world, &system)?;
    let id = system.id.clone();
    world.change().nas.file_systems.insert(id.clone(), system);
    Ok(json!({ "FileSystemId": id }))
}

fn plan(world: &World, params: &Params) -> Result<FileSystem, ApiError> {
    let kind = match params.get("FileSystemType") {
        None | Some("standard") => Kind::Standard,
        Some("extreme") => Kind::Extreme,
        Some(_) => return Err(invalid("FileSystemType")),
    };
    // `Protocal` is how the service spells it.
    let protocol = match params.get("ProtocolType") {
        Some("NFS") => "NFS".to_owned(),
        Some("SMB") if kind == Kind::Standard => "SMB".to_owned(),
        _ => return Err(invalid("ProtocalType")),
    };
    let types = if kind == Kind::Standard { STANDARD } else { EXTREME };
    let storage_type = params.get("StorageType").filter(|name| types.contains(name));
    let storage_type = storage_type.ok_or_else(|| invalid("StorageType"))?.to_owned();
    let zone = match (params.get("ZoneId"), kind) {
        (Some(zone), _) => zone.to_owned(),
        (None, Kind::Standard) => world.options.zones.first().cloned().unwrap_or_default(),
        (None, Kind::Extreme) => required(params, "ZoneId")?.to_owned(),
    };
    if !world.options.zones.contains(&zone) {
        let message = "The specified zone does not exist.";
        return Err(ApiError::new(404, "InvalidZoneId.NotFound", message));
    }
    let short = |shortage: &&crate::options::Shortage| {
        shortage.zone == zone && shortage.category == storage_type
    };
    if world.options.shortages.iter().any(|shortage| short(&shortage)) {
        let message = "The inventory of the specified zone is insufficient.";
        return Err(ApiError::new(403, "Resource.OutOfStock", message));
    }
    let capacity_gib = match kind {
        Kind::Standard => None,
        Kind::Extreme => {
            let asked = params.number("Capacity")?.filter(|size| *size >= SMALLEST_EXTREME);
            Some(asked.ok_or_else(|| invalid("Capacity"))?)
        }
    };
    let encrypt_type = params.number("EncryptType")?.unwrap_or(0);
    if encrypt_type > 2 {
        return Err(invalid("EncryptType"));
    }
    let kms_key = params.owned("KmsKeyId").unwrap_or_default();
    if encrypt_type == 2 && kms_key.is_empty() {
        return Err(ApiError::new(
            400,
            "MissingParameter.KmsKeyId",
            "KmsKeyId is mandatory for this action.",
        ));
    }
    let delay = match kind {
        Kind::Standard => 0,
        Kind::Extreme => world.options.delays.nas,
    };
    Ok(FileSystem {
        id: String::new(),
        number: 0,
        kind,
        storage_type,
        protocol,
        zone,
        description: description(params)?,
        capacity_gib,
        encrypt_type,
        kms_key,
        resource_group: params.owned("ResourceGroupId").unwrap_or_default(),
        life: Life::from(world.now(), delay),
        tags: params.new_tags()?,
        mount_targets: Vec::new(),
        access_points: Vec::new(),
        quotas: Vec::new(),
    })
}

fn invalid(parameter: &str) -> ApiError {
    let message = format!("The specified parameter {parameter} is not valid.");
    ApiError::new(400, format!("InvalidParameter.{parameter}"), message)
}

/// `Description`; the status of the refusal is 404 in the service's own table.
fn description(params: &Params) -> Result<String, ApiError> {
    let Some(text) = params.get("Description") else { return Ok(String::new()) };
    let plain = |letter: char| letter.is_alphanumeric() || matches!(letter, ':' | '_' | '-');
    let is_good = (2..=128).contains(&text.chars().count())
        && text.starts_with(char::is_alphabetic)
        && text.chars().all(plain);
    if is_good {
        return Ok(text.to_owned());
    }
    let message = "Description format is invalid.";
    Err(ApiError::new(404, "InvalidDescription.InvalidFormat", message))
}

/// `DescribeFileSystems`: newest first. An id that is not there is an error here, and so is one
/// that is still being ordered.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    let page = Page::of(params)?;
    let tags = params.tags()?;
    let now = world.now();
    if params.get("FileSystemId").is_some() && is_ordered(file_system(world, params)?, now) {
        let message = "The filesystem is ordering now, please check it later.";
        return Err(ApiError::new(403, "InvalidFileSystemStatus.Ordering", message));
    }
    let kinds: Option<Vec<&str>> = params
        .get("FileSystemType")
        .filter(|kinds| *kinds != "all")
        .map(|k| k.split(',').collect());
    let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
    let passes = |system: &&FileSystem| {
        is("FileSystemId", &system.id)
            && is("StorageType", &system.storage_type)
            && is("ResourceGroupId", &system.resource_group)
            && kinds.as_ref().is_none_or(|kinds| kinds.contains(&system.kind.name()))
            && carries(&system.tags, &tags)
            && params
                .get("VpcId")
                .is_none_or(|vpc| system.mount_targets.iter().any(|target| target.vpc == vpc))
    };
    let mut systems: Vec<&FileSystem> =
        world.state.nas.file_systems.values().filter(passes).collect();
    systems.sort_by_key(|system| std::cmp::Reverse(system.number));
    Ok(page.answer(("FileSystems", "FileSystem"), &systems, |system| show(world, system, now)))
}

/// In the first half of its making an extreme file system cannot be asked for by its id.
fn is_ordered(system: &FileSystem, now: Millis) -> bool {
    let half = system.life.ready_at.saturating_sub(system.life.created) / 2;
    now < system.life.created.saturating_add(half)
}

fn show(world: &World, system: &FileSystem, now: Millis) -> Value {
    let used = tree::usage(&tree::files(world, system));
    let targets: Vec<Value> = system
        .mount_targets
        .iter()
        .map(|target| mount_targets::show(system, target, now, "AccessGroupName"))
        .collect();
    present(json!({
        "FileSystemId": system.id,
        "FileSystemType": system.kind.name(),
        "Description": system.description,
        "Status": system.status(now),
        "StorageType": system.storage_type,
        "ProtocolType": system.protocol,
        "RegionId": world.options.region,
        "ZoneId": system.zone,
        "Capacity": system.capacity_gib.unwrap_or(STANDARD_CAPACITY),
        "MeteredSize": used.bytes,
        "ChargeType": "PayAsYouGo",
        "CreateTime": iso8601(system.life.created),
        "EncryptType": system.encrypt_type,
        "KMSKeyId": system.kms_key,
        "ResourceGroupId": system.resource_group,
        "AccessPointCount": system.access_points.len().to_string(),
        "MountTargets": { "MountTarget": targets },
        "SupportedFeatures": { "SupportedFeature": [] },
        "Packages": { "Package": [] },
        "Tags": key_value_tags(&system.tags),
    }))
}

/// `ModifyFileSystem`: its description.
pub(super) fn modify(world: &mut World, params: &Params) -> Answer {
    file_system(world, params)?;
    let text = description(params)?;
    let system = file_system_mut(world, params)?;
    if !text.is_empty() {
        system.description = text;
    }
    Ok(json!({}))
}

/// `DeleteFileSystem`: one that nothing leads to any more. It goes with its files.
pub(super) fn delete(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let system = file_system(world, params)?;
    check_running(system, now)?;
    // Both by analogy with the same cloud's HDFS file systems (`FileSystem.HasMountPoint`).
    if !system.mount_targets.is_empty() {
        let message = "The file system cannot be deleted because it has mount targets.";
        return Err(ApiError::new(403, "FileSystem.HasMountTarget", message));
    }
    if !system.access_points.is_empty() {
        let message = "The file system cannot be deleted because it has access points.";
        return Err(ApiError::new(403, "FileSystem.HasAccessPoint", message));
    }
    let gone_at = now.saturating_add(world.options.delays.nas);
    file_system_mut(world, params)?.life.gone_at = Some(gone_at);
    Ok(json!({}))
}

/// `GetRecycleBinAttribute`: as `RegionOptions::recycle_bin_days` says, for all file systems.
pub(super) fn recycle_bin(world: &mut World, params: &Params) -> Answer {
    let system = file_system(world, params)?;
    check_standard(system)?;
    let days = world.options.recycle_bin_days;
    let enabled = days > 0;
    Ok(json!({ "RecycleBinAttribute": present(json!({
        "Status": if enabled { "Enable" } else { "Disable" },
        "ReservedDays": days,
        "EnableTime": enabled.then(|| iso8601(system.life.created)),
        "Size": 0,
        "SecondarySize": 0,
        "ArchiveSize": 0,
    })) }))
}

/// `DescribeZones`.
pub(super) fn zones(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let (types, protocols) = match params.get("FileSystemType") {
        None | Some("standard") => (STANDARD, &["NFS", "SMB"][..]),
        Some("extreme") => (EXTREME, &["NFS"][..]),
        Some(_) => (&[][..], &[][..]),
    };
    let show = |zone: &String| {
        let sold_out = |kind: &str| {
            let mut shortages = world.options.shortages.iter();
            shortages.any(|shortage| shortage.zone == *zone && shortage.category == kind)
        };
        let offered: Vec<&&str> = types.iter().filter(|kind| !sold_out(kind)).collect();
        let instances: Vec<Value> = offered
            .iter()
            .flat_map(|kind| {
                let pair = move |protocol| json!({ "StorageType": kind, "ProtocolType": protocol });
                protocols.iter().map(pair)
            })
            .collect();
        let of =
            |kind: &str| if offered.iter().any(|name| **name == kind) { protocols } else { &[] };
        json!({
            "ZoneId": zone,
            "InstanceTypes": { "InstanceType": instances },
            "Performance": { "Protocol": of("Performance") },
            "Capacity": { "Protocol": of("Capacity") },
        })
    };
    let zones: Vec<Value> = world.options.zones.iter().map(show).collect();
    Ok(json!({ "Zones": { "Zone": zones } }))
}
