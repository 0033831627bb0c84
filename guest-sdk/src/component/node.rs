//! `node`.

use super::{Component, on_entry};
use crate::bindings::backend::wharf::volume::plans;
use crate::bindings::node::exports::wharf::volume::node::Guest;
use crate::error::Error;
use crate::node::{ExpandRequest, Node, NodeDescription, PublishRequest, StageRequest};

impl<B: Node> Guest for Component<B> {
    fn describe_node() -> Result<NodeDescription, Error> {
        on_entry();
        B::describe_node()
    }

    fn plan_stage(request: StageRequest) -> Result<plans::Plan, Error> {
        on_entry();
        B::plan_stage(request).map(|plan| plan.hand_over())
    }

    fn plan_publish(request: PublishRequest) -> Result<plans::Plan, Error> {
        on_entry();
        B::plan_publish(request).map(|plan| plan.hand_over())
    }

    fn plan_expand(request: ExpandRequest) -> Result<plans::Plan, Error> {
        on_entry();
        B::plan_expand(request).map(|plan| plan.hand_over())
    }
}
