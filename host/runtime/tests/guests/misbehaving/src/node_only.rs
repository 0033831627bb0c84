//! A backend that has no more than it needs: it says who it is, and plans for a node.

#[allow(warnings, reason = "generated code")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../../../wit",
        inline: "
            package test:node-only;
            world guest {
                include wharf:volume/backend@0.1.0;
                include wharf:volume/with-node@0.1.0;
            }
        ",
        world: "test:node-only/guest",
        generate_all,
    });
}

use bindings::exports::wharf::volume::identity::{self, Description, Driver};
use bindings::exports::wharf::volume::node::{
    ExpandRequest, Guest, NodeDescription, PublishRequest, StageRequest,
};
use bindings::wharf::volume::plans::Plan;
use bindings::wharf::volume::types::Error;

struct NodeOnly;

impl identity::Guest for NodeOnly {
    fn describe() -> Result<Description, Error> {
        Ok(Description {
            name: "misbehaving".into(),
            version: "0.1.0".into(),
            drivers: vec![Driver {
                name: "node-only.example.com".into(),
                flexvolume: vec![],
                extensions: vec![],
            }],
            capabilities: vec![],
            topology_keys: vec![],
            observe_batch: 1,
            extensions: vec![],
        })
    }
}

impl Guest for NodeOnly {
    fn describe_node() -> Result<NodeDescription, Error> {
        Ok(NodeDescription {
            node_id: "i-1".into(),
            topology: vec![],
            max_volumes: None,
            extensions: vec![],
        })
    }

    fn plan_stage(_: StageRequest) -> Result<Plan, Error> {
        Ok(Plan::new(""))
    }

    fn plan_publish(_: PublishRequest) -> Result<Plan, Error> {
        let plan = Plan::new("");
        plan.check("ext4");
        Ok(plan)
    }

    fn plan_expand(_: ExpandRequest) -> Result<Plan, Error> {
        Ok(Plan::new(""))
    }
}

bindings::export!(NodeOnly with_types_in bindings);
