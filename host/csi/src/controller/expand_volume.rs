//! `ControllerExpandVolume`.

use wharf_core::Error;
use wharf_core::types::{Capability, CapacityRange};
use wharf_core::verbs::{Expand, ExpandRequest};

use super::{ControllerRpc, Method, Work};
use crate::proto::{ControllerExpandVolumeRequest, ControllerExpandVolumeResponse};
use crate::subject::Subject;
use crate::{request, response};

pub(super) enum ExpandVolume {}

impl Method for ExpandVolume {
    const NAME: &'static str = "ControllerExpandVolume";
    const NEEDS: Option<&'static str> = Some("expand");
    const OFFERS: &'static [(&'static str, ControllerRpc)] =
        &[("expand", ControllerRpc::ExpandVolume)];
    type Message = ControllerExpandVolumeRequest;
    type Asked = ExpandRequest;
    type Reply = ControllerExpandVolumeResponse;

    fn object(message: &ControllerExpandVolumeRequest) -> &str {
        &message.volume_id
    }

    fn subject(message: &ControllerExpandVolumeRequest) -> Subject {
        Subject::of(&[], &message.secrets)
    }

    fn parse(message: ControllerExpandVolumeRequest) -> Result<ExpandRequest, Error> {
        let volume = request::volume(message.volume_id)?;
        let capacity = request::capacity(message.capacity_range)?;
        if capacity == CapacityRange::default() {
            return Err(Error::invalid("capacity_range is missing"));
        }
        Ok(ExpandRequest {
            volume,
            capacity,
            capability: message.volume_capability.map(request::capability).transpose()?,
            caller: request::caller(message.secrets, None)?,
        })
    }

    fn uses(asked: &ExpandRequest) -> &[Capability] {
        asked.capability.as_slice()
    }

    fn answer(
        on: &Work<'_>,
        asked: ExpandRequest,
    ) -> Result<ControllerExpandVolumeResponse, Error> {
        let expanded = on.controller.change::<Expand>(on.call, &asked)?;
        let capacity_bytes = response::bytes("capacity_bytes", expanded.capacity_bytes)
            .map_err(Error::with_unknown_effect)?;
        Ok(ControllerExpandVolumeResponse {
            capacity_bytes,
            node_expansion_required: expanded.node_expansion_required,
        })
    }
}
