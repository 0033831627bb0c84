//! `CreateSnapshot`, `DescribeSnapshots`, `DeleteSnapshot`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Page, carries, catalog, show_tags};
use crate::answer::{Answer, ApiError, present};
use crate::clock::{Millis, iso8601};
use crate::params::Params;
use crate::state::{Disk, Snapshot};
use crate::world::World;

/// What the caller says of a new snapshot.
#[derive(Debug, Default)]
pub(super) struct Details {
    name: String,
    description: String,
    retention_days: Option<u64>,
    tags: BTreeMap<String, String>,
    resource_group: String,
}

/// `CreateSnapshot`: the bytes are those at the time of the call, although the snapshot is
/// `progressing` for a while. That of a disk of the ESSD family is usable meanwhile.
pub(super) fn create(world: &mut World, params: &Params) -> Answer {
    let disk = params.required("DiskId")?.to_owned();
    check(world, world.disk(&disk)?)?;
    let retention_days = params.number("RetentionDays")?;
    if retention_days.is_some_and(|days| !(1..=65_536).contains(&days)) {
        return Err(ApiError::new(
            400,
            "InvalidRetentionDays.Malformed",
            "The specified RetentionDays is not valid.",
        ));
    }
    let details = Details {
        name: params.owned("SnapshotName").unwrap_or_default(),
        description: params.owned("Description").unwrap_or_default(),
        retention_days,
        tags: params.new_tags()?,
        resource_group: params.owned("ResourceGroupId").unwrap_or_default(),
    };
    let id = take(world, &disk, details)?;
    Ok(json!({ "SnapshotId": id }))
}

/// Whether a snapshot of the disk may be made now.
pub(super) fn check(world: &World, disk: &Disk) -> Result<(), ApiError> {
    if disk.in_arrears {
        return Err(ApiError::disk_in_arrears());
    }
    if !matches!(disk.status(), "Available" | "In_use") {
        return Err(ApiError::disk_status());
    }
    let never_attached = disk.attached.is_none() && disk.snapshot.is_empty();
    if world.options.snapshots_need_attachment && never_attached {
        let message = "The specified disk has never been attached to any instance.";
        return Err(ApiError::new(403, "IncorrectDiskStatus.NeverAttached", message));
    }
    if in_progress(world, &disk.id) {
        return Err(creating());
    }
    let of_disk = world.state.snapshots.values().filter(|snapshot| snapshot.disk == disk.id);
    if of_disk.count() >= world.options.quotas.snapshots {
        return Err(ApiError::new(403, "QuotaExceed.Snapshot", "The snapshot quota exceeds."));
    }
    Ok(())
}

/// Makes the snapshot; answers its id.
pub(super) fn take(world: &mut World, disk_id: &str, details: Details) -> Result<String, ApiError> {
    let disk = world.disk(disk_id)?;
    let now = world.now();
    let mut snapshot = Snapshot {
        id: String::new(),
        number: 0,
        name: details.name,
        description: details.description,
        size_gib: disk.size_gib,
        encrypted: disk.encrypted,
        kms_key: disk.kms_key.clone(),
        retention_days: details.retention_days,
        created: now,
        ready_at: now.saturating_add(world.options.delays.snapshot),
        instant: catalog::category(&disk.category)?.is_instant(),
        tags: details.tags,
        resource_group: details.resource_group,
        disk: disk_id.to_owned(),
    };
    let (id, number) = world.identify("s");
    world.devices.flush(disk_id).map_err(|error| ApiError::internal(&error))?;
    world
        .devices
        .create_image(&id, snapshot.size_gib, Some(disk_id))
        .map_err(|error| ApiError::internal(&error))?;
    snapshot.id.clone_from(&id);
    snapshot.number = number;
    world.change().snapshots.insert(id.clone(), snapshot);
    Ok(id)
}

