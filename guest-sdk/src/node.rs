//! What must be true on a node. A backend never does node work: it returns a [`Plan`], and the host
//! checks each step, skips what is already true, runs the rest and undoes it on failure. There is
//! no unstage and no unpublish: the host knows.

pub use crate::bindings::node::exports::wharf::volume::node::{
    ExpandRequest, NodeDescription, PublishRequest, StageRequest,
};
use crate::controller::unsupported;
use crate::error::Error;
use crate::plan::Plan;
use crate::types::{Caller, Segments, VolumeCapability};

/// Plans for a node. The three plan functions are pure: the same request gives the same plan under
/// the same settings, and nothing of the host is called but the functions that build plans and
/// those of [`config`](crate::config).
pub trait Node {
    /// The node's id, its place and its limit. May ask the cloud's metadata service. Idempotent.
    fn describe_node() -> Result<NodeDescription, Error> {
        Err(unsupported("describe a node"))
    }

    /// What staging needs, once per node. A backend that has nothing to stage leaves it out, and
    /// leaves `stage` out of its capabilities.
    fn plan_stage(_request: StageRequest) -> Result<Plan, Error> {
        Err(unsupported("stage volumes"))
    }

    /// What one workload needs.
    fn plan_publish(_request: PublishRequest) -> Result<Plan, Error> {
        Err(unsupported("publish volumes"))
    }

    /// What makes a grown volume usable.
    fn plan_expand(_request: ExpandRequest) -> Result<Plan, Error> {
        Err(unsupported("expand volumes on a node"))
    }
}

impl NodeDescription {
    /// A node with no place and no known limit.
    pub fn new(node_id: impl Into<String>) -> Self {
        Self {
            node_id: node_id.into(),
            topology: Vec::new(),
            max_volumes: None,
            extensions: Vec::new(),
        }
    }

    /// Where the node is.
    #[must_use]
    pub fn with_topology(mut self, topology: Segments) -> Self {
        self.topology = topology;
        self
    }

    /// How many volumes of this driver it can hold.
    #[must_use]
    pub fn with_max_volumes(mut self, max_volumes: u32) -> Self {
        self.max_volumes = Some(max_volumes);
        self
    }
}

impl StageRequest {
    /// A request with empty contexts, for tests.
    pub fn new(volume_id: impl Into<String>, capability: VolumeCapability) -> Self {
        let none = Vec::new;
        Self {
            volume_id: volume_id.into(),
            capability,
            volume_context: none(),
            publish_context: none(),
            caller: Caller::unknown(),
            extensions: none(),
        }
    }
}

impl PublishRequest {
    /// A read-write request with empty contexts, for tests.
    pub fn new(volume_id: impl Into<String>, capability: VolumeCapability) -> Self {
        let none = Vec::new;
        Self {
            volume_id: volume_id.into(),
            capability,
            read_only: false,
            volume_context: none(),
            publish_context: none(),
            caller: Caller::unknown(),
            extensions: none(),
        }
    }
}

impl ExpandRequest {
    /// A request with an empty context, for tests.
    pub fn new(volume_id: impl Into<String>, required_bytes: u64) -> Self {
        Self {
            volume_id: volume_id.into(),
            capability: None,
            required_bytes,
            volume_context: Vec::new(),
            publish_context: Vec::new(),
            caller: Caller::unknown(),
            extensions: Vec::new(),
        }
    }
}
