//! What each verb is asked and what it answers, as far as that is more than a noun.

use super::{
    Caller, Capability, CapacityRange, NodeId, Parameters, TopologyRequirement, Volume, VolumeId,
    VolumeSource,
};

/// `create`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// The caller's name: same name, same volume.
    pub name: String,
    /// Size.
    pub capacity: CapacityRange,
    /// Every way in which it will be used.
    pub capabilities: Vec<Capability>,
    /// StorageClass parameters.
    pub parameters: Parameters,
    /// VolumeAttributesClass parameters.
    pub mutable_parameters: Parameters,
    /// What to start from.
    pub source: Option<VolumeSource>,
    /// Where.
    pub topology: Option<TopologyRequirement>,
    /// Who asks.
    pub caller: Caller,
}

/// `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// The volume.
    pub volume: VolumeId,
    /// Who asks.
    pub caller: Caller,
}

/// `attach`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// The volume.
    pub volume: VolumeId,
    /// The node that gets it.
    pub node: NodeId,
    /// How it will be used.
    pub capability: Capability,
    /// Attach read-only.
    pub read_only: bool,
    /// What `create` returned.
    pub context: Parameters,
    /// Who asks.
    pub caller: Caller,
}

/// The result of `attach`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attached {
    /// What the node needs to find it.
    pub publish_context: Parameters,
}

/// `detach`. No node: from every node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachRequest {
    /// The volume.
    pub volume: VolumeId,
    /// The node that gives it up.
    pub node: Option<NodeId>,
    /// Who asks.
    pub caller: Caller,
}

/// `expand`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandRequest {
    /// The volume.
    pub volume: VolumeId,
    /// The size asked for.
    pub capacity: CapacityRange,
    /// How it is used, where the caller says.
    pub capability: Option<Capability>,
    /// Who asks.
    pub caller: Caller,
}

/// The result of `expand`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expanded {
    /// The size that it has now.
    pub capacity_bytes: u64,
    /// Whether a node still has to grow something.
    pub node_expansion_required: bool,
}

/// `modify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModifyRequest {
    /// The volume.
    pub volume: VolumeId,
    /// What it must be like; what is not named stays as it is.
    pub mutable_parameters: Parameters,
    /// Who asks.
    pub caller: Caller,
}

/// `validate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidateRequest {
    /// The volume.
    pub volume: VolumeId,
    /// Its context, as the caller has it.
    pub context: Parameters,
    /// Its parameters, as the caller has them.
    pub parameters: Parameters,
    /// Its mutable parameters, as the caller has them.
    pub mutable_parameters: Parameters,
    /// What is asked about.
    pub capabilities: Vec<Capability>,
    /// Who asks.
    pub caller: Caller,
}

/// The result of `validate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    /// Whether everything asked about holds.
    pub confirmed: bool,
    /// Why not.
    pub message: String,
}

/// `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRequest {
    /// At most so many, 1 to [`super::LIST_PAGE`].
    pub max_entries: u32,
    /// Where the page starts; absent: at the first.
    pub starting_token: Option<String>,
}

/// One page of `list`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// Where the next page starts.
    pub next_token: Option<String>,
}

/// `plan-stage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRequest {
    /// The volume.
    pub volume: VolumeId,
    /// How it will be used.
    pub capability: Capability,
    /// What `create` returned.
    pub context: Parameters,
    /// What `attach` returned.
    pub publish_context: Parameters,
    /// Who asks.
    pub caller: Caller,
}

/// `plan-publish`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRequest {
    /// The volume.
    pub volume: VolumeId,
    /// How it will be used.
    pub capability: Capability,
    /// This workload only reads.
    pub read_only: bool,
    /// What `create` returned.
    pub context: Parameters,
    /// What `attach` returned.
    pub publish_context: Parameters,
    /// Who asks.
    pub caller: Caller,
}

/// `plan-expand`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeExpandRequest {
    /// The volume.
    pub volume: VolumeId,
    /// How it is used, where known.
    pub capability: Option<Capability>,
    /// Bytes that the device must have; zero: as many as it has.
    pub required_bytes: u64,
    /// What `create` returned, where known.
    pub context: Parameters,
    /// What `attach` returned, where known.
    pub publish_context: Parameters,
    /// Who asks.
    pub caller: Caller,
}

/// `translate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranslateRequest {
    /// `vendor/driver`.
    pub driver: String,
    /// The options, without kubelet's own keys and without secrets.
    pub options: Parameters,
    /// PersistentVolume or inline volume name.
    pub volume_name: String,
}

/// The result of `translate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translated {
    /// The volume.
    pub volume: VolumeId,
    /// Its context.
    pub context: Parameters,
    /// Keys of the context that hold only while FlexVolume mounts the volume.
    pub only_over_flexvolume: Vec<String>,
}
