//! Alibaba Cloud NAS, and every other NFS server: CSI driver `nasplugin.csi.alibabacloud.com`,
//! FlexVolume `alicloud/nas`.
//!
//! Attributes, StorageClass parameters and default options are those of the existing drivers.
//! Different on purpose: a deleted volume is really archived or removed, by the host; its handle
//! says all that this needs; unknown parameters, and clients other than the kernel's, are refused
//! by name.
//!
//! # Settings of the operator
//!
//! | key | meaning | absent |
//! |---|---|---|
//! | `node-name`, `instance-id` | id of this node | asked of the metadata service |
//! | `account` | the account that signs | `cloud` |
//!
//! The operator's `nfs` grant says which servers, paths and options may be mounted; a controller
//! that makes or deletes volumes needs it too.
//!
//! See [`attributes`] for PersistentVolumes and [`parameters`] for StorageClasses.

pub mod access_point;
pub mod action;
pub mod attributes;
#[cfg(test)]
mod compatibility;
pub mod create;
pub mod delete;
pub mod describe_node;
pub mod earlier;
pub mod expand;
pub mod file_system;
pub mod gone;
pub mod handle;
pub mod nfs_options;
pub mod ordered;
pub mod parameters;
pub mod plans;
pub mod quota;
pub mod server;
pub mod translate;
pub mod validate;

use wharf_sdk::controller::{
    Controller, CreateRequest, DeleteRequest, ExpandRequest, Expanded, ValidateRequest, Validated,
};
use wharf_sdk::identity::{Description, Identity};
use wharf_sdk::legacy::{Legacy, LegacyVolume, TranslateRequest, Translated};
use wharf_sdk::node::{Node, NodeDescription, PublishRequest};
use wharf_sdk::plan::Plan;
use wharf_sdk::types::{Observation, Volume};
use wharf_sdk::{Answer, Error, Progress};

/// The CSI driver name.
pub const DRIVER: &str = "nasplugin.csi.alibabacloud.com";
/// The FlexVolume driver name.
pub const FLEXVOLUME: &str = "alicloud/nas";

/// Alibaba Cloud NAS.
pub struct Nas;

impl Identity for Nas {
    fn describe() -> Description {
        Description::new("nas", env!("CARGO_PKG_VERSION")).serves(DRIVER, [FLEXVOLUME]).can([
            "create",
            "expand",
            "single-node-multi-writer",
        ])
    }
}

impl Controller for Nas {
    fn create(request: CreateRequest, progress: Progress) -> Result<Answer<Volume>, Error> {
        create::create(&request, &progress)
    }

    fn delete(request: DeleteRequest, progress: Progress) -> Result<Answer<()>, Error> {
        delete::delete(&request, &progress)
    }

    fn expand(request: ExpandRequest, progress: Progress) -> Result<Answer<Expanded>, Error> {
        expand::expand(&request, &progress)
    }

    fn validate(request: ValidateRequest, _: Vec<Observation>) -> Result<Validated, Error> {
        validate::validate(&request)
    }
}

impl Node for Nas {
    fn describe_node() -> Result<NodeDescription, Error> {
        describe_node::describe_node()
    }

    fn plan_publish(request: PublishRequest) -> Result<Plan, Error> {
        plans::publish(&request)
    }
}

impl Legacy for Nas {
    fn translate(request: TranslateRequest) -> Result<Translated, Error> {
        translate::translate(&request)
    }

    fn describe_volume(driver: &str, volume: Volume) -> Result<LegacyVolume, Error> {
        translate::describe(driver, &volume)
    }
}

wharf_sdk::export_backend!(Nas: controller, node, legacy);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use wharf_sdk::types::{VolumeCapability, pairs};

    fn steps_of<T: std::fmt::Debug>(answer: Answer<T>) -> Vec<&'static str> {
        match answer {
            Answer::Perform(perform) => words(&perform.plan),
            other => panic!("{other:?}"),
        }
    }

    fn words(plan: &Plan) -> Vec<&'static str> {
        plan.steps.iter().map(|step| step.name()).collect()
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
        let mut create = CreateRequest::new("pvc-1", VolumeCapability::mount(""));
        create.parameters = pairs([("server", "a:/b")]);
        let delete = |words| DeleteRequest::new(format!("subpath#a#/b/pvc-1#{words}"));
        let start = Progress::default;
        let mut publish = PublishRequest::new("static", VolumeCapability::mount(""));
        publish.volume_context = pairs([("server", "a"), ("path", "/b"), ("mode", "755")]);
        let used = [
            words(&Nas::plan_publish(publish).unwrap()),
            steps_of(Nas::create(create, start()).unwrap()),
            steps_of(Nas::delete(delete("archive"), start()).unwrap()),
            steps_of(Nas::delete(delete("remove"), start()).unwrap()),
        ];
        assert_eq!(used.into_iter().flatten().collect::<BTreeSet<_>>(), asked);
    }

    #[test]
    fn nothing_is_offered_that_is_not_there() {
        let description = Nas::describe();
        assert_eq!(description.capabilities, ["create", "expand", "single-node-multi-writer"]);
        assert!(description.topology_keys.is_empty());
    }
}
