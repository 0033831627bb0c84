//! `GetCapacity`.

use std::collections::BTreeMap;

use wharf_core::Error;
use wharf_core::types::Capability;
use wharf_core::verbs::{Available, Capacity, CapacityRequest};

use super::{ControllerRpc, Method, Work};
use crate::bounds::{self, MAX_PARAMETERS};
use crate::proto::{GetCapacityRequest, GetCapacityResponse};
use crate::subject::Subject;
use crate::{request, response};

pub(super) enum GetCapacity {}

impl Method for GetCapacity {
    const NAME: &'static str = "GetCapacity";
    const NEEDS: Option<&'static str> = Some("capacity");
    const OFFERS: &'static [(&'static str, ControllerRpc)] =
        &[("capacity", ControllerRpc::GetCapacity)];
    type Message = GetCapacityRequest;
    type Asked = CapacityRequest;
    type Reply = GetCapacityResponse;

    fn object(_: &GetCapacityRequest) -> &str {
        ""
    }

    fn subject(message: &GetCapacityRequest) -> Subject {
        Subject::of(&[&message.parameters], &BTreeMap::new())
            .mounted_with(&message.volume_capabilities)
    }

    fn parse(message: GetCapacityRequest) -> Result<CapacityRequest, Error> {
        let topology = message.accessible_topology.map(request::segments).transpose()?;
        Ok(CapacityRequest {
            capabilities: match message.volume_capabilities {
                unsaid if unsaid.is_empty() => Vec::new(),
                said => request::capabilities(said)?,
            },
            parameters: bounds::map("parameters", message.parameters, MAX_PARAMETERS)?,
            // No segments are every place, as no topology is.
            topology: topology.filter(|segments| !segments.is_empty()),
        })
    }

    fn uses(asked: &CapacityRequest) -> &[Capability] {
        &asked.capabilities
    }

    fn answer(on: &Work<'_>, asked: CapacityRequest) -> Result<GetCapacityResponse, Error> {
        let Available { bytes, minimum_volume_bytes, maximum_volume_bytes } =
            on.controller.query::<Capacity>(on.call, &asked)?;
        let size = |field: &str, bytes: Option<u64>| {
            bytes.map(|bytes| response::bytes(field, bytes)).transpose()
        };
        Ok(GetCapacityResponse {
            available_capacity: response::bytes("available_capacity", bytes)?,
            maximum_volume_size: size("maximum_volume_size", maximum_volume_bytes)?,
            minimum_volume_size: size("minimum_volume_size", minimum_volume_bytes)?,
        })
    }
}
