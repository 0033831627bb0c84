//! What happens in the cloud: one step at a time, decided from fresh observations.
//!
//! Rules for every function: it may be killed anywhere and is repeated with the same request; it
//! never waits, but answers [`Answer::Pending`]; the host calls it again after `throttled`,
//! `unavailable` and `aborted`, every other error is final.

pub use crate::bindings::backend::exports::wharf::volume::controller::{
    AttachRequest, Attachment, Available, CapacityRequest, CreateRequest, DeleteRequest,
    DetachRequest, ExpandRequest, Expanded, ListRequest, Listed, ModifyRequest, ValidateRequest,
    Validated,
};
use crate::error::Error;
use crate::types::{
    Answer, CapacityRange, Observation, Parameters, Progress, Volume, VolumeCapability,
};

/// What a backend does in the cloud. What it leaves out answers `unsupported`; say what you can do
/// in [`Description::capabilities`](crate::identity::Description).
pub trait Controller {
    /// Looks at many resources with as few requests as possible: exactly one observation for each
    /// id, in any order. Read-only.
    fn observe(ids: Vec<String>) -> Result<Vec<Observation>, Error> {
        Ok(ids.into_iter().map(|id| Observation::found(id, [])).collect())
    }

    /// The nodes that hold this volume, according to an observation. Pure.
    fn holders(_observed: Observation) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    /// Creates the volume of this name, or finds it; `already-exists` when it differs from the
    /// request.
    fn create(_request: CreateRequest, _progress: Progress) -> Result<Answer<Volume>, Error> {
        Err(unsupported("create volumes"))
    }

    /// Deletes the volume. A missing one is done; one in use is `failed-precondition`.
    fn delete(_request: DeleteRequest, _progress: Progress) -> Result<Answer<()>, Error> {
        Err(unsupported("delete volumes"))
    }

    /// Attaches the volume to the node; `failed-precondition` naming the holder when another node
    /// has it.
    fn attach(_request: AttachRequest, _progress: Progress) -> Result<Answer<Attachment>, Error> {
        Err(unsupported("attach volumes"))
    }

    /// Detaches the volume from that node and only that one. Not attached, or no such volume: done.
    fn detach(_request: DetachRequest, _progress: Progress) -> Result<Answer<()>, Error> {
        Err(unsupported("detach volumes"))
    }

    /// Makes the volume at least as large as required; never shrinks it.
    fn expand(_request: ExpandRequest, _progress: Progress) -> Result<Answer<Expanded>, Error> {
        Err(unsupported("expand volumes"))
    }

    /// Changes what a VolumeAttributesClass names, and nothing else.
    fn modify(_request: ModifyRequest, _progress: Progress) -> Result<Answer<()>, Error> {
        Err(unsupported("modify volumes"))
    }

    /// Says whether the volume can be used like that. Read-only.
    fn validate(
        _request: ValidateRequest,
        _observed: Vec<Observation>,
    ) -> Result<Validated, Error> {
        Err(unsupported("validate volumes"))
    }

    /// One page of this driver's volumes; a foreign token is `aborted`. Read-only.
    fn list(_request: ListRequest) -> Result<Listed, Error> {
        Err(unsupported("list volumes"))
    }

    /// Bytes that could still be created. Read-only.
    fn capacity(_request: CapacityRequest) -> Result<Available, Error> {
        Err(unsupported("tell its capacity"))
    }
}

pub(crate) fn unsupported(what: &str) -> Error {
    Error::unsupported(format!("this backend does not {what}"))
}

impl CreateRequest {
    /// A request with no bounds on size or place, for tests.
    pub fn new(name: impl Into<String>, capability: VolumeCapability) -> Self {
        Self {
            name: name.into(),
            capacity: CapacityRange { required_bytes: None, limit_bytes: None },
            capabilities: vec![capability],
            parameters: Vec::new(),
            mutable_parameters: Vec::new(),
            source: None,
            topology: None,
            extensions: Vec::new(),
        }
    }
}

impl AttachRequest {
    /// A request to attach read-write, for tests.
    pub fn new(
        volume_id: impl Into<String>,
        node_id: impl Into<String>,
        capability: VolumeCapability,
    ) -> Self {
        Self {
            volume_id: volume_id.into(),
            node_id: node_id.into(),
            capability,
            read_only: false,
            volume_context: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

impl DetachRequest {
    /// A request to detach from this node, or from all.
    pub fn new(volume_id: impl Into<String>, node_id: Option<&str>) -> Self {
        Self {
            volume_id: volume_id.into(),
            node_id: node_id.map(str::to_owned),
            extensions: Vec::new(),
        }
    }
}

impl DeleteRequest {
    /// A request to delete.
    pub fn new(volume_id: impl Into<String>) -> Self {
        Self { volume_id: volume_id.into(), extensions: Vec::new() }
    }
}

impl ExpandRequest {
    /// A request for at least so many bytes.
    pub fn new(volume_id: impl Into<String>, required_bytes: u64) -> Self {
        let capacity = CapacityRange { required_bytes: Some(required_bytes), limit_bytes: None };
        Self { volume_id: volume_id.into(), capacity, capability: None, extensions: Vec::new() }
    }
}

impl ValidateRequest {
    /// A question about one capability.
    pub fn new(volume_id: impl Into<String>, capability: VolumeCapability) -> Self {
        let none = Vec::new;
        Self {
            volume_id: volume_id.into(),
            context: none(),
            parameters: none(),
            capabilities: vec![capability],
            extensions: none(),
        }
    }
}

impl ListRequest {
    /// A page of at most so many entries (zero: no bound), from this token on.
    pub fn new(max_entries: u32, starting_token: Option<&str>) -> Self {
        Self {
            max_entries,
            starting_token: starting_token.map(str::to_owned),
            extensions: Vec::new(),
        }
    }
}

impl Attachment {
    /// What the node needs to find the volume.
    pub fn new(publish_context: Parameters) -> Self {
        Self { publish_context, extensions: Vec::new() }
    }
}

impl Expanded {
    /// The size that the volume has now, and whether a node still has to grow something.
    pub fn new(capacity_bytes: u64, node_expansion_required: bool) -> Self {
        Self { capacity_bytes, node_expansion_required, extensions: Vec::new() }
    }
}

impl Validated {
    /// Everything that was asked about holds.
    pub fn yes() -> Self {
        Self { confirmed: true, message: String::new(), extensions: Vec::new() }
    }

    /// It does not, because of this.
    pub fn no(message: impl Into<String>) -> Self {
        Self { confirmed: false, message: message.into(), extensions: Vec::new() }
    }
}

impl Listed {
    /// One page, and the token that the next one begins with.
    pub fn page(volumes: Vec<Volume>, next_token: Option<String>) -> Self {
        Self { volumes, next_token, extensions: Vec::new() }
    }
}

impl Available {
    /// So many bytes could still be created.
    pub fn bytes(bytes: u64) -> Self {
        Self { bytes, extensions: Vec::new() }
    }
}
