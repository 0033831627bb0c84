//! What players say while they play.

use std::sync::Arc;
use std::time::Duration;

/// Whose part is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// external-provisioner.
    Provisioner,
    /// external-attacher.
    Attacher,
    /// external-resizer.
    Resizer,
    /// kubelet, on the node named in the event.
    Kubelet,
    /// kube-controller-manager.
    ControllerManager,
}

impl Part {
    /// The program's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Provisioner => "external-provisioner",
            Self::Attacher => "external-attacher",
            Self::Resizer => "external-resizer",
            Self::Kubelet => "kubelet",
            Self::ControllerManager => "kube-controller-manager",
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Who calls.
    pub part: Part,
    /// On which node; empty for the controller's parts.
    pub node: String,
    /// `NodeStageVolume`, `mountdevice`, …
    pub call: String,
    /// The volume.
    pub volume: String,
    /// What.
    pub happening: Happening,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Happening {
    /// The call goes out.
    Asked {
        /// The argument that a person wants to see: a node, a path, a size.
        with: String,
    },
    /// It succeeded.
    Answered {
        /// What came back, in a few words.
        with: String,
        /// How long it took.
        took: Duration,
    },
    /// It failed.
    Failed {
        /// Code and message.
        why: String,
        /// Whether Kubernetes takes it as the end of the operation.
        is_final: bool,
        /// How long it took.
        took: Duration,
    },
    /// It is called again after a pause.
    Again {
        /// How long the pause is.
        after: Duration,
    },
    /// Kubelet skips the call, as it always does in this state.
    Skipped {
        /// Why.
        why: String,
    },
}

/// Who listens. Called on the player's thread, between two calls.
pub type Audience = Arc<dyn Fn(&Event) + Send + Sync>;

/// Nobody listens.
pub fn silence() -> Audience {
    Arc::new(|_| ())
}
