//! `CreateDisk`, `DeleteDisk`, `ResizeDisk`, `ModifyDiskAttribute`.

use std::collections::BTreeMap;

use serde_json::json;

use super::catalog::{self, Family};
use super::{attachments, snapshots};
use crate::answer::{Answer, ApiError};
use crate::params::Params;
use crate::state::Disk;
use crate::world::World;

/// `CreateDisk`: answers the new disk's id. An empty disk of the ESSD family is there at once; any
/// other is `Creating` for a while. With `InstanceId` it is made where the instance is, and given
/// to it; the real API does so for subscription instances, which are not told apart here.
pub(crate) fn create(world: &mut World, params: &Params) -> Answer {
    let mut disk = plan(world, params)?;
    if world.state.disks.len() >= world.options.quotas.disks {
        return Err(ApiError::new(
            403,
            "QuotaExceed.PostPaidDisk",
            "Living postPaid disks quota exceeded.",
        ));
    }
    let (id, number) = world.identify("d");
    let source = Some(disk.snapshot.as_str()).filter(|snapshot| !snapshot.is_empty());
    world
        .devices
        .create_image(&id, disk.size_gib, source)
        .map_err(|error| ApiError::internal(&error))?;
    disk.id.clone_from(&id);
    disk.number = number;
    disk.created = world.now();
    let at_once = disk.snapshot.is_empty() && catalog::category(&disk.category)?.is_instant();
    if !at_once || world.options.every_disk_is_creating {
        disk.creating_until = Some(disk.created.saturating_add(world.options.delays.create));
    }
    let begins = disk.creating_until.unwrap_or(disk.created);
    world.change().disks.insert(id.clone(), disk);
    if let Some(instance) = params.get("InstanceId") {
        attachments::begin(world, instance, &id, begins)?;
    }
    Ok(json!({ "DiskId": id, "OrderId": "" }))
}

/// The disk that the parameters ask for, checked in the order in which the real API seems to: zone,
/// category, stock, source, size.
fn plan(world: &World, params: &Params) -> Result<Disk, ApiError> {
    params.required("RegionId")?;
    let category = catalog::category(params.get("DiskCategory").unwrap_or("cloud"))?;
    let instance = params.get("InstanceId").map(|id| attachments::usable_instance(world, id));
    let instance = instance.transpose()?;
    if let Some(instance) = instance {
        if params.get("ZoneId").is_some() {
            let message = "ZoneId and InstanceId cannot both be specified.";
            return Err(ApiError::new(400, "InvalidParameter.Conflict", message));
        }
        attachments::check_place(world, &instance.id)?;
    }
    let zone = if let Some(instance) = instance {
        &instance.zone
    } else if category.family == Family::Regional {
        params.get("ZoneId").unwrap_or_default()
    } else {
        params.required("ZoneId")?
    };
    if !zone.is_empty() {
        catalog::check_zone(world, zone)?;
        catalog::check_stock(world, zone, category.name)?;
    }
    let snapshot = params.get("SnapshotId").map(|id| source_snapshot(world, id)).transpose()?;
    let size_gib = match (params.number("Size")?, &snapshot) {
        (Some(size), Some((_, smallest, _))) if size < *smallest => {
            return Err(ApiError::new(
                403,
                "InvalidDiskSize.TooSmall",
                "Specified disk size is less than the size of snapshot.",
            ));
        }
        (Some(size), _) => size,
        (None, Some((_, size, _))) => *size,
        (None, None) => {
            let message =
                "The input parameter either \"SnapshotId\" or \"Size\" should be specified.";
            return Err(ApiError::new(400, "MissingParameter", message));
        }
    };
    let performance_level =
        catalog::check_size(category, params.get("PerformanceLevel"), size_gib)?;
    let encrypted = params
        .boolean("Encrypted")?
        .unwrap_or(snapshot.as_ref().is_some_and(|(.., encrypted)| *encrypted));
    if params.get("KMSKeyId").is_some() && !encrypted {
        let message = "The specified parameter Encrypted must be true when kmsKeyId is not empty.";
        return Err(ApiError::new(400, "InvalidParameter.EncryptedIllegal", message));
    }
    check_text(params)?;
    let (provisioned_iops, bursting) = auto_settings(category.name, size_gib, params)?;
    // With its instance a disk is made without these, as the reference says.
    let kept = |name: &str| params.owned(name).filter(|_| instance.is_none()).unwrap_or_default();
    let tags = if instance.is_none() { params.new_tags()? } else { BTreeMap::new() };
    Ok(Disk {
        name: params.owned("DiskName").unwrap_or_default(),
        description: params.owned("Description").unwrap_or_default(),
        zone: zone.to_owned(),
        category: category.name.to_owned(),
        performance_level,
        size_gib,
        encrypted,
        kms_key: kept("KMSKeyId"),
        snapshot: snapshot.map(|(id, ..)| id).unwrap_or_default(),
        resource_group: kept("ResourceGroupId"),
        storage_cluster: params.owned("StorageClusterId").unwrap_or_default(),
        provisioned_iops,
        bursting,
        multi_attach: multi_attach(category.name, params)?,
        delete_auto_snapshot: true,
        tags,
        ..Disk::default()
    })
}

