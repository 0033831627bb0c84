//! The backend of what never calls one: `unmount` and `unmountdevice` get the core's node verbs
//! with this in the place of a component.

use wharf_core::Error;
use wharf_core::plan::Plan;
use wharf_core::ports::{Backend, Call};
use wharf_core::types::{
    Answer, AttachRequest, Attached, CreateRequest, Description, DetachRequest, ExpandRequest,
    Expanded, Listed, NodeDescription, NodeExpandRequest, NodeId, Observation, Progress,
    PublishRequest, StageRequest, TranslateRequest, Translated, ValidateRequest, Validated, Volume,
    VolumeId,
};

/// Refuses everything.
pub(crate) struct NoBackend;

macro_rules! refuse {
    ($($name:ident($($type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, _: &Call, $(_: $type),*) -> Result<$result, Error> {
            Err(Error::internal(concat!("`", stringify!($name), "` was asked of a backend while something was unmounted")))
        })*
    };
}

impl Backend for NoBackend {
    refuse! {
        describe() -> Description;
        observe(&[String]) -> Vec<Observation>;
        holders(&Observation) -> Vec<NodeId>;
        create(&CreateRequest, &Progress) -> Answer<Volume>;
        delete(&VolumeId, &Progress) -> Answer<()>;
        attach(&AttachRequest, &Progress) -> Answer<Attached>;
        detach(&DetachRequest, &Progress) -> Answer<()>;
        expand(&ExpandRequest, &Progress) -> Answer<Expanded>;
        validate(&ValidateRequest, &[Observation]) -> Validated;
        list(u32, Option<&str>) -> Listed;
        describe_node() -> NodeDescription;
        plan_stage(&StageRequest) -> Plan;
        plan_publish(&PublishRequest) -> Plan;
        plan_expand(&NodeExpandRequest) -> Plan;
        translate(&TranslateRequest) -> Translated;
    }
}
