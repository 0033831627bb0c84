//! `expand`: the quota of a directory is raised. A volume without one has no size of its own, but
//! for extreme file systems, which are enlarged by people.

use wharf_sdk::controller::{ExpandRequest, Expanded};
use wharf_sdk::{Answer, Error, Progress};

use crate::earlier::{self, Look};
use crate::file_system;
use crate::handle::Handle;
use crate::quota;
use crate::server::ExportPath;

/// `controller.expand`.
///
/// # Errors
/// `out-of-range` where no quota fits, and where an extreme file system is smaller;
/// `failed-precondition` where it is not known which quota is the volume's; those of the cloud.
pub fn expand(request: &ExpandRequest, progress: &Progress) -> Result<Answer<Expanded>, Error> {
    let id = request.volume_id.as_str();
    let bytes = request.capacity.required_bytes.unwrap_or(0);
    if let Some(system) = file_system::of_handle(id) {
        file_system::check_room(system, bytes)?;
    }
    match Handle::parse(id) {
        Some(Handle { quota: Some(system), base, name, .. }) => {
            let path = base.join(&name);
            raise(request, &system, &path, quota::current(&system, &path)?)
        }
        None if earlier::is_provisioned(id) => {
            match earlier::look_for_quota(id, progress.resume.as_deref())? {
                Look::Found(found) => {
                    let path = ExportPath::parse("path", &found.path)?;
                    raise(request, &found.file_system, &path, Some(found.gib))
                }
                Look::Nothing => Ok(Answer::Done(Expanded::new(bytes, false))),
                Look::Further(pending) => Ok(pending.into()),
            }
        }
        _ => Ok(Answer::Done(Expanded::new(bytes, false))),
    }
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
    use wharf_sdk::http::Response;
    use wharf_sdk::testing::FakeHost;

    const WITH_QUOTA: &str = "subpath#0cd8-1.cn-x.nas.aliyuncs.com#/k8s/pvc-1#archive,quota";

    fn expanded(id: &str, gib: u64) -> Expanded {
        match expand(&ExpandRequest::new(id, gib << 30), &Progress::default()).unwrap() {
            Answer::Done(expanded) => expanded,
            other => panic!("{other:?}"),
        }
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
        for id in ["static", "subpath#a#/k8s/pvc-1#archive", "sharepath#pvc-1"] {
            assert_eq!(expanded(id, 7).capacity_bytes, 7 << 30);
        }
        assert!(host.requests().is_empty());
    }
}
