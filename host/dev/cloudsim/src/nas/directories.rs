//! `CreateDir`.

use serde_json::json;

use super::tree::{self, Owner};
use super::{check_running, file_system, required};
use crate::answer::{Answer, ApiError};
use crate::params::Params;
use crate::world::World;

/// `CreateDir`: makes a directory, with those above it unless told otherwise. One that is there
/// stays as it is.
pub(super) fn create(world: &mut World, params: &Params) -> Answer {
    let system = file_system(world, params)?;
    check_nfs(system)?;
    check_running(system, world.now())?;
    let path = required(params, "RootDirectory")?;
    let owner = Owner {
        user: id(params, "OwnerUserId")?.ok_or_else(|| missing("OwnerUserId"))?,
        group: id(params, "OwnerGroupId")?.ok_or_else(|| missing("OwnerGroupId"))?,
        mode: mode(required(params, "Permission")?)?,
    };
    let parents = params.boolean("Recursion")?.unwrap_or(true);
    tree::make_directory(&tree::files(world, system), path, owner, parents)?;
    Ok(json!({}))
}

/// Standard file systems with NFS have directories that the API makes; the code is the reference's.
pub(super) fn check_nfs(system: &super::FileSystem) -> Result<(), ApiError> {
    super::check_standard(system)?;
    if system.protocol == "NFS" {
        return Ok(());
    }
    let message = "The specified protocol type does not supported.";
    Err(ApiError::new(403, "InvalidProtocolType.NotSupported", message))
}

/// A user or a group, unless absent.
pub(super) fn id(params: &Params, name: &str) -> Result<Option<u32>, ApiError> {
    let Some(value) = params.number(name)? else { return Ok(None) };
    u32::try_from(value).map(Some).map_err(|_| ApiError::invalid(name))
}

fn missing(name: &str) -> ApiError {
    let message = format!("{name} is mandatory for this action.");
    ApiError::new(400, format!("MissingParameter.{name}"), message)
}

/// `0755`.
pub(super) fn mode(text: &str) -> Result<u32, ApiError> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.filter(|_| text.starts_with('0')).ok_or_else(|| ApiError::invalid("Permission"))
}
