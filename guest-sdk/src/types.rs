//! Words of the contract that every trait shares, with constructors that leave `extensions` empty.
//!
//! The records are frozen inside a contract version: a field never appears or goes away, so a
//! struct expression in a backend keeps compiling. What is new travels in `extensions`.

use crate::bindings::backend::wharf::volume::plans;
pub use crate::bindings::backend::wharf::volume::types::{
    AccessMode, AccessType, Caller, CapacityRange, Condition, MountOptions, Observation,
    Parameters, Pending, ResourceId, Segments, TopologyRequirement, Volume, VolumeCapability,
    VolumeSource, Workload,
};
use crate::plan::Plan;

/// A finished operation, or one that goes on.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<T> {
    /// Finished, with this value.
    Done(T),
    /// The host waits, observes, and calls again.
    Pending(Pending),
    /// The host runs a plan on the controller's node, and calls again. Not for `attach` and
    /// `detach`.
    Perform(Perform),
}

/// A plan for the node that the controller runs on: what it mounts is a scratch mount.
#[derive(Debug, Clone, PartialEq)]
pub struct Perform {
    /// What must be true there.
    pub plan: Plan,
    /// Comes back with the next call. At most 4 KiB.
    pub resume: Option<String>,
}

impl Perform {
    /// Runs this plan, and calls again with this token.
    pub fn new(plan: Plan, resume: impl Into<String>) -> Self {
        Self { plan, resume: Some(resume.into()) }
    }

    pub(crate) fn hand_over(&self) -> plans::Perform {
        plans::Perform {
            plan: self.plan.hand_over(),
            resume: self.resume.clone(),
            extensions: Vec::new(),
        }
    }
}

impl<T> From<Perform> for Answer<T> {
    fn from(perform: Perform) -> Self {
        Self::Perform(perform)
    }
}

/// What comes with a call that may be one of several: fresh observations, and the token of the last
/// [`Pending`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Fresh; of the ids that were to be watched, or of the request's own volume. Empty on the
    /// first call of `create`.
    pub observed: Vec<Observation>,
    /// As this backend, or an older build of it, wrote it.
    pub resume: Option<String>,
}

impl Progress {
    /// Progress with these observations and no token.
    pub fn observed(observed: impl Into<Vec<Observation>>) -> Self {
        Self { observed: observed.into(), resume: None }
    }

    /// The same, with the token of an earlier call.
    #[must_use]
    pub fn with_resume(mut self, resume: impl Into<String>) -> Self {
        self.resume = Some(resume.into());
        self
    }

    /// The observation of the resource with this id, if there is one.
    pub fn of(&self, id: &str) -> Option<&Observation> {
        self.observed.iter().find(|observation| observation.of.id == id)
    }
}

impl Pending {
    /// Called again after so many milliseconds with the same observations and no token; `reason` is
    /// for people.
    pub fn after_ms(after_ms: u32, reason: impl Into<String>) -> Self {
        Self {
            after_ms,
            watch: Vec::new(),
            resume: None,
            reason: reason.into(),
            extensions: Vec::new(),
        }
    }

    /// Observes this volume before the next call.
    #[must_use]
    pub fn watching(self, volume_id: impl Into<String>) -> Self {
        self.watching_resource(ResourceId::volume(volume_id))
    }

    /// Observes this resource before the next call.
    #[must_use]
    pub fn watching_resource(mut self, resource: ResourceId) -> Self {
        self.watch.push(resource);
        self
    }

    /// Comes back unchanged, also to a newer build. At most 4 KiB.
    #[must_use]
    pub fn with_resume(mut self, resume: impl Into<String>) -> Self {
        self.resume = Some(resume.into());
        self
    }
}

impl<T> From<Pending> for Answer<T> {
    fn from(pending: Pending) -> Self {
        Self::Pending(pending)
    }
}

impl Observation {
    /// The cloud has this volume, and this is what it looks like, in the backend's own encoding.
    pub fn found(volume_id: impl Into<String>, state: impl Into<Vec<u8>>) -> Self {
        Self::of(ResourceId::volume(volume_id), state)
    }

    /// The cloud says that there is no such volume.
    pub fn missing(volume_id: impl Into<String>) -> Self {
        Self::none_of(ResourceId::volume(volume_id))
    }

    /// The cloud has this resource, and this is what it looks like.
    pub fn of(resource: ResourceId, state: impl Into<Vec<u8>>) -> Self {
        Self { of: resource, found: true, state: state.into(), extensions: Vec::new() }
    }

    /// The cloud says that there is no such resource.
    pub fn none_of(resource: ResourceId) -> Self {
        Self { of: resource, found: false, state: Vec::new(), extensions: Vec::new() }
    }
}