/// `DescribeSnapshots`: newest first.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let page = Page::of_snapshots(params)?;
    let ids = params.json_list("SnapshotIds", 100)?;
    let tags = params.tags()?;
    let now = world.now();
    let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
    let passes = |snapshot: &&Snapshot| {
        ids.as_ref().is_none_or(|ids| ids.contains(&snapshot.id))
            && carries(&snapshot.tags, &tags)
            && is("DiskId", &snapshot.disk)
            && is("SnapshotName", &snapshot.name)
            && params
                .get("Status")
                .is_none_or(|wanted| wanted == "all" || wanted == snapshot.status(now))
    };
    let mut snapshots: Vec<&Snapshot> = world.state.snapshots.values().filter(passes).collect();
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.number));
    Ok(page.answer(("Snapshots", "Snapshot"), &snapshots, |snapshot| show(snapshot, world, now)))
}

/// Whether a snapshot of the disk is being created.
pub(super) fn in_progress(world: &World, disk: &str) -> bool {
    let now = world.now();
    world.state.snapshots.values().any(|snapshot| snapshot.disk == disk && snapshot.ready_at > now)
}

/// 403 `IncorrectDiskStatus.CreatingSnapshot`.
pub(super) fn creating() -> ApiError {
    let message = "A previous snapshot creation is in process.";
    ApiError::new(403, "IncorrectDiskStatus.CreatingSnapshot", message)
}

impl Snapshot {
    /// Whether disks can be made from it.
    pub(super) fn is_available(&self, now: Millis) -> bool {
        self.instant || self.ready_at <= now
    }

    pub(super) fn status(&self, now: Millis) -> &'static str {
        if self.ready_at > now { "progressing" } else { "accomplished" }
    }

    /// Grows evenly from the call to the end.
    pub(super) fn progress(&self, now: Millis) -> String {
        let (passed, whole) =
            (now.saturating_sub(self.created), self.ready_at.saturating_sub(self.created));
        format!("{}%", (passed.saturating_mul(100)).checked_div(whole).unwrap_or(100).min(100))
    }
}

fn show(snapshot: &Snapshot, world: &World, now: u64) -> Value {
    let used = is_used(world, &snapshot.id);
    present(json!({
        "SnapshotId": snapshot.id,
        "SnapshotName": snapshot.name,
        "Description": snapshot.description,
        "SourceDiskId": snapshot.disk,
        "SourceDiskSize": snapshot.size_gib.to_string(),
        "SourceDiskType": "data",
        "RegionId": world.options.region,
        "Status": snapshot.status(now),
        "Progress": snapshot.progress(now),
        "Available": snapshot.is_available(now),
        "CreationTime": iso8601(snapshot.created),
        "LastModifiedTime": iso8601(snapshot.created),
        "RetentionDays": snapshot.retention_days,
        "Encrypted": snapshot.encrypted,
        "KMSKeyId": snapshot.kms_key,
        "InstantAccess": false,
        "Category": "standard",
        "SnapshotType": "user",
        "SnapshotLinkId": format!("sl-{}", snapshot.disk.trim_start_matches("d-")),
        "ResourceGroupId": snapshot.resource_group,
        "Usage": if used { "disk" } else { "none" },
        "ProductCode": "",
        "RemainTime": 0,
        "Tags": show_tags(&snapshot.tags),
    }))
}

/// Whether a disk that is still there was made from it.
fn is_used(world: &World, id: &str) -> bool {
    world.state.disks.values().any(|disk| disk.snapshot == id)
}

/// `DeleteSnapshot`, which cancels one that is being created. Disks made from it keep their bytes,
/// but while there are any, `Force` is needed.
pub(super) fn delete(world: &mut World, params: &Params) -> Answer {
    let id = params.required("SnapshotId")?;
    let force = params.boolean("Force")?.unwrap_or(false);
    if !world.state.snapshots.contains_key(id) {
        return Err(ApiError::no_snapshot());
    }
    if is_used(world, id) && !force {
        // By analogy with `SnapshotCreatedImage`; the reference tells the rule and no code.
        let message = "The specified snapshot has been used to create disks.";
        return Err(ApiError::new(403, "SnapshotCreatedDisk", message));
    }
    world.change().snapshots.remove(id);
    world.discard_image(id.to_owned());
    Ok(json!({}))
}
