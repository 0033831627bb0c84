//! `TagResources`, `UntagResources`, `ListTagResources`: on file systems, and on access points.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{no_file_system, required};
use crate::answer::{Answer, ApiError};
use crate::pages::carries;
use crate::params::Params;
use crate::world::World;

/// Most tags of one resource.
const MOST: usize = 20;

/// `TagResources`: sets tags, over those of the same key.
pub(super) fn tag(world: &mut World, params: &Params) -> Answer {
    let ids = resources(params)?;
    let tags = params.new_tags()?;
    if tags.is_empty() {
        required(params, "Tag.1.Key")?;
    }
    for id in &ids {
        let mut after = tags_of(world, params, id)?.clone();
        after.extend(tags.clone());
        if after.len() > MOST {
            let message = "The maximum number of system tags for each resource is 20.";
            return Err(ApiError::new(400, "CustomTag.NumberExceed", message));
        }
    }
    for id in &ids {
        tags_of(world, params, id)?.extend(tags.clone());
    }
    Ok(json!({}))
}

/// `UntagResources`, by `TagKey.N` or `All`: tags that are not there are no error.
pub(super) fn untag(world: &mut World, params: &Params) -> Answer {
    let keys = params.list("TagKey");
    let all = params.boolean("All")?.unwrap_or(false) && keys.is_empty();
    for id in resources(params)? {
        tags_of(world, params, &id)?.retain(|key, _| !all && !keys.contains(key));
    }
    Ok(json!({}))
}

/// `ListTagResources`: one entry for each tag of each resource that carries all the tags asked for.
pub(super) fn list(world: &mut World, params: &Params) -> Answer {
    let kind = required(params, "ResourceType")?.to_ascii_lowercase();
    let (ids, wanted) = (params.list("ResourceId"), params.tags()?);
    let systems = world.state.nas.file_systems.values();
    let of_kind: Vec<(&String, &BTreeMap<String, String>)> = match kind.as_str() {
        "filesystem" => systems.map(|system| (&system.id, &system.tags)).collect(),
        "accesspoint" => systems
            .flat_map(|system| &system.access_points)
            .map(|point| (&point.id, &point.tags))
            .collect(),
        _ => return Err(unknown_kind()),
    };
    let shown: Vec<Value> = of_kind
        .into_iter()
        .filter(|(id, tags)| (ids.is_empty() || ids.contains(id)) && carries(tags, &wanted))
        .flat_map(|(id, tags)| tags.iter().map(move |(key, value)| (id, key, value)))
        .map(|(id, key, value)| {
            json!({ "ResourceId": id, "ResourceType": kind, "TagKey": key, "TagValue": value })
        })
        .collect();
    Ok(json!({ "TagResources": { "TagResource": shown }, "NextToken": "" }))
}

fn resources(params: &Params) -> Result<Vec<String>, ApiError> {
    let ids = params.list("ResourceId");
    if ids.is_empty() {
        required(params, "ResourceId.1")?;
    }
    Ok(ids)
}

fn tags_of<'a>(
    world: &'a mut World,
    params: &Params,
    id: &str,
) -> Result<&'a mut BTreeMap<String, String>, ApiError> {
    let mut systems = world.change().nas.file_systems.values_mut();
    match required(params, "ResourceType")?.to_ascii_lowercase().as_str() {
        "filesystem" => systems
            .find(|system| system.id == id)
            .map(|system| &mut system.tags)
            .ok_or_else(no_file_system),
        "accesspoint" => systems
            .flat_map(|system| &mut system.access_points)
            .find(|point| point.id == id)
            .map(|point| &mut point.tags)
            .ok_or_else(|| {
                ApiError::new(404, "NotFound", "The specified access point does not exist.")
            }),
        _ => Err(unknown_kind()),
    }
}

fn unknown_kind() -> ApiError {
    let message = "The specified parameter ResourceType is not valid.";
    ApiError::new(400, "InvalidParameter.ResourceType", message)
}
