//! `controller.attach`.

use wharf_core::types::{Answer, Caller, Progress};
use wharf_core::verbs::{Attach, AttachRequest, Attached};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::controller as wit;
use crate::bindings::imports::types;
use crate::host::HostCtx;
use crate::{bounds, convert};

impl WasmVerb for Attach {
    const INTERFACE: &'static str = "controller";
    const NETWORK: Network = Network::Changes;
    type Params = (wit::AttachRequest, Vec<types::Observation>, Option<String>);
    type Wire = wit::AttachAnswer;

    fn lower(request: &AttachRequest, progress: &Progress) -> Self::Params {
        let AttachRequest { volume, node, capability, read_only, context, caller } = request;
        let request = wit::AttachRequest {
            volume_id: volume.as_str().to_owned(),
            node_id: node.as_str().to_owned(),
            capability: convert::capability_to_guest(capability),
            read_only: *read_only,
            volume_context: context.clone(),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        };
        (request, convert::observations_to_guest(&progress.observed), progress.resume.clone())
    }

    fn lift(answer: Self::Wire, _: &mut HostCtx) -> Lifted<Answer<Attached>> {
        Ok(match answer {
            wit::AttachAnswer::Done(wit::Attachment { publish_context, extensions: _ }) => {
                Answer::Done(Attached { publish_context })
            }
            wit::AttachAnswer::Pending(pending) => convert::pending_from_guest(pending),
        })
    }

    fn check(_: &AttachRequest, answer: &Answer<Attached>) -> Checked {
        bounds::answer(answer, |it| bounds::map("publish-context", &it.publish_context))
    }

    fn caller(request: &AttachRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
