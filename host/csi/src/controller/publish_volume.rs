//! `ControllerPublishVolume`.

use wharf_core::Error;
use wharf_core::types::{Capability, NodeId};
use wharf_core::verbs::{Attach, AttachRequest};

use super::{ControllerRpc, Method, Work};
use crate::bounds::{self, MAX_NODE_ID};
use crate::proto::{ControllerPublishVolumeRequest, ControllerPublishVolumeResponse};
use crate::subject::Subject;
use crate::{request, response};

pub(super) enum PublishVolume {}

impl Method for PublishVolume {
    const NAME: &'static str = "ControllerPublishVolume";
    const NEEDS: Option<&'static str> = Some("attach");
    const OFFERS: &'static [(&'static str, ControllerRpc)] = &[
        ("attach", ControllerRpc::PublishUnpublishVolume),
        ("attach-read-only", ControllerRpc::PublishReadonly),
    ];
    type Message = ControllerPublishVolumeRequest;
    type Asked = AttachRequest;
    type Reply = ControllerPublishVolumeResponse;

    fn object(message: &ControllerPublishVolumeRequest) -> &str {
        &message.volume_id
    }

    fn subject(message: &ControllerPublishVolumeRequest) -> Subject {
        Subject::of(&[&message.volume_context], &message.secrets)
            .mounted_with(&message.volume_capability)
    }

    fn parse(message: ControllerPublishVolumeRequest) -> Result<AttachRequest, Error> {
        Ok(AttachRequest {
            volume: request::volume(message.volume_id)?,
            node: NodeId::new(bounds::required("node_id", message.node_id, MAX_NODE_ID)?),
            capability: request::required_capability(message.volume_capability)?,
            read_only: message.readonly,
            caller: request::caller(message.secrets, Some(&message.volume_context))?,
            context: request::context(message.volume_context)?,
        })
    }

    fn uses(asked: &AttachRequest) -> &[Capability] {
        std::slice::from_ref(&asked.capability)
    }

    fn answer(
        on: &Work<'_>,
        asked: AttachRequest,
    ) -> Result<ControllerPublishVolumeResponse, Error> {
        if asked.read_only && !on.description.can("attach-read-only") {
            return Err(Error::invalid(
                "readonly is set, which this driver does not offer (PUBLISH_READONLY)",
            ));
        }
        let attached = on.controller.change::<Attach>(on.call, &asked)?;
        let publish_context = response::map("publish_context", attached.publish_context)
            .map_err(Error::with_unknown_effect)?;
        Ok(ControllerPublishVolumeResponse { publish_context })
    }
}
