//! `controller.detach`.

use wharf_core::types::{Answer, Caller, Progress};
use wharf_core::verbs::{Detach, DetachRequest};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::controller as wit;
use crate::bindings::imports::types;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Detach {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Changes;
    type Params = (wit::DetachRequest, Vec<types::Observation>, Option<String>);
    type Wire = wit::DetachAnswer;

    fn lower(request: &DetachRequest, progress: &Progress) -> Self::Params {
        let DetachRequest { volume, node, caller } = request;
        let request = wit::DetachRequest {
            volume_id: volume.as_str().to_owned(),
            node_id: node.as_ref().map(|node| node.as_str().to_owned()),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        };
        (request, convert::observations_to_guest(&progress.observed), progress.resume.clone())
    }

    fn lift(answer: Self::Wire, _: &mut HostCtx) -> Lifted<Answer<()>> {
        Ok(match answer {
            wit::DetachAnswer::Done => Answer::Done(()),
            wit::DetachAnswer::Pending(pending) => convert::pending_from_guest(pending),
        })
    }

    fn check(_: &DetachRequest, answer: &Answer<()>) -> Checked {
        bounds::answer(answer, |()| Ok(()))
    }

    fn caller(request: &DetachRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
