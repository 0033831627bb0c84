//! The nouns of the contract, as the host holds them. `wharf-runtime` converts them to and from the
//! component's side.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::mount_options;
use crate::plan::Plan;
use crate::secret::Secret;

/// String pairs in the order given; a key appears at most once.
pub type Parameters = Vec<(String, String)>;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the identifier as the protocol gave it. Emptiness and length are the front
            /// end's to refuse.
            pub fn new(value: impl Into<String>) -> Self {
                Self(value.into())
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// The longest page of a list that a backend is asked for, as the contract says: with 4 KiB of
/// context each, as large as an answer may be.
pub const LIST_PAGE: u32 = 1000;

/// What a backend says that gives a volume's files to the group in [`AccessType::Mount`].
pub const MOUNT_GROUP: &str = "mount-group";

identifier!(
    /// A volume handle: what `create` returned, or what an administrator wrote in a static
    /// PersistentVolume.
    VolumeId
);
identifier!(
    /// What `describe-node` called the node.
    NodeId
);

/// How a workload reaches the volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessType {
    /// A mounted file system.
    Mount {
        /// Empty: the backend's default.
        fs_type: String,
        /// `mountOptions`, as given.
        flags: Vec<String>,
        /// The group that is to own the files, where the caller leaves that to the driver.
        #[serde(default)]
        group: Option<String>,
    },
    /// The raw device.
    Block,
}

/// CSI `VolumeCapability.AccessMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessMode {
    /// One node, read and write.
    SingleNodeWriter,
    /// One node, read only.
    SingleNodeReaderOnly,
    /// Many nodes, read only.
    MultiNodeReaderOnly,
    /// Many nodes, one of them writes.
    MultiNodeSingleWriter,
    /// Many nodes write.
    MultiNodeMultiWriter,
    /// One workload on one node.
    SingleNodeSingleWriter,
    /// Many workloads on one node.
    SingleNodeMultiWriter,
}

impl AccessMode {
    /// Whether only reading is asked for.
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::SingleNodeReaderOnly | Self::MultiNodeReaderOnly)
    }

    /// Whether more than one node may hold the volume at once.
    pub fn is_multi_node(self) -> bool {
        matches!(
            self,
            Self::MultiNodeReaderOnly | Self::MultiNodeSingleWriter | Self::MultiNodeMultiWriter
        )
    }
}

/// How a volume is used by one workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// File system or raw device.
    pub access: AccessType,
    /// Who else may use it.
    pub mode: AccessMode,
}

impl Capability {
    /// The group that is to own the files, where the caller leaves that to the driver.
    pub fn group(&self) -> Option<&str> {
        match &self.access {
            AccessType::Mount { group, .. } => group.as_deref(),
            AccessType::Block => None,
        }
    }

    /// Whether only reading is asked for, by the mode or by a mount option.
    pub fn is_read_only(&self) -> bool {
        let by_option = match &self.access {
            AccessType::Mount { flags, .. } => mount_options::ask_for_reading(flags),
            AccessType::Block => false,
        };
        self.mode.is_read_only() || by_option
    }
}

/// Bytes; absent means unbounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CapacityRange {
    /// At least.
    pub required: Option<u64>,
    /// At most.
    pub limit: Option<u64>,
}

impl CapacityRange {
    /// Whether a volume of so many bytes is what was asked for.
    pub fn contains(self, bytes: u64) -> bool {
        self.required.is_none_or(|required| bytes >= required)
            && self.limit.is_none_or(|limit| bytes <= limit)
    }
}

/// Topology key to value: one place.
pub type Segments = Parameters;

/// Where a volume must be reachable from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopologyRequirement {
    /// In one of these.
    pub requisite: Vec<Segments>,
    /// Best in the earliest of these.
    pub preferred: Vec<Segments>,
}

/// What a new volume starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// A snapshot's id.
    Snapshot(String),
    /// A volume's id.
    Volume(String),
}

