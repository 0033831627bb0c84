//! `create`, `delete` and `validate`: a new volume is a place in a bucket that exists, as with the
//! earlier driver: the class's path (`direct`, `sharepath`), or a directory of the volume's name
//! below it (`subpath`). Nothing in the cloud is needed for that: a directory of object storage
//! begins with its first object. What makes something is `bucket`, a bucket of the volume's own,
//! and `deleteObjects: true`, without which nothing in a bucket is ever deleted: with it, the
//! volume's bucket or directory is deleted with all that is in it.
//!
//! A volume's capacity is answered as unknown: object storage sets no bound to a bucket, so the
//! same volume serves whatever size is asked for, and the claim keeps the size that it names.

use wharf_sdk::controller::{CreateRequest, DeleteRequest, ValidateRequest, Validated};
use wharf_sdk::types::{Parameters, Volume};
use wharf_sdk::{Answer, Error, Pairs, Progress};

use crate::attributes::{self, Attributes};
use crate::choices::{Choice as _, VolumeAs};
use crate::names;
use crate::own_directory::Directory;
use crate::{own_bucket, plans};

/// The parameter that has objects deleted.
const DELETE_OBJECTS: &str = "deleteObjects";

/// `controller.create`. The same name and class give the same volume.
///
/// # Errors
/// `invalid-argument` naming the parameter.
pub fn create(request: &CreateRequest) -> Result<Volume, Error> {
    if request.source.is_some() {
        return Err(Error::unsupported("a bucket's volume starts from nothing")
            .with_hint("copy the objects yourself"));
    }
    let mut parameters = request.parameters.clone();
    for (key, value) in &request.mutable_parameters {
        parameters.insert_pair(key, value);
    }
    let delete_objects = delete_objects(&mut parameters)?;
    let own = own_bucket(&mut parameters, &request.name)?;
    let attributes = Attributes::read(&parameters)?;
    for capability in &request.capabilities {
        plans::check(&parameters, capability)?;
    }
    let path = match attributes.volume_as {
        VolumeAs::Direct => attributes.path,
        VolumeAs::Subpath => {
            if request.name.contains('/') {
                return Err(Error::invalid("name", &names::shown(&request.name), "no slash"));
            }
            names::path("path", &format!("{}/{}", attributes.path, request.name))?
        }
    };
    let id = match (&own, attributes.volume_as) {
        (Some(name), _) => {
            own_bucket::create(name, delete_objects)?;
            own_bucket::id(name)
        }
        (None, VolumeAs::Subpath) if delete_objects => {
            let directory = Directory::new(&attributes.bucket, &path)?;
            directory.create()?;
            directory.id()
        }
        (None, VolumeAs::Direct) if delete_objects => {
            let allowed = "true with `volumeAs` `subpath` or `bucket`: other volumes may share \
                           what this one would delete";
            return Err(Error::invalid(DELETE_OBJECTS, "true", allowed));
        }
        (None, _) => request.name.clone(),
    };
    let mut volume = Volume::new(id, 0);
    let is_kept = |key: &str| {
        let key = key.trim().to_ascii_lowercase();
        !["path", "volumeas", "bucket", "akid", "aksecret"].contains(&key.as_str())
            && !attributes::is_of_others(&key)
    };
    volume.context = parameters.into_iter().filter(|(key, _)| is_kept(key)).collect();
    Ok(volume.with_context("bucket", attributes.bucket).with_context("path", path))
}

/// Whether what is in a volume is deleted with it; the parameters then do not say it any more.
fn delete_objects(parameters: &mut Parameters) -> Result<bool, Error> {
    let is_it = |key: &str| key.trim().eq_ignore_ascii_case(DELETE_OBJECTS);
    let given = parameters.iter().find(|(key, value)| is_it(key) && !value.trim().is_empty());
    let given = given.map(|(_, value)| bool::read(DELETE_OBJECTS, value.trim())).transpose()?;
    parameters.retain(|(key, _)| !is_it(key));
    Ok(given.unwrap_or(false))
}

/// The name of the volume's own bucket, where the class wants one; the parameters then name it.
fn own_bucket(parameters: &mut Parameters, volume: &str) -> Result<Option<String>, Error> {
    let is = |key: &str, wanted: &str| key.trim().eq_ignore_ascii_case(wanted);
    let wants_own = parameters
        .iter()
        .any(|(key, value)| is(key, "volumeAs") && value.trim().eq_ignore_ascii_case("bucket"));
    if !wants_own {
        return Ok(None);
    }
    let given = parameters.iter().find(|(key, _)| is(key, "bucket") || is(key, "path"));
    if let Some((key, value)) = given {
        let allowed = "no such key with `volumeAs: bucket`, which makes a bucket";
        return Err(Error::invalid(&names::shown(key), &names::shown(value), allowed));
    }
    let prefix = parameters.iter().find(|(key, _)| is(key, "bucketPrefix"));
    let prefix = prefix.map(|(_, value)| value.trim()).unwrap_or_default();
    let name = own_bucket::name(prefix, volume)?;
    parameters.retain(|(key, _)| !is(key, "volumeAs") && !is(key, "bucketPrefix"));
    parameters.insert_pair("bucket", &name);
    Ok(Some(name))
}

