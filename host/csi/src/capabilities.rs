//! What a backend says that it can do, in CSI's words, and the check that a call asks for no more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wharf_core::Error;
use wharf_core::controller::Controller;
use wharf_core::node::NodeService;
use wharf_core::ports::Call;
use wharf_core::types::{Capability, Description, MOUNT_GROUP};

use crate::proto::node_service_capability::rpc::Type as NodeRpc;
use crate::proto::plugin_capability::service::Type as Service;
use crate::proto::plugin_capability::volume_expansion::Type as Expansion;
use crate::{controller, proto};

/// Words of the contract on the left. The controller's stand beside its methods.
const NODE: &[(&str, NodeRpc)] = &[
    ("stage", NodeRpc::StageUnstageVolume),
    ("expand-node", NodeRpc::ExpandVolume),
    ("single-node-multi-writer", NodeRpc::SingleNodeMultiWriter),
    (MOUNT_GROUP, NodeRpc::VolumeMountGroup),
];

/// The backend's description: the active one, or the last one that was seen while a new one cannot
/// be had. Kubelet asks for the node's capabilities before it unstages, so a backend that broke
/// must not take them away.
#[derive(Clone)]
pub(crate) struct Described {
    source: Source,
    known: Arc<Mutex<Known>>,
}

/// What is known of the backend without asking it.
#[derive(Default)]
struct Known {
    last: Option<Arc<Description>>,
    failure: Option<Error>,
    is_asked: bool,
}

/// Whether this host can work for its driver.
pub(crate) struct Readiness {
    /// It has met its backend; or why it has not.
    pub(crate) is_ready: Result<bool, Error>,
    /// The caller is to let [`Described::ask`] run, away from the call.
    pub(crate) is_to_be_asked: bool,
}

#[derive(Clone)]
enum Source {
    Controller(Arc<Controller>),
    Node(Arc<NodeService>),
    Nothing,
}

impl Described {
    pub(crate) fn by(controller: Option<Arc<Controller>>, node: Option<Arc<NodeService>>) -> Self {
        let source = match (controller, node) {
            (Some(controller), _) => Source::Controller(controller),
            (None, Some(node)) => Source::Node(node),
            (None, None) => Source::Nothing,
        };
        Self { source, known: Arc::default() }
    }

    /// What the active backend says now.
    pub(crate) fn now(&self, call: &Call) -> Result<Arc<Description>, Error> {
        let described = match &self.source {
            Source::Controller(controller) => controller.describe(call),
            Source::Node(node) => node.backend_description(call),
            Source::Nothing => Err(Error::precondition(
                "this process has neither the controller's nor the node's role",
            )),
        };
        let mut known = self.known();
        match &described {
            Ok(description) => known.last = Some(description.clone()),
            Err(error) => known.failure = Some(error.clone()),
        }
        described
    }

    /// What the active backend says, where that is known without waiting.
    pub(crate) fn at_hand(&self) -> Option<Arc<Description>> {
        let at_hand = match &self.source {
            Source::Controller(controller) => controller.description_at_hand(),
            Source::Node(node) => node.description_at_hand(),
            Source::Nothing => None,
        }?;
        self.known().last = Some(Arc::clone(&at_hand));
        Some(at_hand)
    }

    /// Whether the host can work, from what it knows: nothing here waits for the backend, which may
    /// be slow, hang, or have broken since it was met.
    pub(crate) fn readiness(&self) -> Readiness {
        let mut known = self.known();
        let is_ready = match (&known.last, &known.failure) {
            (Some(_), _) => Ok(true),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Ok(false),
        };
        let is_to_be_asked = known.last.is_none() && !known.is_asked;
        known.is_asked |= is_to_be_asked;
        Readiness { is_ready, is_to_be_asked }
    }

    /// Asks, for those who come later.
    pub(crate) fn ask(&self, call: &Call) {
        let _asked = AskedGuard(self);
        if let Err(error) = self.now(call) {
            tracing::warn!(%error, "the backend does not describe itself");
        }
    }

    /// What it says now, or said last.
    pub(crate) fn now_or_last(&self, call: &Call) -> Result<Arc<Description>, Error> {
        self.now(call).or_else(|error| self.known().last.clone().ok_or(error))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic in another thread leaves whole values here.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to ask; it passes on however the asking ends.
struct AskedGuard<'a>(&'a Described);

impl Drop for AskedGuard<'_> {
    fn drop(&mut self) {
        self.0.known().is_asked = false;
    }
}

/// That the backend can do `word`.
///
/// # Errors
/// `Unsupported` when it does not say so.
pub(crate) fn require(description: &Description, word: &str) -> Result<(), Error> {
    if description.can(word) {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "the backend {} {} does not offer `{word}`",
        description.name, description.version
    )))
}

/// That the backend takes a group, where one of the capabilities names one.
///
/// # Errors
/// `InvalidArgument` when it does not say so.
pub(crate) fn require_group(description: &Description, uses: &[Capability]) -> Result<(), Error> {
    if description.can(MOUNT_GROUP) || uses.iter().all(|used| used.group().is_none()) {
        return Ok(());
    }
    Err(Error::invalid(
        "volume_mount_group is set, which this driver does not offer (VOLUME_MOUNT_GROUP)",
    ))
}

/// `GetPluginCapabilities`.
pub(crate) fn of_plugin(
    description: &Description,
    has_controller: bool,
) -> Vec<proto::PluginCapability> {
    use proto::plugin_capability::{self as plugin, Type};
    let service = |service: Service| Type::Service(plugin::Service { r#type: service.into() });
    let online =
        Type::VolumeExpansion(plugin::VolumeExpansion { r#type: Expansion::Online.into() });
    let offers = [
        (has_controller, service(Service::ControllerService)),
        (description.can("topology"), service(Service::VolumeAccessibilityConstraints)),
        (description.can("expand") || description.can("expand-node"), online),
    ];
    offers
        .into_iter()
        .filter(|(is_offered, _)| *is_offered)
        .map(|(_, offer)| proto::PluginCapability { r#type: Some(offer) })
        .collect()
}

/// `ControllerGetCapabilities`.
pub(crate) fn of_controller(description: &Description) -> Vec<proto::ControllerServiceCapability> {
    use proto::controller_service_capability::{Rpc, Type};
    let offered = controller::offered().filter(|(word, _)| description.can(word));
    offered
        .map(|(_, rpc)| proto::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: rpc.into() })),
        })
        .collect()
}

/// `NodeGetCapabilities`. How full a volume is, and whether it works, the host knows by itself.
pub(crate) fn of_node(description: &Description) -> Vec<proto::NodeServiceCapability> {
    in_words_of_csi(NODE.iter().filter(|(word, _)| description.can(word)))
}

/// `NodeGetCapabilities` of a process that has never seen its backend. Kubelet asks this before it
/// unstages, which needs no backend: all that a node can do is claimed, and what does need one
/// fails by itself.
pub(crate) fn of_an_unknown_node() -> Vec<proto::NodeServiceCapability> {
    in_words_of_csi(NODE.iter())
}

fn in_words_of_csi<'a>(
    offered: impl Iterator<Item = &'a (&'a str, NodeRpc)>,
) -> Vec<proto::NodeServiceCapability> {
    use proto::node_service_capability::{Rpc, Type};
    let own = [NodeRpc::GetVolumeStats, NodeRpc::VolumeCondition];
    let all = own.into_iter().chain(offered.map(|(_, rpc)| *rpc));
    all.map(|rpc| proto::NodeServiceCapability {
        r#type: Some(Type::Rpc(Rpc { r#type: rpc.into() })),
    })
    .collect()
}
