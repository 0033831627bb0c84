//! What happens in the cloud: one step at a time, decided from fresh observations.
//!
//! Rules for every function: it may be killed anywhere and is repeated with the same request; it
//! never waits, but answers [`Answer::Pending`]; it never works on a node, but answers
//! [`Answer::Perform`]. The host calls it again after `throttled`, `unavailable` and `aborted`;
//! every other error ends the call. Which of those the caller hears as final stands at the head of
//! `wit/types.wit`: judge from observations where you can, and say so with
//! [`Error::as_observed`].

pub use crate::bindings::controller::exports::wharf::volume::controller::{
    AttachRequest, Attachment, Available, CapacityRequest, CreateRequest, DeleteRequest,
    DetachRequest, ExpandRequest, Expanded, ListRequest, Listed, ModifyRequest, ValidateRequest,
    Validated,
};
use crate::error::Error;
use crate::types::{
    Answer, Caller, CapacityRange, Observation, Parameters, Progress, ResourceId, Volume,
    VolumeCapability,
};

/// What a backend does in the cloud. What it leaves out answers `unsupported`; say what you can do
/// in [`Description::capabilities`](crate::identity::Description).
pub trait Controller {
    /// Looks at many resources with as few requests as possible: exactly one observation for each,
    /// in any order. Read-only.
    fn observe(resources: Vec<ResourceId>) -> Result<Vec<Observation>, Error> {
        Ok(resources.into_iter().map(|resource| Observation::of(resource, [])).collect())
    }

    /// The volume that an observation shows: size, place, the nodes that hold it, condition.
    /// `not-found` when it shows none. Pure.
    fn read(observed: Observation) -> Result<Volume, Error> {
        if observed.found {
            Ok(Volume::new(observed.of.id, 0))
        } else {
            Err(Error::not_found(format!("there is no volume {}", observed.of.id)))
        }
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

    /// Bytes that could still be created, zero where nothing can be; what `create` refuses is
    /// refused here too. Read-only.
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
            capacity: CapacityRange::new(None, None),
            capabilities: vec![capability],
            parameters: Vec::new(),
            mutable_parameters: Vec::new(),
            source: None,
            topology: None,
            caller: Caller::unknown(),
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
            caller: Caller::unknown(),
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
            caller: Caller::unknown(),
            extensions: Vec::new(),
        }
    }
}

impl DeleteRequest {
    /// A request to delete.
    pub fn new(volume_id: impl Into<String>) -> Self {
        Self { volume_id: volume_id.into(), caller: Caller::unknown(), extensions: Vec::new() }
    }
}

impl ExpandRequest {
    /// A request for at least so many bytes.
    pub fn new(volume_id: impl Into<String>, required_bytes: u64) -> Self {
        let capacity = CapacityRange::new(Some(required_bytes), None);
        Self {
            volume_id: volume_id.into(),
            capacity,
            capability: None,
            caller: Caller::unknown(),
            extensions: Vec::new(),
        }
    }
}

impl ModifyRequest {
    /// A request to change what these parameters name.
    pub fn new(volume_id: impl Into<String>, mutable_parameters: Parameters) -> Self {
        Self {
            volume_id: volume_id.into(),
            mutable_parameters,
            caller: Caller::unknown(),
            extensions: Vec::new(),
        }
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
            mutable_parameters: none(),
            capabilities: vec![capability],
            caller: Caller::unknown(),
            extensions: none(),
        }
    }
}

impl CapacityRequest {
    /// A question about volumes with these parameters, wherever they are; for tests.
    pub fn new(parameters: Parameters) -> Self {
        Self { capabilities: Vec::new(), parameters, topology: None, extensions: Vec::new() }
    }
}

impl ListRequest {
    /// A page of at most so many entries (1 to 1000), from this token on.
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

    /// The same, with what a person should know besides.
    #[must_use]
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
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
        Self {
            bytes,
            minimum_volume_bytes: None,
            maximum_volume_bytes: None,
            extensions: Vec::new(),
        }
    }

    /// The same, where one volume has at least so many bytes.
    #[must_use]
    pub fn with_smallest_volume(self, bytes: u64) -> Self {
        Self { minimum_volume_bytes: Some(bytes), ..self }
    }

    /// The same, where one volume has at most so many bytes, which are no more than could be
    /// created altogether.
    #[must_use]
    pub fn with_largest_volume(self, bytes: u64) -> Self {
        Self { maximum_volume_bytes: Some(bytes), ..self }
    }
}
