//! `controller.create`.

use wharf_core::plan::Plan;
use wharf_core::types::{Answer, Caller, Progress, Volume};
use wharf_core::verbs::{Create, CreateRequest};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::controller as wit;
use crate::bindings::imports::types;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Create {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Changes;
    type Params = (wit::CreateRequest, Vec<types::Observation>, Option<String>);
    type Wire = wit::CreateAnswer;

    fn lower(request: &CreateRequest, progress: &Progress) -> Self::Params {
        let CreateRequest {
            name,
            capacity,
            capabilities,
            parameters,
            mutable_parameters,
            source,
            topology,
            caller,
        } = request;
        let request = wit::CreateRequest {
            name: name.clone(),
            capacity: convert::capacity_to_guest(*capacity),
            capabilities: capabilities.iter().map(convert::capability_to_guest).collect(),
            parameters: parameters.clone(),
            mutable_parameters: mutable_parameters.clone(),
            source: source.as_ref().map(convert::source_to_guest),
            topology: topology.as_ref().map(convert::topology_to_guest),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        };
        (request, convert::observations_to_guest(&progress.observed), progress.resume.clone())
    }

    fn lift(answer: Self::Wire, ctx: &mut HostCtx) -> Lifted<Answer<Volume>> {
        Ok(match answer {
            wit::CreateAnswer::Done(volume) => Answer::Done(convert::volume_from_guest(volume)),
            wit::CreateAnswer::Pending(pending) => convert::pending_from_guest(pending),
            wit::CreateAnswer::Perform(perform) => convert::perform_from_guest(perform, ctx)?,
        })
    }

    fn check(_: &CreateRequest, answer: &Answer<Volume>) -> Checked {
        bounds::answer(answer, bounds::volume)
    }

    fn plan(answer: &Answer<Volume>) -> Option<&Plan> {
        convert::performed_plan(answer)
    }

    fn caller(request: &CreateRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
