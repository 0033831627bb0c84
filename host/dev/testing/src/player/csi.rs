//! The CSI half of Kubernetes: who calls which RPC, when, with what deadline, and what it does with
//! the answer.

mod connection;
mod controller;
mod node;
mod topology;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wharf_csi::proto;

use self::connection::Rpc;
pub use self::topology::Segments;
use super::event::{Audience, Event, Happening, Part, silence};
use super::retry::Retry;
use super::{PlayError, paths};

/// Plays the sidecars and, on every [`CsiNode`], kubelet. One operation per volume at a time is the
/// caller's to keep, as it is Kubernetes'; different volumes go in parallel from different threads.
#[derive(Clone)]
pub struct CsiPlayer {
    driver: String,
    controller: PathBuf,
    retry: Retry,
    /// No call waits longer, whatever the usual flags say.
    longest: Duration,
    audience: Audience,
    /// The CSINode objects: node names, and where the nodes are.
    nodes: Arc<Mutex<BTreeMap<String, Segments>>>,
}

/// A node whose kubelet knows the driver.
#[derive(Debug, Clone)]
pub struct CsiNode {
    /// The node's name in the cluster.
    pub name: String,
    /// What `NodeGetInfo` answered.
    pub id: String,
    /// Where it is, from `NodeGetInfo`.
    pub topology: Segments,
    /// How many volumes it takes; 0: not said.
    pub max_volumes: i64,
    /// The driver's socket there.
    pub socket: PathBuf,
    /// kubelet's root directory.
    pub root: PathBuf,
}

/// How a claim uses its volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// `volumeMode: Filesystem`.
    Mount,
    /// `volumeMode: Block`.
    Block,
}

/// `accessModes` of a claim; of several the one that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// ReadWriteOnce.
    OneNode,
    /// ReadWriteOncePod.
    OnePod,
    /// ReadWriteMany.
    ManyNodes,
    /// ReadOnlyMany.
    ManyNodesToRead,
}

/// How full a volume is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Altogether.
    pub total: u64,
    /// Taken.
    pub used: u64,
    /// For whoever is not root.
    pub available: u64,
}

/// What `--extra-create-metadata` of external-provisioner adds to the parameters of a class.
pub const CLAIM_METADATA: [(&str, &str); 3] = [
    ("csi.storage.k8s.io/pvc/name", "data"),
    ("csi.storage.k8s.io/pvc/namespace", "shop"),
    ("csi.storage.k8s.io/pv/name", "pvc-of-data"),
];

/// What a StorageClass and a claim say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeClass {
    /// `parameters`, without the reserved ones.
    pub parameters: BTreeMap<String, String>,
    /// `csi.storage.k8s.io/fstype`; external-provisioner's default is ext4 where it is told so,
    /// else empty.
    pub fs_type: String,
    /// `mountOptions`.
    pub mount_options: Vec<String>,
    /// `volumeMode`.
    pub volume_use: Use,
    /// `accessModes`.
    pub access: Access,
    /// Segments of the nodes that the scheduler allows, best first. Empty: those of all registered
    /// nodes.
    pub topology: Vec<Segments>,
}

impl VolumeClass {
    /// A file system of this type, ReadWriteOnce.
    pub fn file_system(fs_type: &str, parameters: &[(&str, &str)]) -> Self {
        Self {
            parameters: parameters
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            fs_type: fs_type.to_owned(),
            mount_options: Vec::new(),
            volume_use: Use::Mount,
            access: Access::OneNode,
            topology: Vec::new(),
        }
    }

    /// A share of this kind, ReadWriteMany; it says itself how it is formatted.
    pub fn share(parameters: &[(&str, &str)]) -> Self {
        Self { access: Access::ManyNodes, ..Self::file_system("", parameters) }
    }

    /// The raw device, ReadWriteOnce.
    pub fn raw(parameters: &[(&str, &str)]) -> Self {
        Self { volume_use: Use::Block, ..Self::file_system("", parameters) }
    }
}

/// A PersistentVolume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsiVolume {
    /// Its name, `pvc-…`.
    pub name: String,
    /// `spec.csi.volumeHandle`.
    pub handle: String,
    /// `spec.capacity`, in bytes.
    pub bytes: u64,
    /// `spec.nodeAffinity`: from where it can be reached; empty: from everywhere.
    pub topology: Vec<Segments>,
    /// `spec.csi.volumeAttributes`.
    pub context: BTreeMap<String, String>,
    /// How it is used.
    pub class: VolumeClass,
    /// `VolumeAttachment.status.attachmentMetadata` of the last attach.
    pub publish_context: BTreeMap<String, String>,
    /// What is in the secret that `nodeStageSecretRef` names.
    pub stage_secret: BTreeMap<String, String>,
    /// What is in the secret that `nodePublishSecretRef` names.
    pub publish_secret: BTreeMap<String, String>,
}

