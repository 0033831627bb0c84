//! `controller.capacity`.

use wharf_core::types::Progress;
use wharf_core::verbs::{Available, Capacity, CapacityRequest};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::controller as wit;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Capacity {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Reads;
    type Params = (wit::CapacityRequest,);
    type Wire = wit::Available;

    fn lower(request: &CapacityRequest, _: &Progress) -> Self::Params {
        let CapacityRequest { capabilities, parameters, topology } = request;
        (wit::CapacityRequest {
            capabilities: capabilities.iter().map(convert::capability_to_guest).collect(),
            parameters: parameters.clone(),
            topology: topology.clone(),
            extensions: Vec::new(),
        },)
    }

    fn lift(available: Self::Wire, _: &mut HostCtx) -> Lifted<Available> {
        let wit::Available { bytes, minimum_volume_bytes, maximum_volume_bytes, extensions: _ } =
            available;
        Ok(Available { bytes, minimum_volume_bytes, maximum_volume_bytes })
    }

    fn check(_: &CapacityRequest, available: &Available) -> Checked {
        bounds::available(available)
    }
}
