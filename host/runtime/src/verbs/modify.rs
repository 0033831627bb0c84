//! `controller.modify`.

use wharf_core::plan::Plan;
use wharf_core::types::{Answer, Caller, Progress};
use wharf_core::verbs::{Modify, ModifyRequest};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::controller as wit;
use crate::bindings::imports::{plans, types};
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Modify {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Changes;
    type Params = (wit::ModifyRequest, Vec<types::Observation>, Option<String>);
    type Wire = plans::Outcome;

    fn lower(request: &ModifyRequest, progress: &Progress) -> Self::Params {
        let ModifyRequest { volume, mutable_parameters, caller } = request;
        let request = wit::ModifyRequest {
            volume_id: volume.as_str().to_owned(),
            mutable_parameters: mutable_parameters.clone(),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        };
        (request, convert::observations_to_guest(&progress.observed), progress.resume.clone())
    }

    fn lift(answer: Self::Wire, ctx: &mut HostCtx) -> Lifted<Answer<()>> {
        convert::outcome_from_guest(answer, ctx)
    }

    fn check(_: &ModifyRequest, answer: &Answer<()>) -> Checked {
        bounds::answer(answer, |()| Ok(()))
    }

    fn plan(answer: &Answer<()>) -> Option<&Plan> {
        convert::performed_plan(answer)
    }

    fn caller(request: &ModifyRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
