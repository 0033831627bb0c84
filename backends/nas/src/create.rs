//! `create`: a directory of the volume's own, made by the host in a private mount, or by the cloud
//! with an access point; or a directory that all volumes of the class share, for which nothing is
//! done.

use wharf_sdk::controller::CreateRequest;
use wharf_sdk::plan::{Directory, Owner, Plan};
use wharf_sdk::types::{Perform, Volume};
use wharf_sdk::{Answer, Error, Progress};

use crate::access_point::Step;
use crate::handle::{Handle, directory_name, hashed_name};
use crate::parameters::{Class, Common, Subpath};
use crate::plans::{OPEN, share};
use crate::quota;

/// How the id of a volume begins whose directory others share.
pub const SHAREPATH: &str = "sharepath#";

/// The token of a directory that the host has made.
const MADE: &str = "made";

/// `controller.create`.
///
/// # Errors
/// `invalid-argument` naming the key; `already-exists` when the directory of this name has a quota
/// that does not fit; those of the cloud.
pub fn create(request: &CreateRequest, progress: &Progress) -> Result<Answer<Volume>, Error> {
    let mut flags = Vec::new();
    for capability in &request.capabilities {
        match capability.mount_options() {
            Some(mount) => flags.extend(mount.flags.iter().cloned()),
            None => {
                return Err(Error::invalid_request("an NFS volume is no block device")
                    .with_hint("set `volumeMode: Filesystem` in the claim"));
            }
        }
    }
    if request.source.is_some() {
        return Err(Error::invalid_request(
            "an NFS volume begins empty: neither snapshots nor volumes can be its source",
        ));
    }
    if let Some((key, value)) = request.mutable_parameters.first() {
        return Err(Error::unknown_key(key, value, "no mutable parameter"));
    }
    match Class::read(&request.parameters, &flags)? {
        Class::Subpath(class) => subpath(&class, request, progress),
        Class::FileSystem(class) => class.create(request, progress),
        Class::Sharepath(class) => sharepath(&class, request).map(Answer::Done),
    }
}

fn sharepath(class: &Common, request: &CreateRequest) -> Result<Volume, Error> {
    let (server, path) = class.export_for(&request.name)?;
    let id = format!("{SHAREPATH}{}", directory_name(&request.name));
    Ok(class.volume(id, request.capacity.required_bytes.unwrap_or(0), server, path))
}

fn subpath(
    class: &Subpath,
    request: &CreateRequest,
    progress: &Progress,
) -> Result<Answer<Volume>, Error> {
    let (server, base) = class.common.export_for(&request.name)?;
    let mut handle = Handle {
        server: server.clone(),
        base: base.clone(),
        name: directory_name(&request.name),
        deletion: class.deletion,
        version: class.common.nfs.version,
        quota: class.quota_of(server)?,
        access_point: class.access_point_of(server)?,
    };
    if handle.check_length().is_err() {
        handle.name = hashed_name(&request.name);
    }
    handle.check_length()?;
    if handle.quota.is_some() {
        quota::size(&request.capacity)?;
    }
    if let (Some(points), Some(file_system)) = (&class.access_points, &handle.access_point) {
        let domain = match points.create(file_system, &handle, progress)? {
            Step::Active(domain) => domain,
            Step::Awaited(pending) => return Ok(pending.into()),
        };
        let bytes = size(&handle, request)?;
        return Ok(Answer::Done(class.common.volume_at(handle.to_string(), bytes, &domain)));
    }
    if progress.resume.as_deref() != Some(MADE) {
        let bits = class.common.mode.map_or(OPEN, |mode| mode.bits);
        let plan = Plan::new(format!("directory {} for a new volume", handle.path().as_str()))
            .mount_nfs_in_scratch(share(server, base, &class.common.nfs, OPEN))
            .make_directory(Directory::in_scratch(&handle.name), bits, Owner::UNCHANGED);
        return Ok(Perform::new(plan, MADE).into());
    }
    let bytes = size(&handle, request)?;
    Ok(Answer::Done(class.common.volume(handle.to_string(), bytes, server, &handle.path())))
}

