//! `node.plan-stage`.

use wharf_core::plan::Plan;
use wharf_core::types::{Caller, Progress};
use wharf_core::verbs::{PlanStage, StageRequest};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::node as wit;
use crate::host::HostCtx;
use crate::plan_builder::PlanBuilder;
use crate::{bounds, convert};

impl WasmVerb for PlanStage {
    const INTERFACE: &'static str = "node";
    const NETWORK: Network = Network::None;
    type Params = (wit::StageRequest,);
    type Wire = wasmtime::component::Resource<PlanBuilder>;

    fn lower(request: &StageRequest, _: &Progress) -> Self::Params {
        let StageRequest { volume, capability, context, publish_context, caller } = request;
        (wit::StageRequest {
            volume_id: volume.as_str().to_owned(),
            capability: convert::capability_to_guest(capability),
            volume_context: context.clone(),
            publish_context: publish_context.clone(),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        },)
    }

    fn lift(plan: Self::Wire, ctx: &mut HostCtx) -> Lifted<Plan> {
        ctx.take_plan(plan)
    }

    fn check(_: &StageRequest, plan: &Plan) -> Checked {
        bounds::plan(plan)
    }

    fn plan(plan: &Plan) -> Option<&Plan> {
        Some(plan)
    }

    fn caller(request: &StageRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
