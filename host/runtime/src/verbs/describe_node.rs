//! `node.describe-node`.

use wharf_core::types::{NodeDescription, NodeId, Progress};
use wharf_core::verbs::DescribeNode;

use super::{Checked, Lifted, Network, WasmVerb};
use crate::bindings::exports::node as wit;
use crate::bounds;
use crate::host::HostCtx;

impl WasmVerb for DescribeNode {
    const INTERFACE: &'static str = "node";
    const NETWORK: Network = Network::Reads;
    type Params = ();
    type Wire = wit::NodeDescription;

    fn lower((): &(), _: &Progress) -> Self::Params {}

    fn lift(description: Self::Wire, _: &mut HostCtx) -> Lifted<NodeDescription> {
        let wit::NodeDescription { node_id, topology, max_volumes, extensions: _ } = description;
        Ok(NodeDescription { node_id: NodeId::new(node_id), topology, max_volumes })
    }

    fn check((): &(), description: &NodeDescription) -> Checked {
        bounds::node_description(description)
    }
}
