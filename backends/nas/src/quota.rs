//! Quotas of directories: whole GiB, for all users together.

use serde::Deserialize;
use wharf_alicloud::Failure;
use wharf_sdk::types::CapacityRange;
use wharf_sdk::{Error, ErrorKind};

use crate::action::Action;
use crate::server::ExportPath;

const GIB: u64 = 1 << 30;
/// Of DescribeDirQuotas.
const PAGE: u32 = 100;
/// The cloud says so of a directory without one.
const NONE: &str = "InvalidParameter.QuotaNotExistOnPath";

/// The quota of a request, in GiB.
///
/// # Errors
/// `out-of-range` where no whole GiB lies between the bounds; `invalid-argument` without a size.
pub fn size(capacity: &CapacityRange) -> Result<u64, Error> {
    let Some(required) = capacity.required_bytes.filter(|bytes| *bytes > 0) else {
        return Err(Error::invalid_request("a volume with a quota needs a size"));
    };
    let gib = required.div_ceil(GIB);
    match capacity.limit_bytes {
        Some(limit) if limit > 0 && bytes(gib) > limit => Err(Error::out_of_range(format!(
            "quotas are whole GiB, and none lies between {required} and {limit} bytes"
        ))),
        _ => Ok(gib),
    }
}

/// So many GiB in bytes.
pub fn bytes(gib: u64) -> u64 {
    gib.saturating_mul(GIB)
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Quotas {
    dir_quota_infos: Vec<DirQuota>,
    total_count: u32,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DirQuota {
    path: String,
    user_quota_infos: Vec<UserQuota>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct UserQuota {
    user_type: String,
    size_limit: u64,
}

impl DirQuota {
    /// In GiB, for all users together.
    fn of_all(&self) -> Option<u64> {
        let mut users = self.user_quota_infos.iter();
        let of_all = users.find(|user| user.user_type == "AllUsers" && user.size_limit > 0);
        of_all.map(|user| user.size_limit)
    }
}

/// The quota that a directory has, in GiB.
///
/// # Errors
/// Those of the cloud.
pub fn current(file_system: &str, path: &ExportPath) -> Result<Option<u64>, Error> {
    let call = Action::DescribeDirQuotas
        .call()
        .with("FileSystemId", file_system)
        .with("Path", path.as_str());
    let quotas: Quotas = match call.send() {
        Err(failure) if failure.is(NONE) => return Ok(None),
        answer => answer?,
    };
    let is_of_path = |quota: &&DirQuota| {
        let same = quota.path.trim_end_matches('/') == path.as_str();
        same || quota.path == path.as_str()
    };
    let mut of_path = quotas.dir_quota_infos.iter().filter(is_of_path);
    Ok(of_path.find_map(DirQuota::of_all))
}

/// Some of a file system's quotas.
#[derive(Debug)]
pub struct QuotaPage {
    /// Directories with a quota for all users together, in GiB.
    pub of_directories: Vec<(String, u64)>,
    /// Whether there are no others behind these.
    pub is_last: bool,
}

/// One page of a file system's quotas, from 1; `None` where it has none, or is gone.
///
/// # Errors
/// Those of the cloud.
pub fn page(file_system: &str, number: u32) -> Result<Option<QuotaPage>, Error> {
    let call = Action::DescribeDirQuotas
        .call()
        .with("FileSystemId", file_system)
        .with("PageSize", PAGE)
        .with("PageNumber", number);
    let quotas: Quotas = match call.send() {
        Err(failure) if is_gone(&failure) => return Ok(None),
        answer => answer?,
    };
    let is_last =
        quotas.dir_quota_infos.is_empty() || number.saturating_mul(PAGE) >= quotas.total_count;
    let of_all = |quota: DirQuota| quota.of_all().map(|gib| (quota.path, gib));
    let of_directories = quotas.dir_quota_infos.into_iter().filter_map(of_all).collect();
    Ok(Some(QuotaPage { of_directories, is_last }))
}

/// Sets the quota, in GiB. The same again changes nothing.
///
/// # Errors
/// Those of the cloud.
pub fn set(file_system: &str, path: &ExportPath, gib: u64) -> Result<(), Error> {
    let call = Action::SetDirQuota
        .call()
        .with("FileSystemId", file_system)
        .with("Path", path.as_str())
        .with("UserType", "AllUsers")
        .with("QuotaType", "Enforcement")
        .with("SizeLimit", gib);
    let _: serde_json::Value = call.send()?;
    Ok(())
}

/// Ends the quota. One that is not there has ended.
///
/// # Errors
/// Those of the cloud.
pub fn cancel(file_system: &str, path: &ExportPath) -> Result<(), Error> {
    let call = Action::CancelDirQuota
        .call()
        .with("FileSystemId", file_system)
        .with("Path", path.as_str())
        .with("UserType", "AllUsers");
    match call.send::<serde_json::Value>() {
        Ok(_) => Ok(()),
        Err(failure) if is_gone(&failure) => Ok(()),
        Err(failure) => Err(failure.into()),
    }
}

fn is_gone(failure: &Failure) -> bool {
    failure.is(NONE) || Error::from(failure.clone()).kind == ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::Pairs as _;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    fn range(required: u64, limit: Option<u64>) -> CapacityRange {
        CapacityRange::new(Some(required), limit)
    }

    fn path() -> ExportPath {
        ExportPath::parse("path", "/a/v").unwrap()
    }

    #[test]
    fn a_quota_is_rounded_up_to_whole_gib_and_stays_below_the_limit() {
        assert_eq!(size(&range(1, None)).unwrap(), 1);
        assert_eq!(size(&range(GIB + 1, Some(2 * GIB))).unwrap(), 2);
        let refused = size(&range(GIB + 1, Some(GIB + 2))).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::OutOfRange);
        assert!(size(&CapacityRange::new(None, None)).is_err());
    }

    #[test]
    fn the_quota_of_all_users_is_the_one_that_counts() {
        let answer = r#"{"DirQuotaInfos":[
            {"Path":"/other","UserQuotaInfos":[{"UserType":"AllUsers","SizeLimit":9}]},
            {"Path":"/a/v/","UserQuotaInfos":[{"UserType":"Uid","UserId":"5","SizeLimit":1},
                {"UserType":"AllUsers","SizeLimit":20}]}]}"#;
        let _host = FakeHost::install().answering("DescribeDirQuotas", Response::new(200, answer));
        assert_eq!(current("fs", &path()).unwrap(), Some(20));
    }

    #[test]
    fn a_quota_that_is_not_there_is_none_and_has_ended() {
        let none = || Response::new(404, format!(r#"{{"Code":"{NONE}","Message":"m"}}"#));
        let gone = r#"{"Code":"InvalidFileSystem.NotFound","Message":"m"}"#;
        let _host = FakeHost::install()
            .answering("DescribeDirQuotas", none())
            .answering("DescribeDirQuotas", Response::new(200, "{}"))
            .answering("CancelDirQuota", none())
            .answering("CancelDirQuota", Response::new(404, gone))
            .answering("CancelDirQuota", Response::new(403, r#"{"Code":"Forbidden.RAM"}"#));
        assert_eq!(current("fs", &path()).unwrap(), None);
        assert_eq!(current("fs", &path()).unwrap(), None);
        assert!(cancel("fs", &path()).is_ok());
        assert!(cancel("fs", &path()).is_ok());
        assert_eq!(cancel("fs", &path()).unwrap_err().kind, ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_quota_is_enforced_for_all_users_together() {
        let host = FakeHost::install().answering("SetDirQuota", Response::new(200, "{}"));
        set("fs", &path(), 20).unwrap();
        let sent = &host.requests()[0].query;
        for (key, value) in [
            ("FileSystemId", "fs"),
            ("Path", "/a/v"),
            ("UserType", "AllUsers"),
            ("QuotaType", "Enforcement"),
            ("SizeLimit", "20"),
        ] {
            assert_eq!(sent.value(key), Some(value));
        }
    }
}
