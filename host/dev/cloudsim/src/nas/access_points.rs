//! `CreateAccessPoint`, `DescribeAccessPoint`, `DescribeAccessPoints`, `DeleteAccessPoint`.

use serde_json::{Value, json};

use super::directories::{check_nfs, id, mode};
use super::mount_targets::domain;
use super::state::{AccessPoint, FileSystem, Kind, Life};
use super::tree::{self, Owner};
use super::{access_group, check_network, check_running, file_system, file_system_mut};
use super::{quota_exceeded, required};
use crate::answer::{Answer, ApiError, present};
use crate::clock::{Millis, iso8601};
use crate::pages::{Page, carries};
use crate::params::Params;
use crate::world::World;

/// `CreateAccessPoint`: makes its root where that is missing and an owner is given; `Pending` for a
/// while.
pub(super) fn create(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let system = file_system(world, params)?;
    check_nfs(system)?;
    check_running(system, now)?;
    let (vpc, vswitch) = (required(params, "VpcId")?, required(params, "VswId")?);
    check_network(vpc, vswitch)?;
    let access_group = access_group(world, required(params, "AccessGroup")?)?;
    if system.access_points.len() >= world.options.quotas.access_points {
        return Err(quota_exceeded("AccessPoint"));
    }
    let root = params.get("RootDirectory").unwrap_or("/");
    let permission = params.get("Permission").unwrap_or("0755");
    let owner = match (id(params, "OwnerUserId")?, id(params, "OwnerGroupId")?) {
        (Some(user), Some(group)) => Some(Owner { user, group, mode: mode(permission)? }),
        _ => None,
    };
    let secondary = params.get("PosixSecondaryGroupIds").unwrap_or_default();
    let secondary = secondary.split(',').filter(|group| !group.is_empty());
    let secondary = secondary.map(|group| group.trim().parse());
    let secondary_groups = secondary
        .collect::<Result<Vec<u32>, _>>()
        .map_err(|_| ApiError::invalid("PosixSecondaryGroupIds"))?;
    let (user, group) = (id(params, "PosixUserId")?, id(params, "PosixGroupId")?);
    let (ram, tags) = (params.boolean("EnabledRam")?.unwrap_or(false), params.new_tags()?);
    let files = tree::files(world, system);
    match (tree::find(&files, root)?, owner) {
        (Some(_), _) => {}
        (None, Some(owner)) => tree::make_directory(&files, root, owner, true)?,
        (None, None) => return Err(tree::no_directory()),
    }
    let label = system.id.clone();
    let (id, number) = world.identify("ap");
    let id: String = id.chars().take(13).collect();
    let (suffix, _) = world.identify_without_prefix("access-point", 5);
    let domain = domain(world, Kind::Standard, &format!("{id}.{label}-{suffix}"));
    let point = AccessPoint {
        id: id.clone(),
        number,
        name: params.owned("AccessPointName").unwrap_or_default(),
        domain: domain.clone(),
        access_group,
        vpc: vpc.to_owned(),
        vswitch: vswitch.to_owned(),
        root: root.to_owned(),
        owner: owner.map(|owner| (owner.user, owner.group, permission.to_owned())),
        user,
        group,
        secondary_groups,
        ram,
        tags,
        life: Life::from(now, world.options.delays.nas),
    };
    file_system_mut(world, params)?.access_points.push(point);
    Ok(json!({ "AccessPoint": { "AccessPointId": id, "AccessPointDomain": domain } }))
}

fn find<'a>(system: &'a FileSystem, params: &Params) -> Result<&'a AccessPoint, ApiError> {
    let id = required(params, "AccessPointId")?;
    system.access_points.iter().find(|point| point.id == id).ok_or_else(not_found)
}

/// The bare code is the service's.
fn not_found() -> ApiError {
    ApiError::new(404, "NotFound", "The specified access point does not exist.")
}

/// `DescribeAccessPoint`.
pub(super) fn describe_one(world: &mut World, params: &Params) -> Answer {
    let system = file_system(world, params)?;
    let point = find(system, params)?;
    Ok(json!({ "AccessPoint": show(world, system, point, world.now()) }))
}

/// `DescribeAccessPoints`: of one file system or of all, newest first.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let page = Page::of_access_points(params)?;
    let tags = params.tags()?;
    if params.get("FileSystemId").is_some() {
        file_system(world, params)?;
    }
    let is = |name: &str, value: &str| params.get(name).is_none_or(|wanted| wanted == value);
    let systems = world.state.nas.file_systems.values();
    let mut points: Vec<(&FileSystem, &AccessPoint)> = systems
        .filter(|system| is("FileSystemId", &system.id))
        .flat_map(|system| system.access_points.iter().map(move |point| (system, point)))
        .filter(|(_, point)| is("AccessGroup", &point.access_group) && carries(&point.tags, &tags))
        .collect();
    points.sort_by_key(|(_, point)| std::cmp::Reverse(point.number));
    let shown = page.shown(&points, |(system, point)| show(world, system, point, now));
    Ok(page.answer_around("AccessPoints", shown, points.len()))
}

fn show(world: &World, system: &FileSystem, point: &AccessPoint, now: Millis) -> Value {
    let (region, account) = (&world.options.region, &world.state.account);
    let is_there =
        tree::find(&tree::files(world, system), &point.root).is_ok_and(|at| at.is_some());
    let user = point.user.map(|user| {
        present(json!({
            "PosixUserId": user,
            "PosixGroupId": point.group,
            "PosixSecondaryGroupIds": point.secondary_groups,
        }))
    });
    let owner = point.owner.as_ref().map(|(user, group, permission)| {
        json!({ "OwnerUserId": user, "OwnerGroupId": group, "Permission": permission })
    });
    let tags: Vec<Value> =
        point.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let created = (point.life.created * 1000).to_string();
    present(json!({
        "AccessPointId": point.id,
        "AccessPointName": point.name,
        "ARN": format!("acs:nas:{region}:{account}:accesspoint/{}", point.id),
        "FileSystemId": system.id,
        "DomainName": point.domain,
        "AccessGroup": point.access_group,
        "RegionId": region,
        "VpcId": point.vpc,
        "VSwitchId": point.vswitch,
        "RootPath": point.root,
        "RootPathStatus": if is_there { "2" } else { "1" },
        "RootPathPermission": owner,
        "PosixUser": user,
        "EnabledRam": point.ram,
        "Status": point.life.status(now, "Active"),
        "CreateTime": created,
        "ModifyTime": created,
        "CreateTimeUtc": iso8601(point.life.created),
        "ModifyTimeUtc": iso8601(point.life.created),
        "Tags": tags,
    }))
}

/// `DeleteAccessPoint`: `Deleting` for a while. The directory stays.
pub(super) fn delete(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let point = find(file_system(world, params)?, params)?;
    if point.life.status(now, "Active") != "Active" {
        let message = "The operation is denied due to invalid access point state.";
        return Err(ApiError::new(403, "OperationDenied.InvalidState", message));
    }
    let (id, gone_at) = (point.id.clone(), now.saturating_add(world.options.delays.nas));
    let mut points = file_system_mut(world, params)?.access_points.iter_mut();
    let point = points.find(|point| point.id == id).ok_or_else(not_found)?;
    point.life.gone_at = Some(gone_at);
    Ok(json!({}))
}
