//! `expand`: the quota of a directory is raised, whoever set it. A volume without one has no size
//! of its own, but for extreme file systems, which are enlarged by people.

use wharf_sdk::controller::{ExpandRequest, Expanded};
use wharf_sdk::{Answer, Error, Progress};

use crate::earlier::{self, QuotaLookup};
use crate::file_system;
use crate::handle::Handle;
use crate::quota;
use crate::server::{ExportPath, Server};

/// `controller.expand`.
///
/// # Errors
/// `out-of-range` where no quota fits, and where an extreme file system is smaller;
/// `failed-precondition` where it is not known which quota is the volume's; those of the cloud,
/// which is asked where there may be a quota: nothing is said to have grown that may not have.
pub fn expand(request: &ExpandRequest, progress: &Progress) -> Result<Answer<Expanded>, Error> {
    let id = request.volume_id.as_str();
    let bytes = request.capacity.required_bytes.unwrap_or(0);
    if let Some(system) = file_system::of_handle(id) {
        file_system::check_room(system, bytes)?;
    }
    let unlimited = || Ok(Answer::Done(Expanded::new(bytes, false)));
    match limited_by(id) {
        Limit::None => unlimited(),
        Limit::Own(system, path) => raise(request, &system, &path, quota::current(&system, &path)?),
        Limit::Whichever(system, path) => match quota::current(&system, &path)? {
            Some(current) => raise(request, &system, &path, Some(current)),
            None => unlimited(),
        },
        Limit::Somewhere(name) => {
            match earlier::look_for_quota(&name, progress.resume.as_deref())? {
                QuotaLookup::Found(found) => {
                    let path = ExportPath::parse("path", &found.path)?;
                    raise(request, &found.file_system, &path, Some(found.gib))
                }
                QuotaLookup::Nothing => unlimited(),
                QuotaLookup::Further(pending) => Ok(pending.into()),
            }
        }
    }
}

/// What limits a volume, by its id.
enum Limit {
    /// No quota that could be known.
    None,
    /// The quota that it was made with, of this directory of this file system.
    Own(String, ExportPath),
    /// A quota of this directory, if it has one: an earlier driver or a person set it.
    Whichever(String, ExportPath),
    /// A quota of a directory of this name, if one has any.
    Somewhere(String),
}

fn limited_by(id: &str) -> Limit {
    if let Some(handle) = Handle::parse(id) {
        let path = handle.path();
        return handle.quota.map_or(Limit::None, |system| Limit::Own(system, path));
    }
    if earlier::is_provisioned(id) {
        return Limit::Somewhere(id.to_owned());
    }
    // A volume of FlexVolume, whose id says what is mounted.
    let Some((server, path)) = place(id) else { return Limit::None };
    match (server.file_system_id(), path.split_last()) {
        (_, None) => Limit::None,
        (Some(system), Some(_)) => Limit::Whichever(system.to_owned(), path),
        // An address does not say whose it is; the name of a volume that was made does.
        (None, Some((_, name))) if earlier::is_provisioned(name) => {
            Limit::Somewhere(name.to_owned())
        }
        (None, Some(_)) => Limit::None,
    }
}

/// `server:/path`.
fn place(id: &str) -> Option<(Server, ExportPath)> {
    let at = id.find(":/")?;
    let (server, path) = (id.get(..at)?, id.get(at + 1..)?);
    Some((Server::parse("", server).ok()?, ExportPath::parse("", path).ok()?))
}

