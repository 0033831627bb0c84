//! `SetDirQuota`, `CancelDirQuota`, `DescribeDirQuotas`. Quotas are recorded and usage is counted;
//! nothing is refused to who writes more.

use std::path::Path;

use serde_json::{Value, json};

use super::state::{DirQuota, FileSystem};
use super::{check_running, check_standard, file_system, file_system_mut, quota_exceeded};
use super::{required, success, tree};
use crate::answer::{Answer, ApiError, present};
use crate::clock::Millis;
use crate::pages::Page;
use crate::params::Params;
use crate::world::World;

/// Whose quota of which directory.
struct Which {
    path: String,
    user_type: String,
    user: String,
}

impl Which {
    fn of(params: &Params) -> Result<Self, ApiError> {
        let names = tree::components(required(params, "Path")?)?;
        let user_type = required(params, "UserType")?;
        let user = match user_type {
            "AllUsers" => String::new(),
            "Uid" | "Gid" => required(params, "UserId")?.to_owned(),
            _ => return Err(invalid("UserType")),
        };
        let path = format!("/{}", names.join("/"));
        Ok(Self { path, user_type: user_type.to_owned(), user })
    }

    fn is(&self, quota: &DirQuota) -> bool {
        quota.path == self.path && quota.user_type == self.user_type && quota.user == self.user
    }
}

fn invalid(parameter: &str) -> ApiError {
    let message = format!("The specified parameter {parameter} is not valid.");
    ApiError::new(400, format!("InvalidParameter.{parameter}"), message)
}

/// `SetDirQuota`: sets a quota, or another in its place.
pub(super) fn set(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let system = file_system(world, params)?;
    check_standard(system)?;
    check_running(system, now)?;
    let which = Which::of(params)?;
    let (size_gib, files) = (params.number("SizeLimit")?, params.number("FileCountLimit")?);
    let quota_type = match required(params, "QuotaType")? {
        "Enforcement" if size_gib.is_none() && files.is_none() => {
            required(params, "SizeLimit")?.to_owned()
        }
        known @ ("Accounting" | "Enforcement") => known.to_owned(),
        _ => return Err(invalid("QuotaType")),
    };
    let root = tree::files(world, system);
    let directory = tree::find(&root, &which.path)?.ok_or_else(tree::no_directory)?;
    let is_new = !system.quotas.iter().any(|quota| quota.path == which.path);
    if is_new && distinct(system) >= world.options.quotas.directory_quotas {
        return Err(quota_exceeded("DirQuota"));
    }
    let quota = DirQuota {
        inode: tree::inode(&directory)?,
        quota_type,
        size_gib,
        files,
        ready_at: now.saturating_add(world.options.delays.nas),
        path: which.path.clone(),
        user_type: which.user_type.clone(),
        user: which.user.clone(),
    };
    let quotas = &mut file_system_mut(world, params)?.quotas;
    quotas.retain(|known| !which.is(known));
    quotas.push(quota);
    Ok(success())
}

/// Directories with a quota.
fn distinct(system: &FileSystem) -> usize {
    let mut paths: Vec<&str> = system.quotas.iter().map(|quota| quota.path.as_str()).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.len()
}

/// `CancelDirQuota`.
pub(super) fn cancel(world: &mut World, params: &Params) -> Answer {
    let system = file_system(world, params)?;
    check_standard(system)?;
    let which = Which::of(params)?;
    let root = tree::files(world, system);
    let mut quotas = system.quotas.iter();
    if !quotas.any(|quota| which.is(quota) && is_there(&root, quota)) {
        let message = "The specified path does not have quota.";
        return Err(ApiError::new(404, "InvalidParameter.QuotaNotExistOnPath", message));
    }
    file_system_mut(world, params)?.quotas.retain(|quota| !which.is(quota));
    Ok(success())
}

/// Whether the directory that a quota was set on is still there.
fn is_there(root: &Path, quota: &DirQuota) -> bool {
    let directory = tree::find(root, &quota.path).ok().flatten();
    directory.and_then(|path| tree::inode(&path).ok()) == Some(quota.inode)
}

/// `DescribeDirQuotas`: by directory, in the order of their paths.
pub(super) fn describe(world: &mut World, params: &Params) -> Answer {
    let now = world.now();
    let page = Page::of(params)?;
    let system = file_system(world, params)?;
    check_standard(system)?;
    let root = tree::files(world, system);
    let wanted = params.get("Path").map(|path| path.trim_end_matches('/'));
    let told = system.quotas.iter().filter(|quota| {
        wanted.is_none_or(|wanted| wanted == quota.path.trim_end_matches('/'))
            && is_there(&root, quota)
    });
    let mut directories: std::collections::BTreeMap<&str, Vec<&DirQuota>> = Default::default();
    for quota in told {
        directories.entry(&quota.path).or_default().push(quota);
    }
    let directories: Vec<_> = directories.into_iter().collect();
    let shown = page.shown(&directories, |(path, quotas)| show(&root, path, quotas, now));
    Ok(page.answer_around("DirQuotaInfos", shown, directories.len()))
}

fn show(root: &Path, path: &str, quotas: &[&DirQuota], now: Millis) -> Value {
    let directory = tree::find(root, path).ok().flatten();
    let used = directory.as_deref().map(tree::usage).unwrap_or_default();
    let inode = quotas.first().map(|quota| quota.inode.to_string());
    let ready = quotas.iter().all(|quota| quota.ready_at <= now);
    // How much a single user has is not told apart: usage is the directory's.
    let of_user = |quota: &&DirQuota| {
        present(json!({
            "UserType": quota.user_type,
            "UserId": quota.user,
            "QuotaType": quota.quota_type,
            "SizeLimit": quota.size_gib,
            "FileCountLimit": quota.files,
            "SizeReal": used.bytes >> 30,
            "SizeRealInByte": used.bytes,
            "FileCountReal": used.files,
        }))
    };
    let users: Vec<Value> = quotas.iter().map(of_user).collect();
    json!({
        "Path": path,
        "DirInode": inode,
        "Status": if ready { "Normal" } else { "Initializing" },
        "UserQuotaInfos": users,
    })
}
