//! `validate`: every access mode, and no block device.

use wharf_sdk::Error;
use wharf_sdk::controller::{ValidateRequest, Validated};

use crate::attributes::Attributes;
use crate::handle::Handle;
use crate::nfs_options::Defaults;

/// `controller.validate`.
///
/// # Errors
/// `not-found` for a volume that neither its handle nor its context describes.
pub fn validate(request: &ValidateRequest) -> Result<Validated, Error> {
    if Handle::parse(&request.volume_id).is_none() && request.context.is_empty() {
        let id = &request.volume_id;
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
    Ok(Validated::yes())
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
        assert!(validate(&asked(ID, many.clone(), &[])).unwrap().confirmed);
        assert!(validate(&asked("static", many.clone(), &[("server", "a")])).unwrap().confirmed);
        assert!(!validate(&asked(ID, VolumeCapability::block(), &[])).unwrap().confirmed);
        let no = validate(&asked(ID, many, &[("server", "a:b")])).unwrap();
        assert!(!no.confirmed && no.message.contains("`server`"));
    }

    #[test]
    fn what_nothing_describes_is_not_there() {
        let refused = validate(&asked("x", VolumeCapability::mount(""), &[])).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::NotFound);
    }
}
