//! `TagResources`, `AddTags`, `UntagResources`, `RemoveTags`, `ListTagResources`, `DescribeTags`:
//! on disks, snapshots and instances.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Page, carries};
use crate::answer::{Answer, ApiError};
use crate::params::Params;
use crate::world::World;

/// Most tags of one resource.
const MOST: usize = 20;

/// `TagResources` and the older `AddTags`: sets tags, over those of the same key.
pub(super) fn tag(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let ids = resources(params)?;
    let tags = params.tags()?;
    if tags.is_empty() {
        return Err(ApiError::missing("Tag.1.Key"));
    }
    for id in &ids {
        let mut after = tags_of(world, params, id)?.clone();
        after.extend(
            tags.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())),
        );
        if after.len() > MOST {
            return Err(ApiError::new(
                403,
                "QuotaExceed.Tags",
                "The maximum number of tags has been reached.",
            ));
        }
    }
    for id in &ids {
        tags_of(world, params, id)?.extend(
            tags.iter().map(|(key, value)| (key.clone(), value.clone().unwrap_or_default())),
        );
    }
    Ok(json!({}))
}

/// `UntagResources` (by `TagKey.N` or `All`) and the older `RemoveTags` (by `Tag.N.Key`): tags that
/// are not there are no error.
pub(super) fn untag(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let all = params.boolean("All")?.unwrap_or(false);
    let mut keys = params.list("TagKey");
    keys.extend(params.tags()?.into_iter().map(|(key, _)| key));
    if keys.is_empty() && !all {
        return Err(ApiError::missing("TagKey.1"));
    }
    let all = all && keys.is_empty();
    for id in resources(params)? {
        tags_of(world, params, &id)?.retain(|key, _| !all && !keys.contains(key));
    }
    Ok(json!({}))
}

/// `ListTagResources`: one entry for each tag of each resource that carries all the tags asked for.
pub(super) fn list(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let kind = params.required("ResourceType")?.to_ascii_lowercase();
    let ids = params.list("ResourceId");
    let wanted = params.tags()?;
    let of_kind: Vec<(&String, &BTreeMap<String, String>)> = match kind.as_str() {
        "disk" => world.state.disks.iter().map(|(id, disk)| (id, &disk.tags)).collect(),
        "snapshot" => {
            world.state.snapshots.iter().map(|(id, snapshot)| (id, &snapshot.tags)).collect()
        }
        "instance" => {
            world.state.instances.iter().map(|instance| (&instance.id, &instance.tags)).collect()
        }
        _ => return Err(unknown_kind()),
    };
    let found = of_kind
        .into_iter()
        .filter(|(id, tags)| (ids.is_empty() || ids.contains(id)) && carries(tags, &wanted));
    let shown: Vec<Value> = found
        .flat_map(|(id, tags)| tags.iter().map(move |(key, value)| (id, key, value)))
        .map(|(id, key, value)| json!({ "ResourceId": id, "ResourceType": kind, "TagKey": key, "TagValue": value }))
        .collect();
    Ok(json!({ "TagResources": { "TagResource": shown }, "NextToken": "" }))
}

/// `DescribeTags`: every tag, with how many resources of each kind carry it.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    params.required("RegionId")?;
    let page = Page::of_tags(params)?;
    let wanted = params.tags()?;
    let kind = params.get("ResourceType");
    let state = &world.state;
    let disks = state.disks.iter().map(|(id, disk)| ("Disk", id, &disk.tags));
    let snapshots = state.snapshots.iter().map(|(id, snapshot)| ("Snapshot", id, &snapshot.tags));
    let instances =
        state.instances.iter().map(|instance| ("Instance", &instance.id, &instance.tags));
    let mut counts: BTreeMap<(&String, &String), BTreeMap<&str, u64>> = BTreeMap::new();
    for (of, id, tags) in disks.chain(snapshots).chain(instances) {
        let asked = kind.is_none_or(|kind| kind.eq_ignore_ascii_case(of))
            && params.get("ResourceId").is_none_or(|wanted| wanted == id);
        for tag in tags.iter().filter(|_| asked) {
            let is = |(key, value): &(String, Option<String>)| {
                key == tag.0 && value.as_ref().is_none_or(|value| value == tag.1)
            };
            if wanted.is_empty() || wanted.iter().any(is) {
                *counts.entry(tag).or_default().entry(of).or_default() += 1;
            }
        }
    }
    let counts: Vec<_> = counts.into_iter().collect();
    Ok(page.answer(("Tags", "Tag"), &counts, |((key, value), counts)| {
        json!({ "TagKey": key, "TagValue": value, "ResourceTypeCount": counts })
    }))
}

fn resources(params: &Params) -> Result<Vec<String>, ApiError> {
    params.required("ResourceType")?;
    let mut ids = params.list("ResourceId");
    ids.extend(params.owned("ResourceId"));
    if ids.is_empty() { Err(ApiError::missing("ResourceId.1")) } else { Ok(ids) }
}

fn tags_of<'a>(
    world: &'a mut World,
    params: &Params,
    id: &str,
) -> Result<&'a mut BTreeMap<String, String>, ApiError> {
    let state = world.change();
    let found = match params.required("ResourceType")?.to_ascii_lowercase().as_str() {
        "disk" => state.disks.get_mut(id).map(|disk| &mut disk.tags),
        "snapshot" => state.snapshots.get_mut(id).map(|snapshot| &mut snapshot.tags),
        "instance" => state
            .instances
            .iter_mut()
            .find(|instance| instance.id == id && !instance.released)
            .map(|instance| &mut instance.tags),
        _ => return Err(unknown_kind()),
    };
    found.ok_or_else(|| {
        ApiError::new(
            404,
            "InvalidResourceId.NotFound",
            "The specified ResourceIds are not found in our records.",
        )
    })
}

fn unknown_kind() -> ApiError {
    ApiError::new(
        404,
        "InvalidResourceType.NotFound",
        "The ResourceType provided does not exist in our records.",
    )
}
