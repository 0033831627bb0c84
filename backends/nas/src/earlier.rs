//! Volumes that the earlier driver made. Their id is the PersistentVolume's name and says nothing
//! else; what is known besides is that the directory of such a volume has this name. So a quota is
//! looked for by it, in every general-purpose file system of the account.
//!
//! Only for a name that ends in a UUID, as provisioners make them: no second directory has it by
//! accident. The handle of a volume that a person wrote is any word, and a directory of that name
//! may be anybody's.

use serde::{Deserialize, Serialize};
use wharf_sdk::Error;
use wharf_sdk::types::{Parameters, Pending};

use crate::attributes::{Named, OWN_FILE_SYSTEM};
use crate::file_system;
use crate::quota;
use crate::server::Server;

/// Pages of quotas in one call: each is a request of a tenth of a second, and the cloud takes a few
/// in a second from one account.
const PAGES_A_CALL: u32 = 10;
/// Between two calls, so that the account's other requests find room.
const LOOK_AFTER_MS: u32 = 1000;

/// Whether a provisioner made this name: it ends in a UUID.
pub fn is_provisioned(name: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut parts = name.rsplitn(GROUPS.len() + 1, '-');
    let is_uuid = GROUPS.iter().rev().all(|length| {
        parts.next().is_some_and(|part| part.len() == *length && part.bytes().all(is_hex))
    });
    is_uuid && parts.next().is_none_or(|prefix| !prefix.is_empty())
}

/// What came of a look.
#[derive(Debug, PartialEq)]
pub enum QuotaLookup {
    /// The quota of the volume's directory.
    Found(Quota),
    /// No directory of this name has one.
    Nothing,
    /// There are more file systems, or quotas, than one call looks at.
    Further(Pending),
}

/// The quota of a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Where the directory is.
    pub file_system: String,
    /// The directory.
    pub path: String,
    /// Its quota.
    pub gib: u64,
}

/// How far a look has come, from call to call.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Search {
    /// The file system that is next, in the order of their ids; empty: the first.
    file_system: String,
    /// The page of its quotas that is next.
    page: u32,
    found: Option<Quota>,
}

/// Looks for the quota of the directory of this name, or goes on from `resume`.
///
/// # Errors
/// `failed-precondition` naming both where two directories of this name have one; those of the
/// cloud.
pub fn look_for_quota(name: &str, resume: Option<&str>) -> Result<QuotaLookup, Error> {
    let Search { file_system: next, page: next_page, mut found } =
        resume.and_then(|token| serde_json::from_str(token).ok()).unwrap_or_default();
    let mut looked = 0;
    for id in file_system::with_quotas()?.into_iter().filter(|id| *id >= next) {
        let mut page = if id == next { next_page } else { 1 };
        loop {
            if looked == PAGES_A_CALL {
                return Ok(Search { file_system: id, page, found }.further(name));
            }
            looked += 1;
            let Some(quotas) = quota::page(&id, page)? else { break };
            for (path, gib) in quotas.of_directories {
                let is_of_volume = path.trim_end_matches('/').rsplit('/').next() == Some(name);
                if is_of_volume {
                    let quota = Quota { file_system: id.clone(), path, gib };
                    found = Some(the_only(name, found, quota)?);
                }
            }
            if quotas.is_last {
                break;
            }
            page += 1;
        }
    }
    Ok(found.map_or(QuotaLookup::Nothing, QuotaLookup::Found))
}

/// The one that is found now, unless another one was.
fn the_only(name: &str, before: Option<Quota>, now: Quota) -> Result<Quota, Error> {
    let Some(other) = before.filter(|other| !other.is_of_directory_of(&now)) else {
        return Ok(now);
    };
    Err(Error::precondition(format!(
        "volume {name} may be {} of {} or {} of {}: both directories have its name and a quota",
        other.path, other.file_system, now.path, now.file_system
    ))
    .with_hint(
        "raise the quota of the one that the PersistentVolume names in the console, and rename the \
         other, or cancel its quota",
    )
    .as_observed())
}

impl Quota {
    fn is_of_directory_of(&self, other: &Self) -> bool {
        (&self.file_system, &self.path) == (&other.file_system, &other.path)
    }
}

impl Search {
    fn further(&self, name: &str) -> QuotaLookup {
        let what = format!("looking for the quota of {name}, next in {}", self.file_system);
        let pending = Pending::after_ms(LOOK_AFTER_MS, what);
        // A token that cannot be written means that the look begins anew.
        QuotaLookup::Further(match serde_json::to_string(self) {
            Ok(token) => pending.with_resume(token),
            Err(_) => pending,
        })
    }
}

/// What deleting a volume of the earlier driver leaves in the cloud, by what its PersistentVolume
/// says: its id alone does not say it, and nothing is deleted on a guess. Empty: a directory at
/// most, which stays as it did there.
pub fn what_stays(context: &Parameters) -> String {
    let Ok(named) = Named::read(context) else { return String::new() };
    let server = Server::parse("server", named.get("server")).ok();
    let of_server = || server.as_ref().and_then(Server::file_system_id).unwrap_or_default();
    let file_system = match named.get("fileSystemId") {
        "" => of_server(),
        id => id,
    };
    let named_or = |id: &str| match id {
        "" => format!("the file system of `{}`", named.get("server")),
        id => format!("file system {id}"),
    };
    match named.get("volumeAs") {
        OWN_FILE_SYSTEM if named.get("deleteVolume") != "false" => format!(
            "deleting it leaves {} with its mount target, also where its class says \
             `deleteVolume: \"true\"`: its id does not say so, and no file system is deleted on a \
             guess. They cost money until they are deleted in the NAS console, which can be done \
             when the PersistentVolume is gone",
            named_or(file_system)
        ),
        "accesspoint" => format!(
            "deleting it leaves access point {}, which the earlier driver would have deleted, in \
             {}: delete it in the NAS console when the PersistentVolume is gone; its directory \
             stays as well",
            named.get("accesspoint"),
            named_or(file_system)
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
