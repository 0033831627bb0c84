//! `CreateMountTarget`, `DescribeMountTargets`, `ModifyMountTarget`, `DeleteMountTarget`.

use serde_json::{Value, json};

use super::state::{FileSystem, Kind, Life, MountTarget};
use super::{access_group, check_network, check_running, check_standard, file_system};
use super::{file_system_mut, quota_exceeded, required};
use crate::answer::{Answer, ApiError, present};
use crate::clock::Millis;
use crate::pages::Page;
use crate::params::Params;
use crate::world::World;

/// `CreateMountTarget`: `Pending` for a while. An extreme file system's is told only once it is
/// `Active`.
pub(super) fn create(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let system = file_system(world, params)?;
    check_running(system, now)?;
    if !required(params, "NetworkType")?.eq_ignore_ascii_case("vpc") {
        let message = "The specified parameter NetworkType is not valid.";
        return Err(ApiError::new(400, "InvalidParameter.NetworkType", message));
    }
    let (vpc, vswitch) = (required(params, "VpcId")?, required(params, "VSwitchId")?);
    check_network(vpc, vswitch)?;
    let access_group = access_group(world, required(params, "AccessGroupName")?)?;
    let most = match system.kind {
        Kind::Standard => world.options.quotas.mount_targets,
        Kind::Extreme => 1,
    };
    if system.mount_targets.len() >= most {
        return Err(quota_exceeded("MountTarget"));
    }
    let (id, kind) = (system.id.clone(), system.kind);
    let (suffix, _) = world.identify_without_prefix("mount-target", 5);
    let domain = domain(world, kind, &format!("{id}-{suffix}"));
    let target = MountTarget {
        domain: domain.clone(),
        access_group,
        vpc: vpc.to_owned(),
        vswitch: vswitch.to_owned(),
        inactive: false,
        life: Life::from(now, world.options.delays.nas),
    };
    file_system_mut(world, params)?.mount_targets.push(target);
    let told = (kind == Kind::Standard).then_some(domain);
    Ok(present(json!({ "MountTargetDomain": told, "MountTargetExtra": {} })))
}

/// As the cloud names it, or as `RegionOptions::mount_target_domain` says.
pub(super) fn domain(world: &World, kind: Kind, label: &str) -> String {
    if let Some(template) = &world.options.mount_target_domain {
        return template.replace("{}", label);
    }
    let region = &world.options.region;
    match kind {
        Kind::Standard => format!("{label}.{region}.nas.aliyuncs.com"),
        Kind::Extreme => format!("{label}.{region}.extreme.nas.aliyuncs.com"),
    }
}

/// `DescribeMountTargets`, of one file system.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let page = Page::of(params)?;
    let system = file_system(world, params)?;
    if params.get("MountTargetDomain").is_some() {
        find(system, params)?;
    }
    let wanted = params.get("MountTargetDomain");
    let targets: Vec<&MountTarget> = system
        .mount_targets
        .iter()
        .filter(|target| wanted.is_none_or(|wanted| wanted == target.domain))
        .collect();
    Ok(page.answer(("MountTargets", "MountTarget"), &targets, |target| {
        show(system, target, now, "AccessGroup")
    }))
}

/// Two operations show one, and name its permission group differently.
pub(super) fn show(
    system: &FileSystem,
    target: &MountTarget,
    now: Millis,
    group: &'static str,
) -> Value {
    let is_told = system.kind == Kind::Standard || target.life.ready_at <= now;
    present(json!({
        "MountTargetDomain": is_told.then_some(&target.domain),
        group: target.access_group,
        "NetworkType": "Vpc",
        "VpcId": target.vpc,
        "VswId": target.vswitch,
        "Status": target.status(now),
        "IPVersion": "IPv4",
        "Tags": { "Tag": [] },
        "ClientMasterNodes": { "ClientMasterNode": [] },
    }))
}

fn find<'a>(system: &'a FileSystem, params: &Params) -> Result<&'a MountTarget, ApiError> {
    let domain = required(params, "MountTargetDomain")?;
    let mut targets = system.mount_targets.iter();
    targets.find(|target| target.domain == domain).ok_or_else(not_found)
}

fn not_found() -> ApiError {
    let message = "The specified mount target does not exist.";
    ApiError::new(404, "InvalidMountTarget.NotFound", message)
}

fn find_mut<'a>(world: &'a mut World, params: &Params) -> Result<&'a mut MountTarget, ApiError> {
    let domain = required(params, "MountTargetDomain")?;
    let mut targets = file_system_mut(world, params)?.mount_targets.iter_mut();
    targets.find(|target| target.domain == domain).ok_or_else(not_found)
}

/// Nothing is done to a mount target on its way.
fn check_settled(target: &MountTarget, now: Millis) -> Result<(), ApiError> {
    if matches!(target.status(now), "Active" | "Inactive") {
        return Ok(());
    }
    let message = "The volume status forbids the operation.";
    Err(ApiError::new(403, "VolumeStatusForbidOperation", message))
}

/// `ModifyMountTarget`: its permission group, and whether it is active.
pub(super) fn modify(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let system = file_system(world, params)?;
    check_settled(find(system, params)?, now)?;
    let group = params.get("AccessGroupName").map(|name| access_group(world, name)).transpose()?;
    let inactive = match params.get("Status") {
        None => None,
        Some("Active") => Some(false),
        Some("Inactive") => Some(true),
        Some(_) => {
            let message = "The specified parameter Status is not valid.";
            return Err(ApiError::new(400, "InvalidParameter.Status", message));
        }
    };
    if inactive.is_some() {
        check_standard(system)?;
    }
    let target = find_mut(world, params)?;
    target.access_group = group.unwrap_or_else(|| target.access_group.clone());
    target.inactive = inactive.unwrap_or(target.inactive);
    Ok(json!({}))
}

/// `DeleteMountTarget`: `Deleting` for a while.
pub(super) fn delete(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    check_settled(find(file_system(world, params)?, params)?, now)?;
    let gone_at = now.saturating_add(world.options.delays.nas);
    find_mut(world, params)?.life.gone_at = Some(gone_at);
    Ok(json!({}))
}