/// Raises a quota, in GiB; it never shrinks.
fn raise(
    request: &ExpandRequest,
    file_system: &str,
    path: &ExportPath,
    current: Option<u64>,
) -> Result<Answer<Expanded>, Error> {
    let asked = quota::size(&request.capacity)?;
    let gib = match current {
        Some(current) if current >= asked => current,
        _ => {
            quota::set(file_system, path, asked)?;
            asked
        }
    };
    Ok(Answer::Done(Expanded::new(quota::bytes(gib), false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    const WITH_QUOTA: &str = "subpath#0cd8-1.cn-x.nas.aliyuncs.com#/k8s/pvc-1#archive,quota";

    fn expanded(id: &str, gib: u64) -> Expanded {
        match expand(&ExpandRequest::new(id, gib << 30), &Progress::default()).unwrap() {
            Answer::Done(expanded) => expanded,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_quota_of_a_volume_of_flexvolume_is_found_by_what_is_mounted() {
        const PLAIN: &str = "0cd8-1.cn-x.nas.aliyuncs.com:/k8s/pvc-1";
        let host = FakeHost::install()
            .answering("DescribeDirQuotas", quota_of(20))
            .answering("SetDirQuota", Response::new(200, "{}"));
        assert_eq!(expanded(PLAIN, 40).capacity_bytes, 40 << 30);
        assert_eq!(host.actions(), ["DescribeDirQuotas", "SetDirQuota"]);
        // One without grows without.
        let host = FakeHost::install().answering("DescribeDirQuotas", Response::new(200, "{}"));
        assert_eq!(expanded(PLAIN, 7).capacity_bytes, 7 << 30);
        assert_eq!(host.actions(), ["DescribeDirQuotas"]);
        // Whether it has one is not guessed.
        let refused = Response::new(403, r#"{"Code":"Forbidden.RAM","Message":"m"}"#);
        let _host = FakeHost::install().answering("DescribeDirQuotas", refused);
        let asked = ExpandRequest::new(PLAIN, 40 << 30);
        let error = expand(&asked, &Progress::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::PermissionDenied);
        // Behind an address, a volume that was made has a name that no other has.
        let name = "nas-6a1f0c9e-8c1e-45eb-8ec7-786a8b2e0b61";
        let none = Response::new(200, r#"{"FileSystems":{"FileSystem":[]},"TotalCount":0}"#);
        let host = FakeHost::install().answering("DescribeFileSystems", none);
        assert_eq!(expanded(&format!("[fd00::1]:/k8s/{name}"), 7).capacity_bytes, 7 << 30);
        assert_eq!(host.actions(), ["DescribeFileSystems"]);
    }

    fn quota_of(gib: u64) -> Response {
        let quotas = format!(
            r#"{{"DirQuotaInfos":[{{"Path":"/k8s/pvc-1","UserQuotaInfos":
                [{{"UserType":"AllUsers","SizeLimit":{gib}}}]}}]}}"#
        );
        Response::new(200, quotas)
    }

    #[test]
    fn only_a_file_system_with_a_size_can_be_too_small() {
        let described = |kind: &str| {
            let system =
                format!(r#"{{"FileSystemId":"0cd8","FileSystemType":"{kind}","Capacity":100}}"#);
            Response::new(200, format!(r#"{{"FileSystems":{{"FileSystem":[{system}]}}}}"#))
        };
        for (kind, gib, fits) in
            [("extreme", 100, true), ("extreme", 101, false), ("standard", 101, true)]
        {
            let host = FakeHost::install().answering("DescribeFileSystems", described(kind));
            let request = ExpandRequest::new("filesystem#0cd8#keep", gib << 30);
            let answer = expand(&request, &Progress::default());
            assert_eq!(answer.is_ok(), fits, "{kind} {gib}");
            assert_eq!(host.actions(), ["DescribeFileSystems"]);
        }
    }

    #[test]
    fn a_quota_grows_and_never_shrinks() {
        for (current, asked, now, actions) in [
            (20, 40, 40, &["DescribeDirQuotas", "SetDirQuota"][..]),
            (40, 40, 40, &["DescribeDirQuotas"]),
            (50, 40, 50, &["DescribeDirQuotas"]),
        ] {
            let host = FakeHost::install()
                .answering("DescribeDirQuotas", quota_of(current))
                .answering("SetDirQuota", Response::new(200, "{}"));
            let expanded = expanded(WITH_QUOTA, asked);
            assert_eq!(expanded.capacity_bytes, now << 30);
            assert!(!expanded.node_expansion_required);
            assert_eq!(host.actions(), actions);
        }
    }

    #[test]
    fn a_volume_without_a_quota_is_as_large_as_it_is_said_to_be() {
        let host = FakeHost::install();
        for id in [
            "static",
            "subpath#a#/k8s/pvc-1#archive",
            "sharepath#pvc-1",
            "10.0.0.1:/data",
            "a-b.cn-x.extreme.nas.aliyuncs.com:/share/data",
            "0cd8-1.cn-x.nas.aliyuncs.com:/",
        ] {
            assert_eq!(expanded(id, 7).capacity_bytes, 7 << 30);
        }
        assert!(host.requests().is_empty());
    }
}
