//! What must be true on a node. Pure: the same request gives the same plan.
//!
//! The device is found by its serial: the one that `attach` returned, or the one that the disk's id
//! implies. A disk made before June 2020 has another serial, or none; then no device is found,
//! which is the safe end of it.

use wharf_sdk::node::{ExpandRequest, PublishRequest, StageRequest};
use wharf_sdk::plan::{DeviceMatch, Plan, Writing};
use wharf_sdk::types::{AccessType, MountOptions, Parameters, VolumeCapability};
use wharf_sdk::{Error, Pairs};

use crate::attach::SERIAL;
use crate::filesystem::{Formatting, each};
use crate::queue_settings;
use crate::serial::{DiskId, links};
use crate::usage_modes::need_multi_attach;

/// `node.plan-stage`: the file system of the disk on the staging path, or the device made ready.
///
/// # Errors
/// `invalid-argument` naming the context's key.
pub fn stage(request: &StageRequest) -> Result<Plan, Error> {
    need_multi_attach(std::slice::from_ref(&request.capability))?;
    let plan = device(&request.volume_id, &request.publish_context, &request.volume_context, 0)?;
    match &request.capability.access {
        AccessType::Block => Ok(plan),
        AccessType::Mount(options) => {
            mount(plan, options, &request.capability, &request.volume_context)
        }
    }
}

fn mount(
    plan: Plan,
    options: &MountOptions,
    capability: &VolumeCapability,
    context: &Parameters,
) -> Result<Plan, Error> {
    let formatting = Formatting::read(context)?;
    let asked = formatting.asked(options)?;
    // Nobody named one: what is on the disk is mounted as what it is.
    let mounted = asked.unwrap_or_default();
    let mut flags = options.flags.clone();
    // A disk restored from a snapshot has the file system id of its origin, and XFS refuses to
    // mount both.
    if mounted == "xfs" && !each(&flags).any(|flag| flag == "nouuid") {
        flags.push("nouuid".to_owned());
    }
    // The host decides in the end; what only reads needs neither a check nor a format.
    let last_word = each(&flags).filter(|flag| matches!(*flag, "ro" | "rw")).last();
    if capability.mode.is_read_only() || last_word == Some("ro") {
        return Ok(plan.mount_device(mounted, flags, Writing::Forbidden));
    }
    let plan = if formatting.is_unchecked { plan } else { plan.check(mounted) };
    let (made, arguments) = formatting.made(asked)?;
    Ok(plan.format(made, arguments).mount_device(mounted, flags, Writing::Allowed).grow(mounted))
}

/// `node.plan-publish`: the staged file system, or the device itself, on the target path.
///
/// # Errors
/// `not-found` when the volume id is no disk's.
pub fn publish(request: &PublishRequest) -> Result<Plan, Error> {
    let writing =
        Writing::unless_read_only(request.read_only || request.capability.mode.is_read_only());
    match &request.capability.access {
        AccessType::Mount(_) => Ok(Plan::new(format!("disk {} for a workload", request.volume_id))
            .mount_staged(Vec::new(), writing)),
        AccessType::Block => {
            Ok(device(&request.volume_id, &request.publish_context, &Parameters::new(), 0)?
                .block_device(writing))
        }
    }
}

/// `node.plan-expand`: the file system as large as its device.
///
/// # Errors
/// `not-found` when the volume id is no disk's.
pub fn expand(request: &ExpandRequest) -> Result<Plan, Error> {
    let plan = device(
        &request.volume_id,
        &request.publish_context,
        &Parameters::new(),
        request.required_bytes,
    )?;
    match request.capability.as_ref().map(|capability| &capability.access) {
        Some(AccessType::Block) => Ok(plan),
        // Whatever it was made as: what is on the device is what grows.
        Some(AccessType::Mount(_)) | None => Ok(plan.grow("")),
    }
}