fn source_snapshot(world: &World, id: &str) -> Result<(String, u64, bool), ApiError> {
    let snapshot = world.state.snapshots.get(id).ok_or_else(ApiError::no_snapshot)?;
    if !snapshot.is_available(world.now()) {
        return Err(ApiError::new(
            403,
            "InvalidSnapshotId.NotReady",
            "The specified snapshot has not completed yet.",
        ));
    }
    Ok((id.to_owned(), snapshot.size_gib, snapshot.encrypted))
}

fn multi_attach(category: &str, params: &Params) -> Result<bool, ApiError> {
    match params.get("MultiAttach") {
        None | Some("Disabled") => Ok(false),
        Some("Enabled") if category.starts_with("cloud_essd") || category.ends_with("auto") => {
            Ok(true)
        }
        Some("Enabled") => {
            let message = "The specified disk category does not support multi attach.";
            Err(ApiError::new(403, "InvalidDiskCategory.NotSupported", message))
        }
        Some(_) => Err(ApiError::invalid("MultiAttach")),
    }
}

/// `ProvisionedIops` and `BurstingEnabled`, which only ESSD AutoPL disks have: up to 50 000
/// operations a second, and at most 1 000 a GiB less the baseline of 1 800 + 50 a GiB.
pub(super) fn auto_settings(
    category: &str,
    size_gib: u64,
    params: &Params,
) -> Result<(Option<u64>, bool), ApiError> {
    let iops = params.number("ProvisionedIops")?;
    let bursting = params.boolean("BurstingEnabled")?.unwrap_or(false);
    if category != "cloud_auto" {
        return match iops {
            Some(_) => Err(ApiError::new(
                400,
                "InvalidParameter.Conflict",
                "The specified ProvisionedIops is not supported by the disk category.",
            )),
            None => Ok((None, bursting)),
        };
    }
    let baseline = (1_800 + 50 * size_gib).min(50_000);
    let most = (1_000 * size_gib).saturating_sub(baseline).min(50_000);
    if iops.is_some_and(|iops| iops > most) {
        return Err(ApiError::new(
            400,
            "InvalidProvisionedIops.LimitExceed",
            "The specified ProvisionedIops exceeds the limit.",
        ));
    }
    Ok((iops, bursting))
}

fn check_text(params: &Params) -> Result<(), ApiError> {
    let is_url = |text: &str| text.starts_with("http://") || text.starts_with("https://");
    let bad_name = |name: &str| {
        let plain =
            |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-' | ':');
        !(2..=128).contains(&name.chars().count())
            || !name.starts_with(char::is_alphabetic)
            || !name.chars().all(plain)
            || is_url(name)
    };
    if params.get("DiskName").is_some_and(bad_name) {
        return Err(ApiError::new(
            400,
            "InvalidDiskName.Malformed",
            "The specified disk name is wrongly formed.",
        ));
    }
    let bad_description = |text: &str| !(2..=256).contains(&text.chars().count()) || is_url(text);
    if params.get("Description").is_some_and(bad_description) {
        return Err(ApiError::new(
            400,
            "InvalidDescription.Malformed",
            "The specified description is wrongly formed.",
        ));
    }
    Ok(())
}

/// `DeleteDisk`: only a disk that no instance has. Snapshots of it stay.
pub(super) fn delete(world: &mut World, params: &Params) -> Answer {
    let id = params.required("DiskId")?;
    match world.disk(id)?.status() {
        "Available" => {}
        "Creating" => {
            let message = "The operation is not permitted while the disk is initializing.";
            return Err(ApiError::new(403, "IncorrectDiskStatus.Initializing", message));
        }
        _ => return Err(ApiError::disk_status()),
    }
    let now = world.now();
    if world.state.snapshots.values().any(|snapshot| snapshot.disk == id && snapshot.ready_at > now)
    {
        return Err(ApiError::new(
            403,
            "DiskCreatingSnapshot",
            "The operation is denied due to a snapshot of the disk is not completed yet.",
        ));
    }
    world.change().disks.remove(id);
    world.discard_image(id.to_owned());
    Ok(json!({}))
}

