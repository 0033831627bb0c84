//! `node.plan-publish`.

use wharf_core::plan::Plan;
use wharf_core::types::{Caller, Progress};
use wharf_core::verbs::{PlanPublish, PublishRequest};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::node as wit;
use crate::host::HostCtx;
use crate::plan_builder::PlanBuilder;
use crate::{bounds, convert};

impl WasmVerb for PlanPublish {
    const INTERFACE: &'static str = "node";
    const NETWORK: Network = Network::None;
    type Params = (wit::PublishRequest,);
    type Wire = wasmtime::component::Resource<PlanBuilder>;

    fn lower(request: &PublishRequest, _: &Progress) -> Self::Params {
        let PublishRequest { volume, capability, read_only, context, publish_context, caller } =
            request;
        (wit::PublishRequest {
            volume_id: volume.as_str().to_owned(),
            capability: convert::capability_to_guest(capability),
            read_only: *read_only,
            volume_context: context.clone(),
            publish_context: publish_context.clone(),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        },)
    }

    fn lift(plan: Self::Wire, ctx: &mut HostCtx) -> Lifted<Plan> {
        ctx.take_plan(plan)
    }

    fn check(_: &PublishRequest, plan: &Plan) -> Checked {
        bounds::plan(plan)
    }

    fn plan(plan: &Plan) -> Option<&Plan> {
        Some(plan)
    }

    fn caller(request: &PublishRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