/// `controller.delete`: a bucket of the volume's own goes, and a directory that was made to be
/// deleted; whatever else is in a bucket stays, as with the earlier driver.
///
/// # Errors
/// As [`own_bucket::delete`] and [`Directory::delete`].
pub fn delete(request: &DeleteRequest, progress: &Progress) -> Result<Answer<()>, Error> {
    if let Some(name) = own_bucket::of_id(&request.volume_id) {
        return own_bucket::delete(name, progress);
    }
    match Directory::of_id(&request.volume_id) {
        Some(directory) => directory.delete(progress),
        None => Ok(Answer::Done(())),
    }
}

/// `controller.validate`.
///
/// # Errors
/// `not-found`, where the call brings no attributes and the id names nothing that is there; what
/// else is wrong is the answer. The cloud's.
pub fn validate(request: &ValidateRequest) -> Result<Validated, Error> {
    let is_described = attributes::name_a_bucket(&request.context);
    if !is_described {
        find(&request.volume_id)?;
    }
    let check = |capability| match is_described {
        true => plans::check(&request.context, capability),
        false => plans::mount_options(capability).map(drop),
    };
    let wrong = request.capabilities.iter().find_map(|capability| check(capability).err());
    Ok(wrong.map_or_else(Validated::yes, |error| Validated::no(error.message)))
}

/// What was made for the volume of this id is there.
///
/// # Errors
/// `not-found`: nothing was, or it is gone. The cloud's.
pub fn find(volume_id: &str) -> Result<(), Error> {
    let is_there = match (own_bucket::of_id(volume_id), Directory::of_id(volume_id)) {
        (Some(name), _) => own_bucket::is_there(name)?,
        (None, Some(directory)) => directory.is_there()?,
        (None, None) => false,
    };
    if is_there {
        return Ok(());
    }
    let text = format!("there is no volume {}", names::shown(volume_id));
    Err(Error::not_found(text)
        .with_hint("say its attributes, or the id of a bucket or directory that was made for it")
        .as_observed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::testing::FakeHost;
    use wharf_sdk::types::{CapacityRange, VolumeCapability, VolumeSource, pairs};

    const CLASS: [(&str, &str); 3] =
        [("bucket", "b-1"), ("url", "h.example"), ("csi.storage.k8s.io/pvc/name", "data")];

    fn request(more: &[(&str, &str)]) -> CreateRequest {
        CreateRequest {
            parameters: pairs(CLASS.into_iter().chain(more.iter().copied())),
            capacity: CapacityRange::new(Some(5 << 30), None),
            ..CreateRequest::new("pvc-1", VolumeCapability::mount(""))
        }
    }

    #[test]
    fn a_new_volume_is_where_its_class_says() {
        for (more, path) in [
            (&[][..], "/"),
            (&[("csi.alibabacloud.com/reclaimPolicy", "Retain")], "/"),
            (&[("path", "/a/")], "/a"),
            (&[("path", "/a"), ("volumeAs", "sharepath")], "/a"),
            (&[("path", "/a"), ("volumeAs", "subpath")], "/a/pvc-1"),
            (&[("VolumeAs", "subpath")], "/pvc-1"),
        ] {
            let host = FakeHost::install();
            let volume = create(&request(more)).unwrap();
            assert_eq!((volume.id.as_str(), volume.capacity_bytes), ("pvc-1", 0));
            assert_eq!(volume.context.value("path"), Some(path), "{more:?}");
            assert!(host.requests().is_empty());
            assert_eq!(create(&request(more)).unwrap(), volume);
            // What was made can be mounted.
            let attributes = Attributes::read(&volume.context).unwrap();
            assert_eq!(attributes.path, path);
        }
    }

    #[test]
    fn no_key_becomes_part_of_a_volume() {
        let refused = create(&request(&[("akId", "canary"), ("AKSECRET", "canary")])).unwrap_err();
        assert!(!format!("{refused:?}").contains("canary"));
    }

    #[test]
    fn a_class_that_cannot_be_mounted_makes_no_volume() {
        for more in [
            &[("path", "/..")][..],
            &[("otherOpts", "allow_other")],
            &[("sigVersion", "v4")],
            &[("nosuchkey", "x")],
        ] {
            assert_eq!(create(&request(more)).unwrap_err().kind, ErrorKind::InvalidArgument);
        }
        let block = CreateRequest { capabilities: vec![VolumeCapability::block()], ..request(&[]) };
        assert!(create(&block).is_err());
        let source = Some(VolumeSource::Volume("pvc-0".into()));
        assert!(create(&CreateRequest { source, ..request(&[]) }).is_err());
        let named = CreateRequest { name: "a/../b".into(), ..request(&[("volumeAs", "subpath")]) };
        assert!(create(&named).is_err());
    }

    #[test]
    fn a_volume_is_validated_as_it_would_be_mounted() {
        let ask = |capability| ValidateRequest {
            context: pairs(CLASS),
            ..ValidateRequest::new("pvc-1", capability)
        };
        assert!(validate(&ask(VolumeCapability::mount(""))).unwrap().confirmed);
        let refused = validate(&ask(VolumeCapability::block())).unwrap();
        assert!(!refused.confirmed && refused.message.contains("block"));
        let unknown = ValidateRequest::new("pvc-1", VolumeCapability::mount(""));
        assert_eq!(validate(&unknown).unwrap_err().kind, ErrorKind::NotFound);
    }
}
