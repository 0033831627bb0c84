//! In which ways a disk can be used: access modes, and the kind of access that goes with them.

use wharf_sdk::controller::{ValidateRequest, Validated};
use wharf_sdk::types::VolumeCapability;
use wharf_sdk::{Error, Progress};

use crate::disk_record::observed;
use crate::filesystem::{Formatting, known};
use crate::modify;

/// Whether the capabilities need a disk that several nodes may hold.
///
/// # Errors
/// `invalid-argument`: no disk can be used like that.
pub fn need_multi_attach(capabilities: &[VolumeCapability]) -> Result<bool, Error> {
    capabilities
        .iter()
        .try_fold(false, |needed, capability| Ok(one_needs_multi_attach(capability)? || needed))
}

fn one_needs_multi_attach(capability: &VolumeCapability) -> Result<bool, Error> {
    if let Some(options) = capability.mount_options() {
        if capability.mode.is_multi_node_writer() {
            return Err(Error::invalid_request(
                "several nodes cannot write to one file system on a disk",
            )
            .with_hint(
                "use ReadWriteOnce, or `volumeMode: Block` with `multiAttach: \"true\"` in the \
                 StorageClass",
            ));
        }
        if !options.fs_type.is_empty() {
            known("fsType", &options.fs_type)?;
        }
    }
    Ok(capability.mode.is_multi_node())
}

/// `validate`: the disk is there and can be used like that.
///
/// # Errors
/// `not-found` when there is no such disk.
pub fn validate(request: &ValidateRequest, progress: &Progress) -> Result<Validated, Error> {
    let id = &request.volume_id;
    let disk = observed(progress, id)?
        .ok_or_else(|| Error::not_found(format!("there is no disk {id}")).as_observed())?;
    if let Err(refused) = disk.need_data_disk() {
        return Ok(Validated::no(refused.message));
    }
    if let Some(difference) = modify::differs(&disk, &request.mutable_parameters)? {
        return Ok(Validated::no(difference));
    }
    if let Err(refused) = check_formatting(request) {
        return Ok(Validated::no(refused.message));
    }
    Ok(match need_multi_attach(&request.capabilities) {
        Err(refused) => Validated::no(refused.message),
        Ok(true) if !disk.is_multi_attach() => Validated::no(format!(
            "disk {id} was created without `multiAttach`, so only one node may hold it"
        )),
        Ok(_) => Validated::yes(),
    })
}

/// What a node would refuse only when a workload waits.
fn check_formatting(request: &ValidateRequest) -> Result<(), Error> {
    for context in [&request.context, &request.parameters] {
        let formatting = Formatting::read(context)?;
        for options in request.capabilities.iter().filter_map(VolumeCapability::mount_options) {
            formatting.check(options)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk_record::tests::{disk, seen};
    use wharf_sdk::ErrorKind;
    use wharf_sdk::types::{AccessMode, Observation, pairs};

    #[test]
    fn every_access_mode_has_its_answer() {
        use AccessMode as Mode;
        for (mode, mounted, raw) in [
            (Mode::SingleNodeWriter, Some(false), Some(false)),
            (Mode::SingleNodeReaderOnly, Some(false), Some(false)),
            (Mode::SingleNodeSingleWriter, Some(false), Some(false)),
            (Mode::SingleNodeMultiWriter, Some(false), Some(false)),
            (Mode::MultiNodeReaderOnly, Some(true), Some(true)),
            (Mode::MultiNodeSingleWriter, None, Some(true)),
            (Mode::MultiNodeMultiWriter, None, Some(true)),
        ] {
            assert_eq!(
                need_multi_attach(&[VolumeCapability::mount("ext4").in_mode(mode)]).ok(),
                mounted,
                "{mode:?}"
            );
            assert_eq!(
                need_multi_attach(&[VolumeCapability::block().in_mode(mode)]).ok(),
                raw,
                "{mode:?}"
            );
        }
    }

    #[test]
    fn validation_looks_at_the_disk_that_is_there() {
        let shared = ValidateRequest::new(
            "d-1",
            VolumeCapability::block().in_mode(AccessMode::MultiNodeMultiWriter),
        );
        assert!(!validate(&shared, &seen(&disk(|_| {}))).unwrap().confirmed);
        assert!(
            validate(&shared, &seen(&disk(|disk| disk.multi_attach = "Enabled".into())))
                .unwrap()
                .confirmed
        );
        let odd = ValidateRequest::new("d-1", VolumeCapability::mount("ntfs"));
        assert!(validate(&odd, &seen(&disk(|_| {}))).unwrap().message.contains("ntfs"));
        let panics = ValidateRequest {
            context: pairs([("mkfsOptions", "-F -e panic")]),
            ..ValidateRequest::new("d-1", VolumeCapability::mount("ext4"))
        };
        let refused = validate(&panics, &seen(&disk(|_| {}))).unwrap();
        assert!(!refused.confirmed && refused.message.contains("mkfsOptions"), "{refused:?}");
        let missing = Progress::observed([Observation::missing("d-1")]);
        assert_eq!(validate(&shared, &missing).unwrap_err().kind, ErrorKind::NotFound);
    }
}
