//! `validate`: every access mode, and no block device. Of a volume that the earlier driver made it
//! is said what deleting it leaves; of the parameters of a class, asked about alone, what they mean
//! here and did not there.

use wharf_sdk::Error;
use wharf_sdk::controller::{ValidateRequest, Validated};

use crate::attributes::Attributes;
use crate::create::SHAREPATH;
use crate::earlier;
use crate::file_system;
use crate::handle::Handle;
use crate::nfs_options::Defaults;
use crate::parameters::what_differs;

/// `controller.validate`.
///
/// # Errors
/// `not-found` for a volume that neither its handle nor its context describes.
pub fn validate(request: &ValidateRequest) -> Result<Validated, Error> {
    let id = request.volume_id.as_str();
    let is_ours = Handle::parse(id).is_some()
        || file_system::of_handle(id).is_some()
        || id.starts_with(SHAREPATH);
    let is_of_class = !is_ours && request.context.is_empty() && !request.parameters.is_empty();
    if !is_ours && request.context.is_empty() && !is_of_class {
        return Err(Error::not_found(format!("there is no volume {id}"))
            .with_hint("a static volume is described by the attributes of its PersistentVolume"));
    }
    if request.capabilities.iter().any(|capability| capability.mount_options().is_none()) {
        return Ok(Validated::no("an NFS volume is no block device"));
    }
    if !request.context.is_empty()
        && let Err(refused) = Attributes::read(&request.context, &[], Defaults::Csi)
    {
        return Ok(Validated::no(refused.message));
    }
    Ok(match (is_ours, is_of_class) {
        (true, _) => Validated::yes(),
        (false, true) => Validated::yes().with_message(what_differs(&request.parameters)),
        (false, false) => Validated::yes().with_message(earlier::what_stays(&request.context)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;
    use wharf_sdk::types::{AccessMode, VolumeCapability, pairs};

    const ID: &str = "subpath#a#/k8s/pvc-1#archive";

    fn asked(id: &str, capability: VolumeCapability, context: &[(&str, &str)]) -> ValidateRequest {
        let context = pairs(context.iter().copied());
        ValidateRequest { context, ..ValidateRequest::new(id, capability) }
    }

    #[test]
    fn a_share_is_for_many_nodes_and_no_device() {
        let many = VolumeCapability::mount("").in_mode(AccessMode::MultiNodeMultiWriter);
        for id in [ID, "filesystem#0cd8#delete", "filesystem#0cd8#keep", "sharepath#pvc-1"] {
            assert!(validate(&asked(id, many.clone(), &[])).unwrap().confirmed, "{id}");
        }
        assert!(validate(&asked("static", many.clone(), &[("server", "a")])).unwrap().confirmed);
        assert!(!validate(&asked(ID, VolumeCapability::block(), &[])).unwrap().confirmed);
        let no = validate(&asked(ID, many, &[("server", "a:b")])).unwrap();
        assert!(!no.confirmed && no.message.contains("`server`"));
    }

    #[test]
    fn of_a_volume_that_the_earlier_driver_made_it_is_said_what_stays() {
        let many = VolumeCapability::mount("").in_mode(AccessMode::MultiNodeMultiWriter);
        let context = [("server", "a"), ("volumeAs", "filesystem"), ("fileSystemId", "0cd8")];
        for (id, is_said) in
            [("nas-1", true), ("filesystem#0cd8#keep", false), ("sharepath#pvc-1", false)]
        {
            let validated = validate(&asked(id, many.clone(), &context)).unwrap();
            assert!(validated.confirmed);
            assert_eq!(validated.message.contains("0cd8"), is_said, "{}", validated.message);
        }
    }

    #[test]
    fn of_a_class_it_is_said_what_its_parameters_mean_here_and_did_not_there() {
        let own = &[("volumeAs", "filesystem"), ("vpcId", "v"), ("vSwitchId", "s")][..];
        let share = &[("server", "a:/x")][..];
        for (class, key, value, said) in [
            (own, "deleteVolume", "true", "keep their file systems"),
            (own, "deleteVolume", "false", ""),
            (own, "regionId", "cn-x", "regionId"),
            (share, "volumeAs", "accesspoint", "keep their access points"),
            (share, "archiveOnDelete", "false", "is removed with everything in it"),
            (share, "archiveOnDelete", "true", ""),
            (share, "deleteVolume", "true", "without effect in this class: deleteVolume"),
            (own, "archiveOnDelete", "false", "without effect in this class: archiveOnDelete"),
        ] {
            let parameters = pairs([class, &[(key, value)]].concat());
            let capability = VolumeCapability::mount("");
            let request =
                ValidateRequest { parameters, ..ValidateRequest::new("pvc-1", capability) };
            let validated = validate(&request).unwrap();
            assert!(validated.confirmed);
            assert!(validated.message.contains(said), "{key}: {}", validated.message);
            assert_eq!(validated.message.is_empty(), said.is_empty(), "{}", validated.message);
        }
    }

    #[test]
    fn what_nothing_describes_is_not_there() {
        for id in ["x", "filesystem#0cd8", "filesystem#a/b#keep", "filesystem#0cd8#other"] {
            let refused = validate(&asked(id, VolumeCapability::mount(""), &[])).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::NotFound, "{id}");
        }
    }
}
