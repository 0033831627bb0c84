//! The Elastic Compute Service, version 2014-05-26: the operations on disks, snapshots and tags,
//! and as much of instances as disks need.

mod attachments;
mod catalog;
mod describe_disks;
mod disks;
mod instances;
mod modify;
mod snapshot_groups;
mod snapshots;
mod tags;

use serde_json::{Value, json};

use crate::answer::{Answer, ApiError};
use crate::pages::{Page, carries};
use crate::params::Params;
use crate::world::World;

pub(crate) use disks::create as create_disk;
pub(crate) use modify::finish_tasks;

/// The version that clients must name.
pub(crate) const VERSION: &str = "2014-05-26";

type Operation = fn(&mut World, &Params) -> Answer;

/// Every operation, and whether it honours a `ClientToken`.
const OPERATIONS: &[(&str, Operation, bool)] = &[
    ("AddTags", tags::tag, false),
    ("AttachDisk", attachments::attach, false),
    ("CreateDisk", disks::create, true),
    ("CreateSnapshot", snapshots::create, true),
    ("CreateSnapshotGroup", snapshot_groups::create, true),
    ("DeleteDisk", disks::delete, false),
    ("DeleteSnapshot", snapshots::delete, false),
    ("DeleteSnapshotGroup", snapshot_groups::delete, false),
    ("DescribeAvailableResource", catalog::available_resource, false),
    ("DescribeDisks", describe_disks::describe, false),
    ("DescribeInstanceHistoryEvents", instances::history_events, false),
    ("DescribeInstanceTypes", catalog::instance_types, false),
    ("DescribeInstances", instances::describe, false),
    ("DescribeRegions", catalog::regions, false),
    ("DescribeSnapshotGroups", snapshot_groups::describe, false),
    ("DescribeSnapshots", snapshots::describe, false),
    ("DescribeTags", tags::describe, false),
    ("DescribeTasks", modify::describe_tasks, false),
    ("DescribeZones", catalog::zones, false),
    ("DetachDisk", attachments::detach, false),
    ("ListTagResources", tags::list, false),
    ("ModifyDiskAttribute", disks::modify_attribute, false),
    ("ModifyDiskSpec", modify::modify_spec, false),
    ("RemoveTags", tags::untag, false),
    ("ResizeDisk", disks::resize, true),
    ("TagResources", tags::tag, false),
    ("UntagResources", tags::untag, false),
];

/// Whether there is such an operation.
pub(crate) fn knows(action: &str) -> bool {
    OPERATIONS.iter().any(|(name, ..)| *name == action)
}

/// Runs an operation.
pub(crate) fn call(world: &mut World, action: &str, params: &Params) -> Answer {
    let Some((name, operation, idempotent)) = OPERATIONS.iter().find(|(name, ..)| *name == action)
    else {
        return Err(ApiError::no_action());
    };
    if params.get("RegionId").is_some_and(|region| region != world.options.region) {
        return Err(ApiError::no_region());
    }
    world.progress();
    // A disk made with its instance ignores the token.
    let ignored = *name == "CreateDisk" && params.get("InstanceId").is_some();
    let answer = if *idempotent && !ignored {
        world.once(name, params, operation)
    } else {
        operation(world, params)
    };
    world.progress();
    answer
}

/// `{"Tag": [{"TagKey", "TagValue"}]}`, under the names that the operation uses.
fn show_tags(tags: &std::collections::BTreeMap<String, String>) -> Value {
    let tags: Vec<Value> =
        tags.iter().map(|(key, value)| json!({ "TagKey": key, "TagValue": value })).collect();
    json!({ "Tag": tags })
}