fn device(
    volume_id: &str,
    publish_context: &Parameters,
    context: &Parameters,
    minimum_bytes: u64,
) -> Result<Plan, Error> {
    let id = DiskId::parse(volume_id)
        .ok_or_else(|| Error::not_found(format!("there is no disk {volume_id}")))?;
    let serial = publish_context
        .value(SERIAL)
        .filter(|serial| !serial.is_empty())
        .unwrap_or_else(|| id.serial());
    let plan = Plan::new(format!("disk {id}")).find_device(matches(serial), minimum_bytes);
    let settings = queue_settings::read(context)?;
    Ok(settings.into_iter().fold(plan, |plan, (key, value)| plan.set_block_queue(key, value)))
}

/// The serial proves the device; the names are where it is looked for first.
fn matches(serial: &str) -> Vec<DeviceMatch> {
    let names = links(serial).into_iter().map(DeviceMatch::ById);
    std::iter::once(DeviceMatch::Serial(serial.to_owned())).chain(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::plan::Step;
    use wharf_sdk::types::{AccessMode, pairs};

    fn words(plan: &Plan) -> Vec<&'static str> {
        plan.steps.iter().map(Step::name).collect()
    }

    fn staged(capability: VolumeCapability, context: &[(&str, &str)]) -> Plan {
        stage(&StageRequest {
            volume_context: pairs(context.iter().copied()),
            publish_context: pairs([(SERIAL, "abc")]),
            ..StageRequest::new("d-1", capability)
        })
        .unwrap()
    }

    fn mounted(plan: &Plan) -> (&str, Vec<&str>, bool) {
        plan.steps
            .iter()
            .find_map(|step| match step {
                Step::MountDevice { fs_type, flags, read_only } => {
                    Some((fs_type.as_str(), flags.iter().map(String::as_str).collect(), *read_only))
                }
                _ => None,
            })
            .unwrap()
    }

    #[test]
    fn a_file_system_is_checked_made_mounted_and_grown() {
        let plan =
            staged(VolumeCapability::mount(""), &[("sysConfig", "queue/read_ahead_kb=4096")]);
        assert_eq!(
            words(&plan),
            ["find-device", "set-block-queue", "check", "format", "mount-device", "grow"]
        );
        assert_eq!(mounted(&plan), ("", vec![], false));
        let Step::FindDevice { matches, .. } = &plan.steps[0] else { panic!("it comes first") };
        assert_eq!((&matches[0], matches.len()), (&DeviceMatch::Serial("abc".into()), 3));
        let Step::Format { arguments, .. } = &plan.steps[3] else { panic!() };
        assert_eq!(arguments, &["-F", "-m0"]);
    }

    #[test]
    fn a_disk_is_mounted_as_what_it_is_unless_somebody_names_a_file_system() {
        for (fs_type, context, asked, made) in [
            ("", &[][..], "", "ext4"),
            ("xfs", &[], "xfs", "xfs"),
            ("", &[("fsType", "ext3")], "ext3", "ext3"),
        ] {
            let plan = staged(VolumeCapability::mount(fs_type), context);
            assert_eq!(mounted(&plan).0, asked);
            let formats = plan
                .steps
                .iter()
                .any(|step| matches!(step, Step::Format { fs_type, .. } if fs_type == made));
            assert!(formats, "{plan:?}");
        }
    }

    #[test]
    fn a_static_volume_needs_no_context_at_all() {
        let plan = stage(&StageRequest::new("d-bp1xyz", VolumeCapability::mount("xfs"))).unwrap();
        let Step::FindDevice { matches, .. } = &plan.steps[0] else { panic!() };
        assert_eq!(
            matches,
            &[
                DeviceMatch::Serial("bp1xyz".into()),
                DeviceMatch::ById("virtio-bp1xyz".into()),
                DeviceMatch::ById("nvme-Alibaba_Cloud_Elastic_Block_Storage_bp1xyz".into()),
            ]
        );
        assert_eq!(mounted(&plan), ("xfs", vec!["nouuid"], false));
    }

    #[test]
    fn the_check_can_be_left_out() {
        assert!(
            !words(&staged(VolumeCapability::mount(""), &[("omitfsck", "true")]))
                .contains(&"check")
        );
    }

    #[test]
    fn who_only_reads_neither_makes_nor_repairs() {
        let with_flags = |flags: &[&str]| {
            let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
            let access = AccessType::Mount(MountOptions::new(String::new(), flags));
            VolumeCapability { access, ..VolumeCapability::mount("") }
        };
        assert!(
            words(&staged(with_flags(&["ro", "rw,errors=remount-ro"]), &[])).contains(&"format")
        );
        for capability in [
            VolumeCapability::mount("").in_mode(AccessMode::MultiNodeReaderOnly),
            with_flags(&["ro", "noatime"]),
            with_flags(&["ro,noatime"]),
            with_flags(&[" ro"]),
            with_flags(&["rw", "noatime, ro"]),
        ] {
            let plan = staged(capability, &[]);
            assert_eq!(words(&plan), ["find-device", "mount-device"]);
            assert!(mounted(&plan).2);
        }
    }

    #[test]
    fn no_file_system_is_staged_for_several_writers() {
        let several = VolumeCapability::mount("ext4").in_mode(AccessMode::MultiNodeMultiWriter);
        let refused = stage(&StageRequest::new("d-1", several)).unwrap_err();
        assert!(refused.message.contains("several nodes"), "{}", refused.message);
    }

    #[test]
    fn a_raw_device_is_found_when_staged_and_placed_when_published() {
        assert_eq!(words(&staged(VolumeCapability::block(), &[])), ["find-device"]);
        let plan = publish(&PublishRequest::new("d-1", VolumeCapability::block())).unwrap();
        assert_eq!(words(&plan), ["find-device", "block-device"]);
    }

    #[test]
    fn a_workload_gets_the_staged_file_system() {
        let plan = publish(&PublishRequest {
            read_only: true,
            ..PublishRequest::new("d-1", VolumeCapability::mount(""))
        })
        .unwrap();
        assert_eq!(plan.steps, [Step::MountStaged { flags: vec![], read_only: true }]);
    }

    #[test]
    fn growing_waits_for_the_device_to_have_grown() {
        let plan = expand(&ExpandRequest::new("d-1", 40 << 30)).unwrap();
        assert_eq!(words(&plan), ["find-device", "grow"]);
        let Step::FindDevice { minimum_bytes, .. } = &plan.steps[0] else { panic!() };
        assert_eq!(*minimum_bytes, 40 << 30);
        let of_another_serial = ExpandRequest {
            publish_context: pairs([(SERIAL, "other")]),
            ..ExpandRequest::new("d-1", 1)
        };
        let plan = expand(&of_another_serial).unwrap();
        let Step::FindDevice { matches, .. } = &plan.steps[0] else { panic!() };
        assert_eq!(matches[0], DeviceMatch::Serial("other".into()));
        let raw = ExpandRequest {
            capability: Some(VolumeCapability::block()),
            ..ExpandRequest::new("d-1", 1)
        };
        assert_eq!(words(&expand(&raw).unwrap()), ["find-device"]);
    }

    #[test]
    fn every_step_of_every_plan_is_in_the_manifest() {
        let manifest: toml::Table = toml::from_str(include_str!("../manifest.toml")).unwrap();
        let asked: std::collections::BTreeSet<_> = manifest["node"]["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step.as_str().unwrap())
            .collect();
        let plans = [
            staged(VolumeCapability::mount(""), &[("sysConfig", "read_ahead_kb=1")]),
            publish(&PublishRequest::new("d-1", VolumeCapability::block())).unwrap(),
            publish(&PublishRequest::new("d-1", VolumeCapability::mount(""))).unwrap(),
            expand(&ExpandRequest::new("d-1", 1)).unwrap(),
        ];
        assert_eq!(plans.iter().flat_map(words).collect::<std::collections::BTreeSet<_>>(), asked);
    }
}