impl CsiVolume {
    /// A volume that an administrator wrote by hand.
    pub fn of_handle(name: &str, handle: &str, bytes: u64, class: VolumeClass) -> Self {
        Self {
            name: name.to_owned(),
            handle: handle.to_owned(),
            bytes,
            topology: Vec::new(),
            context: BTreeMap::new(),
            class,
            publish_context: BTreeMap::new(),
            stage_secret: BTreeMap::new(),
            publish_secret: BTreeMap::new(),
        }
    }

    /// Whether the scheduler may send a pod with this volume to the node.
    pub fn is_reachable_from(&self, node: &CsiNode) -> bool {
        topology::is_reachable(&self.topology, &node.topology)
    }

    /// Where kubelet stages it.
    pub fn staging(&self, node: &CsiNode, driver: &str) -> PathBuf {
        match self.class.volume_use {
            Use::Mount => paths::csi_staging(&node.root, driver, &self.handle),
            Use::Block => paths::csi_block_staging(&node.root, &self.name),
        }
    }

    /// Where kubelet has it published for a pod.
    pub fn target(&self, node: &CsiNode, pod: &str) -> PathBuf {
        match self.class.volume_use {
            Use::Mount => paths::csi_target(&node.root, pod, &self.name),
            Use::Block => paths::csi_block_target(&node.root, pod, &self.name),
        }
    }

    fn capability(&self, multi_writer: bool) -> proto::VolumeCapability {
        capability(&self.class, multi_writer)
    }
}

// RWO becomes SINGLE_NODE_WRITER and RWOP too, unless the driver can tell them apart.
fn capability(class: &VolumeClass, multi_writer: bool) -> proto::VolumeCapability {
    use proto::volume_capability::access_mode::Mode;
    use proto::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
    let mode = match (class.access, multi_writer) {
        (Access::ManyNodes, _) => Mode::MultiNodeMultiWriter,
        (Access::ManyNodesToRead, _) => Mode::MultiNodeReaderOnly,
        (Access::OneNode | Access::OnePod, false) => Mode::SingleNodeWriter,
        (Access::OneNode, true) => Mode::SingleNodeMultiWriter,
        (Access::OnePod, true) => Mode::SingleNodeSingleWriter,
    };
    let access = match class.volume_use {
        Use::Block => AccessType::Block(BlockVolume {}),
        Use::Mount => AccessType::Mount(MountVolume {
            fs_type: class.fs_type.clone(),
            mount_flags: class.mount_options.clone(),
            volume_mount_group: String::new(),
        }),
    };
    proto::VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(access),
    }
}

impl CsiPlayer {
    /// Plays for this driver; the sidecars talk to `controller`.
    pub fn new(driver: impl Into<String>, controller: impl Into<PathBuf>) -> Self {
        Self {
            driver: driver.into(),
            controller: controller.into(),
            retry: Retry::brisk(Duration::from_secs(60)),
            longest: Duration::MAX,
            audience: silence(),
            nodes: Arc::default(),
        }
    }

    /// Repeats like this instead of briskly for a minute.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Has no call wait longer than this: flags of the sidecars, and a kubelet that is in a hurry.
    #[must_use]
    pub fn with_timeout(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// Tells somebody.
    #[must_use]
    pub fn with_audience(mut self, audience: Audience) -> Self {
        self.audience = audience;
        self
    }

    /// The driver's name.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The socket that the sidecars talk to.
    pub fn controller(&self) -> &Path {
        &self.controller
    }

    fn known_nodes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Segments>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, part: Part, node: &str, call: &str, volume: &str, happening: Happening) {
        (self.audience)(&Event {
            part,
            node: node.to_owned(),
            call: call.to_owned(),
            volume: volume.to_owned(),
            happening,
        });
    }

    /// One RPC on a connection of its own, told to the audience.
    fn ask<T>(
        &self,
        rpc: &Rpc<'_>,
        with: String,
        send: impl AsyncFnOnce(connection::Line) -> Result<T, tonic::Status>,
    ) -> Result<T, PlayError> {
        self.say(rpc.part, rpc.node, rpc.call, rpc.volume, Happening::Asked { with });
        let (result, took) = connection::call(&rpc.within(self.longest), send);
        let happening = match &result {
            Ok(_) => Happening::Answered { with: String::new(), took },
            Err(error) => {
                Happening::Failed { why: error.to_string(), is_final: error.is_final(), took }
            }
        };
        self.say(rpc.part, rpc.node, rpc.call, rpc.volume, happening);
        result
    }

    /// Repeats a whole operation by the player's rules.
    fn repeat<T>(
        &self,
        part: Part,
        node: &str,
        call: &str,
        volume: &str,
        attempt: impl FnMut() -> Result<T, PlayError>,
    ) -> Result<T, PlayError> {
        self.retry.run(attempt, PlayError::is_final, |after| {
            self.say(part, node, call, volume, Happening::Again { after });
            std::thread::sleep(after);
        })
    }
}
