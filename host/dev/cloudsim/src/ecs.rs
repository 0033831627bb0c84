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
        return Err(ApiError::new(
            404,
            "InvalidAction.NotFound",
            "Specified api is not found, please check your url and method.",
        ));
    };
    if params.get("RegionId").is_some_and(|region| region != world.options.region) {
        return Err(ApiError::new(
            404,
            "InvalidRegionId.NotFound",
            "The specified RegionId does not exist.",
        ));
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

/// One page of a listing: `PageNumber` and `PageSize`, or `NextToken` and `MaxResults`.
struct Page {
    from: usize,
    size: usize,
    number: usize,
    by_token: bool,
}

impl Page {
    fn of(params: &Params) -> Result<Self, ApiError> {
        Self::within(params, 10, 1, 500)
    }

    /// Of snapshots at most 100, and never fewer than 10, whatever is asked for: a caller who wants
    /// fewer has to cut.
    fn of_snapshots(params: &Params) -> Result<Self, ApiError> {
        Self::within(params, 10, 10, 100)
    }

    /// Of tags 50 at a time, unless more or fewer are asked for.
    fn of_tags(params: &Params) -> Result<Self, ApiError> {
        Self::within(params, 50, 1, 100)
    }

    fn within(
        params: &Params,
        page_size: usize,
        smallest: usize,
        most: usize,
    ) -> Result<Self, ApiError> {
        let bounded = |name: &str, default: usize, most: usize| -> Result<usize, ApiError> {
            let Some(value) = params.number(name)? else { return Ok(default) };
            usize::try_from(value)
                .ok()
                .filter(|value| (1..=most).contains(value))
                .ok_or_else(|| ApiError::invalid(name))
        };
        if params.get("NextToken").is_some() || params.get("MaxResults").is_some() {
            let size = bounded("MaxResults", 10, most)?.max(smallest);
            let from = match params.get("NextToken") {
                Some(token) => token
                    .strip_prefix("next-")
                    .and_then(|from| from.parse().ok())
                    .ok_or_else(|| ApiError::invalid("NextToken"))?,
                None => 0,
            };
            return Ok(Self { from, size, number: 1, by_token: true });
        }
        let size = bounded("PageSize", page_size, 100)?;
        let number = bounded("PageNumber", 1, usize::MAX)?;
        Ok(Self { from: (number - 1).saturating_mul(size), size, number, by_token: false })
    }

    /// The answer around one page of `all`, below `names`: `("Disks", "Disk")`. A token listing
    /// counts nothing, as in the real API.
    fn answer<T>(&self, names: (&str, &str), all: &[T], show: impl Fn(&T) -> Value) -> Value {
        let shown: Vec<Value> = all.iter().skip(self.from).take(self.size).map(show).collect();
        let next = self.from.saturating_add(shown.len());
        let token =
            if self.by_token && next < all.len() { format!("next-{next}") } else { String::new() };
        json!({
            names.0: { names.1: shown },
            "TotalCount": if self.by_token { 0 } else { all.len() },
            "PageNumber": self.number,
            "PageSize": self.size,
            "NextToken": token,
        })
    }
}

/// `{"Tag": [{"TagKey", "TagValue"}]}`, under the names that the operation uses.
fn show_tags(tags: &std::collections::BTreeMap<String, String>) -> Value {
    let tags: Vec<Value> =
        tags.iter().map(|(key, value)| json!({ "TagKey": key, "TagValue": value })).collect();
    json!({ "Tag": tags })
}

/// Whether a resource carries all these tags; a key without a value asks for the key alone.
fn carries(
    tags: &std::collections::BTreeMap<String, String>,
    wanted: &[(String, Option<String>)],
) -> bool {
    wanted.iter().all(|(key, value)| {
        tags.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
    })
}