/// `ResizeDisk`: grows a disk and never shrinks it. `online` also while a running instance has it;
/// otherwise (`offline`, the default) the node of an attached disk sees the new size only after the
/// next attach, for which this region does not wait: the device grows at once.
pub(super) fn resize(world: &mut World, params: &Params) -> Answer {
    let id = params.required("DiskId")?.to_owned();
    let size = params.number("NewSize")?.ok_or_else(|| ApiError::missing("NewSize"))?;
    let online = match params.get("Type") {
        None | Some("offline") => false,
        Some("online") => true,
        Some(_) => {
            return Err(ApiError::new(
                400,
                "InvalidParam.Type",
                "The specified type is not supported.",
            ));
        }
    };
    let disk = world.disk(&id)?;
    if disk.in_arrears {
        return Err(ApiError::disk_in_arrears());
    }
    if !matches!(disk.status(), "Available" | "In_use") {
        return Err(ApiError::disk_status());
    }
    // By analogy: the code with which a second snapshot is refused meanwhile.
    if snapshots::in_progress(world, &id) {
        return Err(snapshots::creating());
    }
    if size <= disk.size_gib {
        let message =
            "The specified new disk size is less than or equal to the original disk size.";
        return Err(ApiError::new(403, "InvalidDiskSize.TooSmall", message));
    }
    let category = catalog::category(&disk.category)?;
    if size > category.sizes.1 {
        return Err(ApiError::new(
            403,
            "InvalidDiskSize.NotSupported",
            "The specified disk size is not supported.",
        ));
    }
    let running = |instance: &str| {
        world.instance(instance).is_ok_and(|instance| instance.status == "Running")
    };
    if online && !disk.attachments.iter().all(|attachment| running(&attachment.instance)) {
        let message = "The status of instance to which the disk attachs must be running when \
                       resizing online.";
        return Err(ApiError::new(403, "InvalidInstanceStatus.NotRunning", message));
    }
    world.devices.grow(&id, size).map_err(|error| ApiError::internal(&error))?;
    world.disk_mut(&id)?.size_gib = size;
    Ok(json!({ "OrderId": "" }))
}

/// `ModifyDiskAttribute`, of one disk or of `DiskIds.N`.
pub(super) fn modify_attribute(world: &mut World, params: &Params) -> Answer {
    let mut ids = params.list("DiskIds");
    ids.extend(params.owned("DiskId"));
    if ids.is_empty() {
        return Err(ApiError::missing("DiskId"));
    }
    check_text(params)?;
    let bursting = params.boolean("BurstingEnabled")?;
    for id in &ids {
        let disk = world.disk(id)?;
        if bursting.is_some()
            && disk.category != "cloud_auto"
            && disk.category != "cloud_regional_disk_auto"
        {
            let message = "The specified disk category does not support bursting.";
            return Err(ApiError::new(403, "InvalidDiskCategory.NotSupported", message));
        }
        if bursting.is_some()
            && world.state.tasks.values().any(|task| !task.done && task.disk == *id)
        {
            let message = "The disk is being modified and does not support this operation.";
            return Err(ApiError::new(400, "BurstingEnabledForModifyingDiskUnsupported", message));
        }
    }
    let delete_with_instance = params.boolean("DeleteWithInstance")?;
    let delete_auto_snapshot = params.boolean("DeleteAutoSnapshot")?;
    let enable_auto_snapshot = params.boolean("EnableAutoSnapshot")?;
    for id in &ids {
        let disk = world.disk_mut(id)?;
        disk.name = params.owned("DiskName").unwrap_or_else(|| disk.name.clone());
        disk.description = params.owned("Description").unwrap_or_else(|| disk.description.clone());
        disk.delete_with_instance = delete_with_instance.unwrap_or(disk.delete_with_instance);
        disk.delete_auto_snapshot = delete_auto_snapshot.unwrap_or(disk.delete_auto_snapshot);
        disk.enable_auto_snapshot = enable_auto_snapshot.unwrap_or(disk.enable_auto_snapshot);
        disk.bursting = bursting.unwrap_or(disk.bursting);
    }
    Ok(json!({}))
}
