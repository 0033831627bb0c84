//! What must be true on a node. The same request, under the same settings, gives the same plan.

use wharf_sdk::Error;
use wharf_sdk::node::{PublishRequest, StageRequest};
use wharf_sdk::plan::{Plan, Writing};
use wharf_sdk::types::{Caller, MountOptions, Parameters, VolumeCapability};

use crate::attributes::Attributes;
use crate::fuse;

/// `node.plan-stage`: the helper's mount on the staging path, one for all workloads of the node.
///
/// # Errors
/// `invalid-argument` naming the attribute.
pub fn stage(request: &StageRequest) -> Result<Plan, Error> {
    let options = mount_options(&request.capability)?;
    let attributes = Attributes::read(&request.volume_context)?;
    let is_read_only = request.capability.mode.is_read_only();
    mount(&attributes, options, is_read_only, &request.caller)
}

/// `node.plan-publish`: what was staged; for a volume that nobody stages, a mount of its own.
///
/// # Errors
/// `invalid-argument` naming the attribute.
pub fn publish(request: &PublishRequest) -> Result<Plan, Error> {
    let options = mount_options(&request.capability)?;
    let attributes = Attributes::read(&request.volume_context)?;
    let is_read_only = request.read_only || request.capability.mode.is_read_only();
    if !attributes.is_staged {
        return mount(&attributes, options, is_read_only, &request.caller);
    }
    let is_read_only = is_read_only || attributes.read_only;
    Ok(Plan::new(format!("bucket {} for a workload", attributes.bucket))
        .mount_staged(Vec::new(), Writing::unless_read_only(is_read_only)))
}

fn mount(
    attributes: &Attributes,
    options: &MountOptions,
    is_read_only: bool,
    caller: &Caller,
) -> Result<Plan, Error> {
    let mount = fuse::mount(attributes, options, caller)?;
    let writing = Writing::unless_read_only(is_read_only || mount.read_only);
    let summary = format!("bucket {} by {}", attributes.bucket, mount.fuse.helper);
    Ok(Plan::new(summary).mount_fuse(mount.fuse, writing))
}

/// How the capability wants it mounted.
///
/// # Errors
/// `invalid-argument`: a bucket is no block device.
pub fn mount_options(capability: &VolumeCapability) -> Result<&MountOptions, Error> {
    capability.mount_options().ok_or_else(|| {
        Error::invalid_request("a bucket is no block device")
            .with_hint("use `volumeMode: Filesystem`")
    })
}

/// Whether volumes of this context can be used so.
///
/// # Errors
/// As [`stage`].
pub fn check(context: &Parameters, capability: &VolumeCapability) -> Result<(), Error> {
    let options = mount_options(capability)?;
    fuse::mount(&Attributes::read(context)?, options, &Caller::unknown()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wharf_sdk::plan::Step;
    use wharf_sdk::types::{AccessMode, pairs};

    const CONTEXT: [(&str, &str); 2] = [("bucket", "b-1"), ("url", "h.example")];

    fn staged(more: &[(&str, &str)], mode: AccessMode) -> Plan {
        stage(&StageRequest {
            volume_context: pairs(CONTEXT.into_iter().chain(more.iter().copied())),
            ..StageRequest::new("pv-1", VolumeCapability::mount("").in_mode(mode))
        })
        .unwrap()
    }

    fn published(more: &[(&str, &str)], read_only: bool) -> Plan {
        publish(&PublishRequest {
            read_only,
            volume_context: pairs(CONTEXT.into_iter().chain(more.iter().copied())),
            ..PublishRequest::new("pv-1", VolumeCapability::mount(""))
        })
        .unwrap()
    }

    fn is_read_only(plan: &Plan) -> bool {
        match &plan.steps[..] {
            [Step::MountFuse { read_only, .. } | Step::MountStaged { read_only, .. }] => *read_only,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bucket_is_mounted_once_and_shown_to_every_workload() {
        let plan = staged(&[], AccessMode::MultiNodeMultiWriter);
        assert_eq!(plan.steps[0].name(), "mount-fuse");
        assert!(!is_read_only(&plan));
        let plan = published(&[], false);
        assert_eq!(plan.steps, [Step::MountStaged { flags: vec![], read_only: false }]);
    }

    #[test]
    fn flexvolume_mounts_a_bucket_for_each_workload() {
        let plan = published(&[(crate::attributes::STAGED, "false")], true);
        assert_eq!(plan.steps[0].name(), "mount-fuse");
        assert!(is_read_only(&plan));
    }

    #[test]
    fn nothing_is_written_where_anybody_says_so() {
        assert!(is_read_only(&staged(&[], AccessMode::MultiNodeReaderOnly)));
        assert!(is_read_only(&staged(&[("readOnly", "1")], AccessMode::MultiNodeMultiWriter)));
        assert!(is_read_only(&published(&[], true)));
        assert!(is_read_only(&published(&[("readOnly", "true")], false)));
    }

    #[test]
    fn a_bucket_is_no_block_device() {
        let block = || VolumeCapability::block();
        assert!(stage(&StageRequest::new("pv-1", block())).is_err());
        assert!(publish(&PublishRequest::new("pv-1", block())).is_err());
    }

    #[test]
    fn every_step_of_every_plan_is_in_the_manifest() {
        let manifest: toml::Table = toml::from_str(include_str!("../manifest.toml")).unwrap();
        let asked: BTreeSet<_> = manifest["node"]["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step.as_str().unwrap())
            .collect();
        let plans = [staged(&[], AccessMode::SingleNodeWriter), published(&[], false)];
        let used: BTreeSet<_> =
            plans.iter().flat_map(|plan| plan.steps.iter().map(Step::name)).collect();
        assert_eq!(used, asked);
    }
}
