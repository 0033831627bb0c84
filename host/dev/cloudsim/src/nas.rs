//! File storage (NAS), version 2017-06-26: file systems, mount targets, access points, directories
//! and their quotas.
//!
//! A file system is the directory `nas/<file system id>` of the region, for a test host to export;
//! an extreme one has its files in `share` below. What it leaves out: SMB, CPFS, access groups but
//! for their names, snapshots, lifecycle rules, and the enforcement of directory quotas, which are
//! recorded and counted.
//!
//! Codes, status and messages follow the public error tables where those tell them; where a
//! reference tells a rule and no code, a comment says by what analogy one was chosen.

mod access_points;
mod directories;
mod file_systems;
mod mount_targets;
mod quotas;
mod state;
mod tags;
mod tree;

use serde_json::{Value, json};

use crate::answer::{Answer, ApiError};
use crate::clock::Millis;
use crate::params::Params;
use crate::world::World;

pub(crate) use state::{FileSystem, Kind, Nas};
pub(crate) use tree::all as files;

/// The version that clients must name.
pub(crate) const VERSION: &str = "2017-06-26";

/// The network that the instances of the region are in.
const VPC: &str = "vpc-wharf";
const VSWITCH: &str = "vsw-wharf";

type Operation = fn(&mut World, &Params) -> Answer;

/// Every operation, and whether it honours a `ClientToken`.
const OPERATIONS: &[(&str, Operation, bool)] = &[
    ("CancelDirQuota", quotas::cancel, false),
    ("CreateAccessPoint", access_points::create, false),
    ("CreateDir", directories::create, false),
    ("CreateFileSystem", file_systems::create, true),
    ("CreateMountTarget", mount_targets::create, false),
    ("DeleteAccessPoint", access_points::delete, false),
    ("DeleteFileSystem", file_systems::delete, false),
    ("DeleteMountTarget", mount_targets::delete, false),
    ("DescribeAccessPoint", access_points::describe_one, false),
    ("DescribeAccessPoints", access_points::describe, false),
    ("DescribeDirQuotas", quotas::describe, false),
    ("DescribeFileSystems", file_systems::describe, false),
    ("DescribeMountTargets", mount_targets::describe, false),
    ("DescribeZones", file_systems::zones, false),
    ("GetRecycleBinAttribute", file_systems::recycle_bin, false),
    ("ListTagResources", tags::list, false),
    ("ModifyFileSystem", file_systems::modify, false),
    ("ModifyMountTarget", mount_targets::modify, false),
    ("SetDirQuota", quotas::set, false),
    ("TagResources", tags::tag, false),
    ("UntagResources", tags::untag, false),
];

/// The names of all operations.
pub(crate) fn actions() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|(name, ..)| *name)
}

/// Whether there is such an operation.
pub(crate) fn knows(action: &str) -> bool {
    actions().any(|name| name == action)
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
    let answer =
        if *idempotent { world.once(name, params, operation) } else { operation(world, params) };
    world.progress();
    answer
}

/// A standard file system with a mount target, as by `CreateFileSystem` and `CreateMountTarget`;
/// answers its id.
pub(crate) fn make(world: &mut World) -> Result<String, ApiError> {
    let params = |pairs: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Params::new(pairs.iter().map(owned))
    };
    let asked = params(&[("ProtocolType", "NFS"), ("StorageType", "Performance")]);
    let made = call(world, "CreateFileSystem", &asked)?;
    let id = made.get("FileSystemId").and_then(Value::as_str).unwrap_or_default().to_owned();
    let group = world.options.access_groups.first().cloned().unwrap_or_default();
    let target = params(&[
        ("FileSystemId", &id),
        ("NetworkType", "Vpc"),
        ("VpcId", VPC),
        ("VSwitchId", VSWITCH),
        ("AccessGroupName", &group),
    ]);
    call(world, "CreateMountTarget", &target)?;
    Ok(id)
}

/// Removes what has been deleted for long enough.
pub(crate) fn progress(world: &mut World, now: Millis) {
    if world.state.nas.next_change().is_none_or(|at| at > now) {
        return;
    }
    for id in world.change().nas.progress(now) {
        world.discard_directory(tree::directory(world, &id));
    }
}

/// A parameter that must be there; the codes are the service's own.
fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, ApiError> {
    params.get(name).ok_or_else(|| {
        let code = match name {
            "FileSystemId" | "AccessPointId" => format!("Missing{name}"),
            _ => format!("MissingParameter.{name}"),
        };
        ApiError::new(400, code, format!("{name} is mandatory for this action."))
    })
}

/// The file system that `FileSystemId` names.
fn file_system<'a>(world: &'a World, params: &Params) -> Result<&'a FileSystem, ApiError> {
    let id = required(params, "FileSystemId")?;
    world.state.nas.file_systems.get(id).ok_or_else(no_file_system)
}

/// The same, to be changed.
fn file_system_mut<'a>(
    world: &'a mut World,
    params: &Params,
) -> Result<&'a mut FileSystem, ApiError> {
    file_system(world, params)?;
    let id = required(params, "FileSystemId")?;
    world.change().nas.file_systems.get_mut(id).ok_or_else(no_file_system)
}

fn no_file_system() -> ApiError {
    let message = "The specified file system does not exist.";
    ApiError::new(404, "InvalidFileSystem.NotFound", message)
}

/// For what extreme file systems do not have.
fn check_standard(file_system: &FileSystem) -> Result<(), ApiError> {
    if file_system.kind == Kind::Standard {
        return Ok(());
    }
    // By analogy with `InvalidProtocolType.NotSupported`, which `CreateDir` has.
    let message = "The specified file system type does not supported.";
    Err(ApiError::new(403, "InvalidFileSystemType.NotSupported", message))
}

fn check_running(file_system: &FileSystem, now: Millis) -> Result<(), ApiError> {
    if file_system.status(now) == "Running" {
        return Ok(());
    }
    let message = "The operation is denied due to invalid file system state.";
    Err(ApiError::new(403, "OperationDenied.InvalidState", message))
}

/// The permission group, which must be one of the account's.
fn access_group(world: &World, name: &str) -> Result<String, ApiError> {
    if world.options.access_groups.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let message = "The specified AccessGroup does not exist.";
    Err(ApiError::new(404, "InvalidAccessGroup.NotFound", message))
}

/// The network and the switch, which must be the ones that the instances are in.
fn check_network(vpc: &str, vswitch: &str) -> Result<(), ApiError> {
    if vpc != VPC {
        let message = "The specified VPC does not exist.";
        return Err(ApiError::new(404, "InvalidVpcId.NotFound", message));
    }
    if vswitch != VSWITCH {
        let message = "The specified vSwitch does not exist.";
        return Err(ApiError::new(404, "InvalidVSwitchId.NotFound", message));
    }
    Ok(())
}

/// By analogy with ECS: the tables of this service name none of its quotas.
fn quota_exceeded(what: &str) -> ApiError {
    ApiError::new(403, format!("QuotaExceed.{what}"), format!("The {what} quota exceeds."))
}

/// The answer of the operations that say so themselves.
fn success() -> Value {
    json!({ "Success": true })
}
