//! `CreateSnapshotGroup`, `DescribeSnapshotGroups`, `DeleteSnapshotGroup`: snapshots of several
//! disks in one call. They are taken one after the other: what a node writes meanwhile may be in
//! the later ones alone.

use serde_json::{Value, json};

use super::snapshots::{self, Details};
use super::{Page, carries, catalog};
use crate::answer::{Answer, ApiError, present};
use crate::clock::iso8601;
use crate::pages::key_value_tags;
use crate::params::Params;
use crate::state::{Disk, Snapshot, SnapshotGroup};
use crate::world::World;

/// Most disks of a group, and their size together in GiB.
const MOST_DISKS: usize = 16;
const MOST_GIB: u64 = 32 << 10;

/// `CreateSnapshotGroup`: of the disks of an instance, or of disks in one zone.
pub(super) fn create(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let disks = chosen(world, params)?;
    for disk in &disks {
        check(world, world.disk(disk)?)?;
    }
    let now = world.now();
    let mut members = Vec::new();
    for disk in &disks {
        members.push(snapshots::take(world, disk, Details::default())?);
    }
    let (id, number) = world.identify("ssg");
    let group = SnapshotGroup {
        id: id.clone(),
        number,
        name: params.owned("Name").unwrap_or_default(),
        description: params.owned("Description").unwrap_or_default(),
        instance: params.owned("InstanceId").unwrap_or_default(),
        snapshots: members,
        created: now,
        tags: params.new_tags()?,
        resource_group: params.owned("ResourceGroupId").unwrap_or_default(),
    };
    world.change().snapshot_groups.insert(id.clone(), group);
    Ok(json!({ "SnapshotGroupId": id }))
}

/// The disks that are asked for, by themselves or by their instance. System disks have no bytes
/// here and are left out.
fn chosen(world: &World, params: &Params) -> Result<Vec<String>, ApiError> {
    let (mut disks, excluded) = (params.list("DiskId"), params.list("ExcludeDiskId"));
    if !disks.is_empty() && !excluded.is_empty() {
        return Err(ApiError::invalid("ExcludeDiskId.N"));
    }
    if let Some(instance) = params.get("InstanceId") {
        world.instance(instance)?;
        let has = |disk: &Disk| disk.attachments.iter().any(|held| held.instance == instance);
        if disks.is_empty() {
            let all = world.state.disks.values().filter(|disk| has(disk));
            disks = all.map(|disk| disk.id.clone()).filter(|id| !excluded.contains(id)).collect();
        }
        for id in &disks {
            if !has(world.disk(id)?) {
                let message = "The specified disk has not been attached to the instance.";
                return Err(ApiError::new(403, "DependencyViolation", message));
            }
        }
    }
    if disks.is_empty() {
        return Err(ApiError::missing("DiskId.1"));
    }
    let mut zones = Vec::new();
    let mut size_gib = 0;
    for id in &disks {
        let disk = world.disk(id)?;
        zones.push(disk.zone.as_str());
        size_gib += disk.size_gib;
    }
    zones.dedup();
    // All three codes by analogy: the reference tells the limits alone.
    if zones.len() > 1 {
        let message = "The specified disks are not in the same zone.";
        return Err(ApiError::new(403, "ResourcesNotInSameZone", message));
    }
    if disks.len() > MOST_DISKS || size_gib > MOST_GIB {
        return Err(ApiError::invalid("DiskId.N"));
    }
    Ok(disks)
}

fn check(world: &World, disk: &Disk) -> Result<(), ApiError> {
    if disk.multi_attach || !catalog::category(&disk.category)?.is_instant() {
        let message = "The specified disk category is not support.";
        return Err(ApiError::new(400, "InvalidDiskCategory.NotSupported", message));
    }
    snapshots::check(world, disk)
}

/// `DescribeSnapshotGroups`: newest first.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let page = Page::of_snapshots(params)?;
    let (ids, states) = (params.list("SnapshotGroupId"), params.list("Status"));
    let tags = params.tags()?;
    let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
    let world = &*world;
    let passes = |group: &&SnapshotGroup| {
        (ids.is_empty() || ids.contains(&group.id))
            && (states.is_empty() || states.iter().any(|state| state == status(world, group)))
            && carries(&group.tags, &tags)
            && is("Name", &group.name)
            && is("InstanceId", &group.instance)
    };
    let mut groups: Vec<&SnapshotGroup> =
        world.state.snapshot_groups.values().filter(passes).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.number));
    Ok(page.answer(("SnapshotGroups", "SnapshotGroup"), &groups, |group| show(world, group)))
}

/// The snapshots of a group that are still there.
fn members<'a>(world: &'a World, group: &'a SnapshotGroup) -> impl Iterator<Item = &'a Snapshot> {
    group.snapshots.iter().filter_map(|id| world.state.snapshots.get(id))
}

fn status(world: &World, group: &SnapshotGroup) -> &'static str {
    let now = world.now();
    let done = members(world, group).all(|snapshot| snapshot.status(now) == "accomplished");
    if done { "accomplished" } else { "progressing" }
}

fn show(world: &World, group: &SnapshotGroup) -> Value {
    let now = world.now();
    // Not `TagKey` and `TagValue` as everywhere else in ECS.
    let member = |snapshot: &Snapshot| {
        json!({
            "SnapshotId": snapshot.id,
            "SourceDiskId": snapshot.disk,
            "SourceDiskType": "data",
            "Progress": snapshot.progress(now),
            "Available": snapshot.is_available(now),
            "InstantAccess": false,
            "Tags": key_value_tags(&snapshot.tags),
        })
    };
    let shown: Vec<Value> = members(world, group).map(member).collect();
    present(json!({
        "SnapshotGroupId": group.id,
        "Name": group.name,
        "Description": group.description,
        "InstanceId": group.instance,
        "Status": status(world, group),
        "CreationTime": iso8601(group.created),
        "ResourceGroupId": group.resource_group,
        "Snapshots": { "Snapshot": shown },
        "Tags": key_value_tags(&group.tags),
    }))
}

/// `DeleteSnapshotGroup`: with its snapshots. The code of one that is not there is what the cloud's
/// own driver takes for gone.
pub(super) fn delete(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let id = params.required("SnapshotGroupId")?;
    let group = world.change().snapshot_groups.remove(id).ok_or_else(ApiError::no_snapshot)?;
    for snapshot in group.snapshots {
        if world.change().snapshots.remove(&snapshot).is_some() {
            world.discard_image(snapshot);
        }
    }
    Ok(json!({}))
}