/// What the volume of a directory that is there has.
fn size(handle: &Handle, request: &CreateRequest) -> Result<u64, Error> {
    match &handle.quota {
        None => Ok(request.capacity.required_bytes.unwrap_or(0)),
        Some(file_system) => limit(handle, file_system, request),
    }
}

/// Sets the quota of a directory that has none. One that is there was set by an earlier call for
/// the same name.
fn limit(handle: &Handle, file_system: &str, request: &CreateRequest) -> Result<u64, Error> {
    let gib = quota::size(&request.capacity)?;
    let Some(current) = quota::current(file_system, &handle.path())? else {
        quota::set(file_system, &handle.path(), gib)?;
        return Ok(quota::bytes(gib));
    };
    let bytes = quota::bytes(current);
    let limit = request.capacity.limit_bytes.filter(|limit| *limit > 0);
    if current < gib || limit.is_some_and(|limit| bytes > limit) {
        let name = &request.name;
        return Err(Error::already_exists(format!(
            "volume {name} is there with a quota of {current} GiB, and {gib} GiB are asked for"
        ))
        .as_observed());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::http::Response;
    use wharf_sdk::plan::{MountPlace, Step};
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::{VolumeCapability, VolumeSource, pairs};
    use wharf_sdk::{ErrorKind, Pairs as _};

    const SERVER: &str = "0cd8-1.cn-x.nas.aliyuncs.com";

    fn request(parameters: &[(&str, &str)]) -> CreateRequest {
        let mut request = CreateRequest::new("pvc-1", VolumeCapability::mount("nfs"));
        request.parameters = pairs(parameters.iter().copied());
        request.parameters.insert_pair("server", format!("{SERVER}:/k8s"));
        request.capacity.required_bytes = Some(20 << 30);
        request
    }

    fn made() -> Progress {
        Progress::default().with_resume(MADE)
    }

    fn done(answer: Answer<Volume>) -> Volume {
        match answer {
            Answer::Done(volume) => volume,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_directory_is_made_in_a_private_mount_of_the_class_s_directory() {
        let answer = create(&request(&[("mode", "750")]), &Progress::default()).unwrap();
        let Answer::Perform(perform) = answer else { panic!("{answer:?}") };
        let [mount, make] = perform.plan.steps.as_slice() else { panic!() };
        let Step::MountNfs { share, place: MountPlace::Scratch, read_only: false } = mount else {
            panic!("{mount:?}")
        };
        assert_eq!((share.server.as_str(), share.path.as_str()), (SERVER, "/k8s"));
        assert_eq!(share.missing.as_ref().unwrap().root, "/");
        let expected = Step::MakeDirectory {
            at: Directory::in_scratch("pvc-1"),
            mode: 0o750,
            owner: Owner::UNCHANGED,
        };
        assert_eq!((make, perform.resume.as_deref()), (&expected, Some(MADE)));
    }

    #[test]
    fn the_volume_says_what_a_node_needs_and_what_deleting_needs() {
        let of_class = [("vers", "4.0"), ("mode", "750"), ("archiveOnDelete", "false")];
        let volume = done(create(&request(&of_class), &made()).unwrap());
        assert_eq!(volume.id, format!("subpath#{SERVER}#/k8s/pvc-1#remove,v4.0"));
        assert_eq!(volume.capacity_bytes, 20 << 30);
        for (key, value) in
            [("server", SERVER), ("path", "/k8s/pvc-1"), ("vers", "4.0"), ("mode", "750")]
        {
            assert_eq!(volume.context.value(key), Some(value));
        }
        let publish = wharf_sdk::node::PublishRequest {
            volume_context: volume.context,
            ..wharf_sdk::node::PublishRequest::new(volume.id, VolumeCapability::mount(""))
        };
        assert!(crate::plans::publish(&publish).is_ok());
    }

    #[test]
    fn a_name_that_fits_into_no_id_beside_its_server_becomes_its_hash() {
        let long = "sanity-controller-create-single-no-capacity-D9F77258-E929EBE8";
        let of = |name: &str, base: &str| {
            let parameters = [("volumeCapacity", "true"), ("archiveOnDelete", "false")];
            let mut request = request(&parameters);
            request.name = name.to_owned();
            request.parameters.retain(|(key, _)| key != "server");
            request.parameters.insert_pair("server", format!("{SERVER}:/{base}"));
            create(&request, &Progress::default())
        };
        for (base, expected) in [("k8s", long.to_owned()), (&"b".repeat(20), hashed_name(long))] {
            let Ok(Answer::Perform(perform)) = of(long, base) else { panic!("{base}") };
            let Step::MakeDirectory { at, .. } = &perform.plan.steps[1] else { panic!() };
            assert_eq!(at, &Directory::in_scratch(expected));
        }
        assert!(of(long, &"b".repeat(80)).unwrap_err().message.contains("bytes less"));
    }

    #[test]
    fn a_quota_is_set_once_the_directory_is_there() {
        let host = FakeHost::install()
            .answering("DescribeDirQuotas", Response::new(200, "{}"))
            .answering("SetDirQuota", Response::new(200, "{}"));
        let request = request(&[("volumeCapacity", "true")]);
        assert!(matches!(create(&request, &Progress::default()), Ok(Answer::Perform(_))));
        assert!(host.requests().is_empty());
        let volume = done(create(&request, &made()).unwrap());
        assert_eq!(volume.id, format!("subpath#{SERVER}#/k8s/pvc-1#archive,quota"));
        assert_eq!(host.actions(), ["DescribeDirQuotas", "SetDirQuota"]);
        let sent = &host.requests()[1].query;
        assert_eq!((sent.value("SizeLimit"), sent.value("Path")), (Some("20"), Some("/k8s/pvc-1")));
    }

    #[test]
    fn a_volume_of_another_size_is_not_the_one_that_is_asked_for() {
        for (gib, limit, fits) in
            [(20, None, true), (30, None, true), (10, None, false), (30, Some(25u64), false)]
        {
            let quotas = format!(
                r#"{{"DirQuotaInfos":[{{"Path":"/k8s/pvc-1","UserQuotaInfos":
                    [{{"UserType":"AllUsers","SizeLimit":{gib}}}]}}]}}"#
            );
            let _host =
                FakeHost::install().answering("DescribeDirQuotas", Response::new(200, quotas));
            let mut request = request(&[("allowVolumeExpansion", "true")]);
            request.capacity.limit_bytes = limit.map(|gib| gib << 30);
            match create(&request, &made()) {
                Ok(answer) => assert_eq!((done(answer).capacity_bytes, fits), (gib << 30, true)),
                Err(error) => {
                    assert_eq!((error.kind, fits), (ErrorKind::AlreadyExists, false));
                    assert!(error.observed);
                }
            }
        }
    }

    #[test]
    fn the_same_name_is_the_same_volume() {
        let twice = || done(create(&request(&[]), &made()).unwrap());
        assert_eq!(twice(), twice());
    }

    #[test]
    fn a_shared_directory_needs_nothing_to_be_made() {
        let shared = request(&[("volumeAs", "sharepath")]);
        let volume = done(create(&shared, &Progress::default()).unwrap());
        assert_eq!(
            (volume.id.as_str(), volume.context.value("path")),
            ("sharepath#pvc-1", Some("/k8s"))
        );
        assert_eq!(Handle::parse(&volume.id), None);
    }

    #[test]
    fn what_nfs_cannot_be_is_refused() {
        let mut block = request(&[]);
        block.capabilities = vec![VolumeCapability::block()];
        let mut copy = request(&[]);
        copy.source = Some(VolumeSource::Volume("v".to_owned()));
        let mut mutable = request(&[]);
        mutable.mutable_parameters = pairs([("a", "b")]);
        for request in [block, copy, mutable] {
            let refused = create(&request, &Progress::default()).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidArgument);
        }
    }
}
