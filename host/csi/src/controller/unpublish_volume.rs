//! `ControllerUnpublishVolume`.

use wharf_core::Error;
use wharf_core::types::NodeId;
use wharf_core::verbs::{Detach, DetachRequest};

use super::{Method, Work};
use crate::bounds::{self, MAX_NODE_ID};
use crate::proto::{ControllerUnpublishVolumeRequest, ControllerUnpublishVolumeResponse};
use crate::request;
use crate::subject::Subject;

pub(super) enum UnpublishVolume {}

impl Method for UnpublishVolume {
    const NAME: &'static str = "ControllerUnpublishVolume";
    const NEEDS: Option<&'static str> = Some("attach");
    type Message = ControllerUnpublishVolumeRequest;
    type Asked = DetachRequest;
    type Reply = ControllerUnpublishVolumeResponse;

    fn object(message: &ControllerUnpublishVolumeRequest) -> &str {
        &message.volume_id
    }

    fn subject(message: &ControllerUnpublishVolumeRequest) -> Subject {
        Subject::of(&[], &message.secrets)
    }

    fn parse(message: ControllerUnpublishVolumeRequest) -> Result<DetachRequest, Error> {
        let volume = request::volume(message.volume_id)?;
        let node = bounds::optional("node_id", message.node_id, MAX_NODE_ID)?;
        Ok(DetachRequest {
            volume,
            node: (!node.is_empty()).then(|| NodeId::new(node)),
            caller: request::caller(message.secrets, None)?,
        })
    }

    fn answer(
        on: &Work<'_>,
        asked: DetachRequest,
    ) -> Result<ControllerUnpublishVolumeResponse, Error> {
        on.controller.change::<Detach>(on.call, &asked)?;
        Ok(ControllerUnpublishVolumeResponse {})
    }
}
