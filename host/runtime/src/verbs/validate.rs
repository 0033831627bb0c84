//! `controller.validate`.

use wharf_core::types::{Caller, Progress};
use wharf_core::verbs::{Validate, ValidateRequest, Validated};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::controller as wit;
use crate::bindings::imports::types;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Validate {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Reads;
    type Params = (wit::ValidateRequest, Vec<types::Observation>);
    type Wire = wit::Validated;

    fn lower(request: &ValidateRequest, progress: &Progress) -> Self::Params {
        let ValidateRequest {
            volume,
            context,
            parameters,
            mutable_parameters,
            capabilities,
            caller,
        } = request;
        let request = wit::ValidateRequest {
            volume_id: volume.as_str().to_owned(),
            context: context.clone(),
            parameters: parameters.clone(),
            mutable_parameters: mutable_parameters.clone(),
            capabilities: capabilities.iter().map(convert::capability_to_guest).collect(),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        };
        (request, convert::observations_to_guest(&progress.observed))
    }

    fn lift(validated: Self::Wire, _: &mut HostCtx) -> Lifted<Validated> {
        let wit::Validated { confirmed, message, extensions: _ } = validated;
        Ok(Validated { confirmed, message })
    }

    fn check(_: &ValidateRequest, validated: &Validated) -> Checked {
        bounds::text("validated.message", &validated.message, bounds::TEXT_BYTES)
    }

    fn caller(request: &ValidateRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
