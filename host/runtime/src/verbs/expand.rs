//! `controller.expand`.

use wharf_core::plan::Plan;
use wharf_core::types::{Answer, Caller, Progress};
use wharf_core::verbs::{Expand, ExpandRequest, Expanded};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::controller as wit;
use crate::bindings::imports::types;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Expand {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Changes;
    type Params = (wit::ExpandRequest, Vec<types::Observation>, Option<String>);
    type Wire = wit::ExpandAnswer;

    fn lower(request: &ExpandRequest, progress: &Progress) -> Self::Params {
        let ExpandRequest { volume, capacity, capability, caller } = request;
        let request = wit::ExpandRequest {
            volume_id: volume.as_str().to_owned(),
            capacity: convert::capacity_to_guest(*capacity),
            capability: capability.as_ref().map(convert::capability_to_guest),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        };
        (request, convert::observations_to_guest(&progress.observed), progress.resume.clone())
    }

    fn lift(answer: Self::Wire, ctx: &mut HostCtx) -> Lifted<Answer<Expanded>> {
        Ok(match answer {
            wit::ExpandAnswer::Done(wit::Expanded {
                capacity_bytes,
                node_expansion_required,
                extensions: _,
            }) => Answer::Done(Expanded { capacity_bytes, node_expansion_required }),
            wit::ExpandAnswer::Pending(pending) => convert::pending_from_guest(pending),
            wit::ExpandAnswer::Perform(perform) => convert::perform_from_guest(perform, ctx)?,
        })
    }

    fn check(_: &ExpandRequest, answer: &Answer<Expanded>) -> Checked {
        bounds::answer(answer, |_| Ok(()))
    }

    fn plan(answer: &Answer<Expanded>) -> Option<&Plan> {
        convert::performed_plan(answer)
    }

    fn caller(request: &ExpandRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
