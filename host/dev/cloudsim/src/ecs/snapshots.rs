//! `CreateSnapshot`, `DescribeSnapshots`, `DeleteSnapshot`.

use serde_json::{Value, json};

use super::{Page, carries, show_tags};
use crate::answer::{Answer, ApiError};
use crate::clock::iso8601;
use crate::params::Params;
use crate::state::Snapshot;
use crate::world::World;

/// `CreateSnapshot`: the bytes are those at the time of the call, although the snapshot is
/// `progressing` for a while. (The real API refuses a disk that was never attached; so does this.)
pub(super) fn create(world: &mut World, params: &Params) -> Answer {
    let disk_id = params.required("DiskId")?.to_owned();
    let disk = world.disk(&disk_id)?;
    if disk.in_arrears {
        return Err(ApiError::disk_in_arrears());
    }
    if !matches!(disk.status(), "Available" | "In_use") {
        return Err(ApiError::disk_status());
    }
    if disk.attached.is_none() && disk.snapshot.is_empty() {
        let message = "The specified disk has never been attached to any instance.";
        return Err(ApiError::new(403, "IncorrectDiskStatus.NeverAttached", message));
    }
    let now = world.now();
    let of_disk = || world.state.snapshots.values().filter(|snapshot| snapshot.disk == disk_id);
    if of_disk().any(|snapshot| snapshot.ready_at > now) {
        let message = "A previous snapshot creation is in process.";
        return Err(ApiError::new(403, "IncorrectDiskStatus.CreatingSnapshot", message));
    }
    if of_disk().count() >= world.options.snapshot_quota {
        return Err(ApiError::new(403, "QuotaExceed.Snapshot", "The snapshot quota exceeds."));
    }
    let retention_days = params.number("RetentionDays")?;
    if retention_days.is_some_and(|days| !(1..=65_536).contains(&days)) {
        return Err(ApiError::new(
            400,
            "InvalidRetentionDays.Malformed",
            "The specified RetentionDays is not valid.",
        ));
    }
    let mut snapshot = Snapshot {
        id: String::new(),
        number: 0,
        name: params.owned("SnapshotName").unwrap_or_default(),
        description: params.owned("Description").unwrap_or_default(),
        size_gib: disk.size_gib,
        encrypted: disk.encrypted,
        kms_key: disk.kms_key.clone(),
        retention_days,
        created: now,
        ready_at: now.saturating_add(world.options.delays.snapshot),
        tags: params
            .tags()?
            .into_iter()
            .map(|(key, value)| (key, value.unwrap_or_default()))
            .collect(),
        resource_group: params.owned("ResourceGroupId").unwrap_or_default(),
        disk: disk_id.clone(),
    };
    let (id, number) = world.identify("s");
    world.devices.flush(&disk_id).map_err(|error| ApiError::internal(&error))?;
    world
        .devices
        .create_image(&id, snapshot.size_gib, Some(&disk_id))
        .map_err(|error| ApiError::internal(&error))?;
    snapshot.id.clone_from(&id);
    snapshot.number = number;
    world.change().snapshots.insert(id.clone(), snapshot);
    Ok(json!({ "SnapshotId": id }))
}

/// `DescribeSnapshots`: newest first.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let page = Page::of(params)?;
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

impl Snapshot {
    fn status(&self, now: u64) -> &'static str {
        if self.ready_at > now { "progressing" } else { "accomplished" }
    }
}

fn show(snapshot: &Snapshot, world: &World, now: u64) -> Value {
    let ready = snapshot.ready_at <= now;
    let used = world.state.disks.values().any(|disk| disk.snapshot == snapshot.id);
    json!({
        "SnapshotId": snapshot.id,
        "SnapshotName": snapshot.name,
        "Description": snapshot.description,
        "SourceDiskId": snapshot.disk,
        "SourceDiskSize": snapshot.size_gib.to_string(),
        "SourceDiskType": "data",
        "RegionId": world.options.region,
        "Status": snapshot.status(now),
        "Progress": if ready { "100%" } else { "10%" },
        "Available": ready,
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
    })
}

/// `DeleteSnapshot`. Disks made from it keep their bytes; `Force` is accepted and needed for none.
pub(super) fn delete(world: &mut World, params: &Params) -> Answer {
    let id = params.required("SnapshotId")?;
    params.boolean("Force")?;
    let snapshot = world.state.snapshots.get(id).ok_or_else(ApiError::no_snapshot)?;
    if snapshot.ready_at > world.now() {
        let message = "The current snapshot status does not support this operation.";
        return Err(ApiError::new(403, "InvalidSnapshotStatus.Creating", message));
    }
    world.change().snapshots.remove(id);
    world.discard_image(id.to_owned());
    Ok(json!({}))
}