/// A volume as the cloud has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The handle.
    pub id: VolumeId,
    /// Zero when unknown.
    pub capacity_bytes: u64,
    /// Immutable; handed to every node call.
    pub context: Parameters,
    /// Empty: reachable from everywhere.
    pub topology: Vec<Segments>,
    /// What it was made from.
    pub source: Option<VolumeSource>,
    /// Nodes that hold it, where the backend knows them.
    pub attached_to: Vec<NodeId>,
    /// Whether it works; absent: not known.
    pub condition: Option<Condition>,
}

/// Whether a volume works, as far as the cloud says, or the node on which it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// It does not work, or not as it should.
    pub abnormal: bool,
    /// For people.
    pub message: String,
}

impl Condition {
    /// It works, and what there is to say all the same.
    pub fn normal(message: impl Into<String>) -> Self {
        Self { abnormal: false, message: message.into() }
    }

    /// It does not work, or not as it should: why, and what to do.
    pub fn abnormal(message: impl Into<String>) -> Self {
        Self { abnormal: true, message: message.into() }
    }
}

/// The pod that uses a volume, where the front end knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// The pod's name.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its uid.
    pub uid: Option<String>,
    /// Its service account.
    pub service_account: Option<String>,
    /// The volume lives as long as the pod.
    pub ephemeral: bool,
}

/// What came with a call besides the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// Secrets by name. The values go to the account whose source is `call`; a backend gets the
    /// names.
    pub secrets: Vec<(String, Secret)>,
    /// The pod, where known.
    pub workload: Option<Workload>,
}

/// A thing in the cloud that can be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId {
    /// `volume`, `snapshot`, `group`, `node`, or a backend's own word.
    pub kind: String,
    /// Its id.
    pub id: String,
}

impl ResourceId {
    /// A volume.
    pub fn volume(id: &VolumeId) -> Self {
        Self { kind: "volume".to_owned(), id: id.as_str().to_owned() }
    }
}

/// What a backend saw of one resource; the host only carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The resource.
    pub of: ResourceId,
    /// Whether the cloud has it.
    pub found: bool,
    /// The backend's own encoding.
    pub state: Vec<u8>,
}

/// What a backend gets back on the next call of the same operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Fresh observations of what was to be watched.
    pub observed: Vec<Observation>,
    /// The token of the last `pending`.
    pub resume: Option<String>,
}

/// The operation goes on in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Not before this many milliseconds.
    pub after_ms: u32,
    /// What to observe first; empty: what was observed last.
    pub watch: Vec<ResourceId>,
    /// Comes back with the next call.
    pub resume: Option<String>,
    /// What is waited for.
    pub reason: String,
}

/// A plan for the machine that the controller runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Perform {
    /// What must be true there.
    pub plan: Plan,
    /// Comes back with the next call.
    pub resume: Option<String>,
}

/// A finished operation, or one that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// Finished, with this value.
    Done(T),
    /// Wait, observe, call again.
    Pending(Pending),
    /// Run a plan on this machine, call again.
    Perform(Perform),
}

/// One driver that a backend serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverName {
    /// The CSI driver name.
    pub name: String,
    /// `vendor/driver` names of FlexVolume.
    pub flexvolume: Vec<String>,
}

/// Who a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The component's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it serves.
    pub drivers: Vec<DriverName>,
    /// Words of the contract (`identity.description.capabilities`).
    pub capabilities: Vec<String>,
    /// Keys of its topology segments.
    pub topology_keys: Vec<String>,
    /// Ids in one `observe` call.
    pub observe_batch: u32,
}

impl Description {
    /// Whether the backend says that it can do this (`create`, `attach`, …: the words of the
    /// contract).
    pub fn can(&self, word: &str) -> bool {
        self.capabilities.iter().any(|capability| capability == word)
    }

    /// Whether a volume has to be attached to a node before it is used there.
    pub fn attaches(&self) -> bool {
        self.can("attach") && !self.can("attach-nothing")
    }
}

/// A node as `describe-node` sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// The node's id.
    pub node_id: NodeId,
    /// Where it is.
    pub topology: Segments,
    /// How many volumes it can hold; absent: not known.
    pub max_volumes: Option<u32>,
}
