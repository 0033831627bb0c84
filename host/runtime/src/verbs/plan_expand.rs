//! `node.plan-expand`.

use wharf_core::plan::Plan;
use wharf_core::types::{Caller, Progress};
use wharf_core::verbs::{NodeExpandRequest, PlanExpand};

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::node as wit;
use crate::host::HostCtx;
use crate::plan_builder::PlanBuilder;
use crate::{bounds, convert};

impl WasmVerb for PlanExpand {
    const INTERFACE: &'static str = "node";
    const NETWORK: Network = Network::None;
    type Params = (wit::ExpandRequest,);
    type Wire = wasmtime::component::Resource<PlanBuilder>;

    fn lower(request: &NodeExpandRequest, _: &Progress) -> Self::Params {
        let NodeExpandRequest {
            volume,
            capability,
            required_bytes,
            context,
            publish_context,
            caller,
        } = request;
        (wit::ExpandRequest {
            volume_id: volume.as_str().to_owned(),
            capability: capability.as_ref().map(convert::capability_to_guest),
            required_bytes: *required_bytes,
            volume_context: context.clone(),
            publish_context: publish_context.clone(),
            caller: convert::caller_to_guest(caller),
            extensions: Vec::new(),
        },)
    }

    fn lift(plan: Self::Wire, ctx: &mut HostCtx) -> Lifted<Plan> {
        ctx.take_plan(plan)
    }

    fn check(_: &NodeExpandRequest, plan: &Plan) -> Checked {
        bounds::plan(plan)
    }

    fn plan(plan: &Plan) -> Option<&Plan> {
        Some(plan)
    }

    fn caller(request: &NodeExpandRequest) -> Option<&Caller> {
        Some(&request.caller)
    }
}