impl ResourceId {
    /// A volume.
    pub fn volume(id: impl Into<String>) -> Self {
        Self { kind: "volume".to_owned(), id: id.into() }
    }

    /// A resource of another kind: `snapshot`, `group`, `node`, or the backend's own word.
    pub fn new(kind: impl Into<String>, id: impl Into<String>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }
}

impl Caller {
    /// A call that brought no secrets, from nobody known.
    pub fn unknown() -> Self {
        Self { secrets: Vec::new(), workload: None, extensions: Vec::new() }
    }
}

impl Volume {
    /// A volume that is reachable from everywhere and attached to nothing.
    pub fn new(id: impl Into<String>, capacity_bytes: u64) -> Self {
        Self {
            id: id.into(),
            capacity_bytes,
            context: Vec::new(),
            topology: Vec::new(),
            source: None,
            attached_to: Vec::new(),
            condition: None,
            extensions: Vec::new(),
        }
    }

    /// Adds a value that every node call gets.
    #[must_use]
    pub fn with_context(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.context.insert_pair(key, value);
        self
    }

    /// Adds a place that the volume is reachable from.
    #[must_use]
    pub fn reachable_from(mut self, segments: Segments) -> Self {
        self.topology.push(segments);
        self
    }
}

impl MountOptions {
    /// A file system of this type (empty: the backend's default) with these flags, whoever owns the
    /// files.
    pub fn new(fs_type: String, flags: Vec<String>) -> Self {
        Self { fs_type, flags, group: None, extensions: Vec::new() }
    }
}

impl CapacityRange {
    /// At least and at most so many bytes.
    pub fn new(required_bytes: Option<u64>, limit_bytes: Option<u64>) -> Self {
        Self { required_bytes, limit_bytes, extensions: Vec::new() }
    }
}

impl TopologyRequirement {
    /// In one of `requisite`, best in the earliest of `preferred`.
    pub fn new(requisite: Vec<Segments>, preferred: Vec<Segments>) -> Self {
        Self { requisite, preferred, extensions: Vec::new() }
    }
}

impl Condition {
    /// Whether the volume works; `message` is for people.
    pub fn new(abnormal: bool, message: impl Into<String>) -> Self {
        Self { abnormal, message: message.into(), extensions: Vec::new() }
    }
}

impl VolumeCapability {
    /// A mounted file system of this type (empty: the backend's default), for one writer.
    pub fn mount(fs_type: impl Into<String>) -> Self {
        let access = AccessType::Mount(MountOptions::new(fs_type.into(), Vec::new()));
        Self { access, mode: AccessMode::SingleNodeWriter, extensions: Vec::new() }
    }

    /// The raw device, for one writer.
    pub fn block() -> Self {
        Self {
            access: AccessType::Block,
            mode: AccessMode::SingleNodeWriter,
            extensions: Vec::new(),
        }
    }

    /// The same, in another mode.
    #[must_use]
    pub fn in_mode(mut self, mode: AccessMode) -> Self {
        self.mode = mode;
        self
    }

    /// What it says about mounting; `None` for a raw device.
    pub fn mount_options(&self) -> Option<&MountOptions> {
        match &self.access {
            AccessType::Mount(options) => Some(options),
            AccessType::Block => None,
        }
    }
}

impl AccessMode {
    /// Whether more than one node may hold the volume at once.
    pub fn is_multi_node(self) -> bool {
        matches!(
            self,
            Self::MultiNodeReaderOnly | Self::MultiNodeSingleWriter | Self::MultiNodeMultiWriter
        )
    }

    /// Whether more than one node may write.
    pub fn is_multi_node_writer(self) -> bool {
        matches!(self, Self::MultiNodeSingleWriter | Self::MultiNodeMultiWriter)
    }

    /// Whether only reading is asked for.
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::SingleNodeReaderOnly | Self::MultiNodeReaderOnly)
    }
}

/// Look-up in the contract's string pairs.
pub trait Pairs {
    /// The value of this key, spelled exactly so.
    fn value(&self, key: &str) -> Option<&str>;
    /// The value of this key in any ASCII case.
    fn value_in_any_case(&self, key: &str) -> Option<&str>;
    /// Sets the key, replacing what it had.
    fn insert_pair(&mut self, key: impl Into<String>, value: impl Into<String>);
}

impl Pairs for Parameters {
    fn value(&self, key: &str) -> Option<&str> {
        self.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn value_in_any_case(&self, key: &str) -> Option<&str> {
        self.iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value.as_str())
    }

    fn insert_pair(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let key = key.into();
        self.retain(|(name, _)| *name != key);
        self.push((key, value.into()));
    }
}

/// String pairs from anything that is shaped like them.
pub fn pairs<K: Into<String>, V: Into<String>>(
    from: impl IntoIterator<Item = (K, V)>,
) -> Parameters {
    from.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}
