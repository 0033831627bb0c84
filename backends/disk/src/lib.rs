//! Alibaba Cloud disks: CSI driver `diskplugin.csi.alibabacloud.com`, FlexVolume `alicloud/disk`.
//!
//! StorageClass parameters, volume handles, contexts, topology keys, tags and client tokens are
//! those of the cloud's own driver, so that volumes of one can be taken over by the other.
//! Different on purpose: a disk is never taken from another node and never detached on the
//! way to its deletion; unknown parameters and bad values are refused by name; errors have their
//! real kind.
//!
//! # Settings of the operator
//!
//! | key | meaning | absent |
//! |---|---|---|
//! | `region` | region of every request | asked of the metadata service, once for each call |
//! | `zone` | zone of this node, and of volumes that nothing else places | asked of the metadata
//! service |
//! | `instance-id` | id of this node (`i-…`) | asked of the metadata service |
//! | `instance-type` | type of this node, for the number of disks it can hold | asked of the
//! metadata service |
//! | `max-volumes` | number of volumes that this node can hold | worked out from the instance type
//! and what is attached |
//! | `account` | the account that signs | `cloud` |
//! | `cluster-id` | tags new disks `ack.aliyun.com` | no such tag |
//! | `force-detach` | `true`: an attach may take a disk that only one node may hold from the node
//! that has it. **Data that this node has not written yet is lost.** | `false` |
//!
//! # StorageClass parameters
//!
//! See [`parameters`] for the keys, their values, and which of them are accepted without effect.
//!
//! Snapshots and group snapshots answer `unsupported`; restoring from a snapshot works.

pub mod action;
pub mod asked;
pub mod attach;
pub mod capacity;
pub mod category;
pub mod client_token;
pub mod create;
pub mod delete;
pub mod describe_node;
pub mod detach;
pub mod disk_record;
pub mod existing;
pub mod expand;
pub mod filesystem;
pub mod list;
pub mod modify;
pub mod parameters;
pub mod placement;
pub mod plans;
pub mod queue_settings;
pub mod serial;
pub mod settings;
pub mod size;
pub mod tags;
pub mod translate;
pub mod usage_modes;
pub mod volume;

use wharf_sdk::controller::{
    AttachRequest, Attachment, Available, CapacityRequest, Controller, CreateRequest,
    DeleteRequest, DetachRequest, ExpandRequest, Expanded, ListRequest, Listed, ModifyRequest,
    ValidateRequest, Validated,
};
use wharf_sdk::identity::{Description, Identity};
use wharf_sdk::legacy::{Legacy, LegacyVolume, TranslateRequest, Translated};
use wharf_sdk::node::{
    ExpandRequest as NodeExpandRequest, Node, NodeDescription, PublishRequest, StageRequest,
};
use wharf_sdk::plan::Plan;
use wharf_sdk::types::{Observation, ResourceId, Volume};
use wharf_sdk::{Answer, Error, Progress};

/// The CSI driver name.
pub const DRIVER: &str = "diskplugin.csi.alibabacloud.com";
/// The FlexVolume driver name.
pub const FLEXVOLUME: &str = "alicloud/disk";

/// Alibaba Cloud disks.
pub struct Disk;

impl Identity for Disk {
    fn describe() -> Description {
        Description::new("disk", env!("CARGO_PKG_VERSION"))
            .serves(DRIVER, [FLEXVOLUME])
            .can([
                "create",
                "attach",
                "expand",
                "expand-node",
                "modify",
                "list",
                "capacity",
                "stage",
                "topology",
                "single-node-multi-writer",
            ])
            .topology([
                placement::INSTANCE,
                placement::PRIVATE_ZONE,
                placement::ZONE,
                placement::REGION,
            ])
            .observes(disk_record::BATCH)
    }
}

impl Controller for Disk {
    fn observe(resources: Vec<ResourceId>) -> Result<Vec<Observation>, Error> {
        disk_record::observe(resources)
    }

    fn read(observed: Observation) -> Result<Volume, Error> {
        volume::of_observation(&observed)
    }

    fn create(request: CreateRequest, progress: Progress) -> Result<Answer<Volume>, Error> {
        create::create(&request, &progress)
    }

    fn delete(request: DeleteRequest, progress: Progress) -> Result<Answer<()>, Error> {
        delete::delete(&request, &progress)
    }

    fn attach(request: AttachRequest, progress: Progress) -> Result<Answer<Attachment>, Error> {
        attach::attach(&request, &progress)
    }

    fn detach(request: DetachRequest, progress: Progress) -> Result<Answer<()>, Error> {
        detach::detach(&request, &progress)
    }

    fn expand(request: ExpandRequest, progress: Progress) -> Result<Answer<Expanded>, Error> {
        expand::expand(&request, &progress)
    }

    fn modify(request: ModifyRequest, progress: Progress) -> Result<Answer<()>, Error> {
        modify::modify(&request, &progress)
    }

    fn validate(request: ValidateRequest, observed: Vec<Observation>) -> Result<Validated, Error> {
        usage_modes::validate(&request, &Progress::observed(observed))
    }

    fn list(request: ListRequest) -> Result<Listed, Error> {
        list::list(&request)
    }

    fn capacity(request: CapacityRequest) -> Result<Available, Error> {
        capacity::capacity(&request)
    }
}

impl Node for Disk {
    fn describe_node() -> Result<NodeDescription, Error> {
        describe_node::describe_node()
    }

    fn plan_stage(request: StageRequest) -> Result<Plan, Error> {
        plans::stage(&request)
    }

    fn plan_publish(request: PublishRequest) -> Result<Plan, Error> {
        plans::publish(&request)
    }

    fn plan_expand(request: NodeExpandRequest) -> Result<Plan, Error> {
        plans::expand(&request)
    }
}

impl Legacy for Disk {
    fn translate(request: TranslateRequest) -> Result<Translated, Error> {
        translate::translate(&request)
    }

    fn describe_volume(driver: &str, volume: Volume) -> Result<LegacyVolume, Error> {
        Ok(translate::describe(driver, &volume))
    }
}

wharf_sdk::export_backend!(Disk: controller, node, legacy);
