//! What a component says about itself and asks for, in the custom section [`SECTION`] of its file.
//!
//! A manifest grants nothing: a component gets what it asks for here *and* the operator grants in
//! the configuration. `wharf-store` reads it from the file, `wharf-runtime` enforces it, the tool
//! chain writes it.

use serde::{Deserialize, Serialize};

use crate::policy::Asked;

/// The name of the custom section; its content is JSON.
pub const SECTION: &str = "wharf:manifest";

/// A component's own account of itself. Fields of a newer tool chain are ignored: what is not
/// understood is not granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The component's name, as in its `describe`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Which world of the contract it implements.
    pub world: World,
    /// The contract that it was built against (`0.1.0`).
    pub contract: String,
    /// Endpoints that it wants to reach.
    #[serde(default)]
    pub request: Vec<EndpointRequest>,
    /// What its plans want to do on a node.
    #[serde(default)]
    pub node: NodeRequest,
}

/// The worlds of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum World {
    /// A storage backend.
    Backend,
    /// A cloud's credentials and signatures.
    CloudAuth,
}

impl World {
    /// The world's name in the contract.
    pub fn word(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::CloudAuth => "cloud-auth",
        }
    }
}

/// What a component wants to ask of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRequest {
    /// The endpoint's id in the operator's configuration.
    pub endpoint: String,
    /// Whether an account signs these requests.
    #[serde(default)]
    pub signed: bool,
    /// As in [`crate::policy::EndpointGrant::actions`].
    #[serde(default)]
    pub actions: Vec<String>,
    /// As in [`crate::policy::EndpointGrant::paths`].
    #[serde(default)]
    pub paths: Vec<String>,
}

impl EndpointRequest {
    /// Whether this asks for the request.
    pub fn covers(&self, endpoint: &str, signed: bool, asked: &Asked) -> bool {
        self.endpoint == endpoint
            && self.signed == signed
            && asked.is_covered(&self.actions, &self.paths)
    }
}

/// What a component's plans want to do. Steps that are not here are refused, whatever is granted;
/// the rest tells an operator what to grant with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeRequest {
    /// Steps by [`crate::plan::Step::word`].
    #[serde(default)]
    pub steps: Vec<String>,
    /// As in [`crate::policy::NodePolicy::filesystems`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filesystems: Vec<String>,
    /// As in [`crate::policy::NodePolicy::block_queue`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub block_queue: Vec<String>,
}
