//! Alibaba Cloud object storage: CSI driver `ossplugin.csi.alibabacloud.com`, FlexVolume
//! `alicloud/oss`. Buckets, or paths inside them, as directories that a helper program serves.
//!
//! Attributes, secrets and normalisation are those of the cloud's own driver, so that its volumes
//! go on working. Different on purpose: unknown keys and bad values are refused by name; no shell
//! sees an option, and none reaches a helper that the operator did not allow; keys among the
//! attributes are refused, unless the host takes them out (`secret-attributes` of the driver); no
//! key ever comes near this component.
//!
//! # Settings of the operator
//!
//! | key | meaning | absent |
//! |---|---|---|
//! | `region` | region of this machine: its endpoint is reached by the internal name | public names
//! stay |
//! | `network` | `public`: the public names stay in any case | `vpc` |
//! | `account`, `addressing` | sign requests for buckets of volumes' own (`volumeAs: bucket`) and
//! for directories that are deleted with their volumes (`deleteObjects`), and name the bucket in
//! the host (`subdomain`) or in the `path` | `cloud`, `subdomain` |
//! | `node-name` | name of this node | the instance's id, asked of the metadata service |
//! | `keys-account` | has the keys of a volume's secret (its source is `call`) | `oss-keys` |
//! | `sts-account`, `rrsa-account` | have temporary credentials | `oss-sts`, `oss-rrsa` |
//! | `account.<role>` | the account that a role, or a class of secrets, of a volume stands for |
//! such a volume is refused |
//!
//! # Attributes
//!
//! See [`attributes`].

pub mod attach;
pub mod attributes;
pub mod bucket_api;
pub mod choices;
pub mod create;
pub mod credentials;
pub mod describe_node;
pub mod emptying;
pub mod endpoint;
#[cfg(test)]
mod fake_cloud;
pub mod fuse;
pub mod names;
pub mod other_opts;
pub mod own_bucket;
pub mod own_directory;
pub mod plans;
pub mod settings;
pub mod translate;

use wharf_sdk::controller::{
    AttachRequest, Attachment, Controller, CreateRequest, DeleteRequest, DetachRequest,
    ValidateRequest, Validated,
};
use wharf_sdk::identity::{Description, Identity};
use wharf_sdk::legacy::{Legacy, LegacyVolume, TranslateRequest, Translated};
use wharf_sdk::node::{Node, NodeDescription, PublishRequest, StageRequest};
use wharf_sdk::plan::Plan;
use wharf_sdk::types::{Observation, Volume};
use wharf_sdk::{Answer, Error, Progress};

/// The CSI driver name.
pub const DRIVER: &str = "ossplugin.csi.alibabacloud.com";
/// The FlexVolume driver name.
pub const FLEXVOLUME: &str = "alicloud/oss";

/// Alibaba Cloud object storage.
pub struct Oss;

impl Identity for Oss {
    fn describe() -> Description {
        Description::new("oss", env!("CARGO_PKG_VERSION")).serves(DRIVER, [FLEXVOLUME]).can([
            "create",
            "attach",
            "attach-nothing",
            "stage",
        ])
    }
}

impl Controller for Oss {
    fn create(request: CreateRequest, _: Progress) -> Result<Answer<Volume>, Error> {
        create::create(&request).map(Answer::Done)
    }

    fn delete(request: DeleteRequest, progress: Progress) -> Result<Answer<()>, Error> {
        create::delete(&request, &progress)
    }

    /// There is nothing to attach. It is offered because the earlier driver's `CSIDriver` says that
    /// there is, which cannot be changed in place, and because its volumes' attachments wait for
    /// somebody to end them.
    fn attach(request: AttachRequest, _: Progress) -> Result<Answer<Attachment>, Error> {
        attach::attach(&request).map(Answer::Done)
    }

    fn detach(_: DetachRequest, _: Progress) -> Result<Answer<()>, Error> {
        Ok(Answer::Done(()))
    }

    fn validate(request: ValidateRequest, _: Vec<Observation>) -> Result<Validated, Error> {
        create::validate(&request)
    }
}

impl Node for Oss {
    fn describe_node() -> Result<NodeDescription, Error> {
        describe_node::describe_node()
    }

    fn plan_stage(request: StageRequest) -> Result<Plan, Error> {
        plans::stage(&request)
    }

    fn plan_publish(request: PublishRequest) -> Result<Plan, Error> {
        plans::publish(&request)
    }
}

impl Legacy for Oss {
    fn translate(request: TranslateRequest) -> Result<Translated, Error> {
        translate::translate(&request)
    }

    fn describe_volume(driver: &str, volume: Volume) -> Result<LegacyVolume, Error> {
        Ok(translate::describe(driver, &volume))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flexvolume_attaches_no_bucket() {
        let can = Oss::describe().capabilities;
        assert!(["attach", "attach-nothing"].iter().all(|word| can.iter().any(|it| it == word)));
    }
}

wharf_sdk::export_backend!(Oss: controller, node, legacy);
