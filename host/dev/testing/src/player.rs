//! Players: they issue the calls of Kubernetes' own programs, in the real order, with the real
//! timeouts, repetition and directories.
//!
//! [`CsiPlayer`] plays external-provisioner, -attacher, -resizer and kubelet over gRPC;
//! [`FlexPlayer`] plays kube-controller-manager and kubelet over FlexVolume. Both say what they do
//! through an [`Audience`], so that a demo can print it. Sources: Kubernetes 1.36 `pkg/volume/csi`
//! and `pkg/volume/flexvolume`, and the sidecars' defaults. What is left out: the API server. Who
//! uses a volume, and when, is the caller's to say.

pub mod csi;
pub mod event;
pub mod flex;
pub mod paths;
pub mod retry;

pub use csi::{Access, CLAIM_METADATA, CsiNode, CsiPlayer, CsiVolume, Usage, Use, VolumeClass};
pub use event::{Audience, Event, Happening, Part, silence};
pub use flex::{FlexNode, FlexPlayer, FlexVolume};
pub use retry::Retry;

/// Why a player's operation ended without success.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PlayError {
    /// The driver answered no.
    #[error("{call}: {code}: {message}")]
    Refused {
        /// Which call.
        call: String,
        /// gRPC code, or the FlexVolume status.
        code: String,
        /// The driver's words.
        message: String,
        /// Whether Kubernetes takes it as "nothing is going on any more".
        is_final: bool,
    },
    /// The driver's answer is not one.
    #[error("{call}: the answer cannot be used: {what}")]
    Unreadable {
        /// Which call.
        call: String,
        /// Why.
        what: String,
    },
    /// The driver left the call to kubelet ("Not supported"), which would now do it its own way.
    #[error("{call}: the driver leaves it to kubelet, which would do it its own way")]
    LeftToKubelet {
        /// Which call.
        call: String,
    },
    /// The player itself could not do its part.
    #[error("{what}: {why}")]
    Stage {
        /// What it tried.
        what: String,
        /// What the system said.
        why: String,
    },
}

impl PlayError {
    /// Whether Kubernetes takes it as "nothing is going on any more": it then cleans up its own
    /// directories.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused { is_final, .. } => *is_final,
            Self::Unreadable { .. } | Self::LeftToKubelet { .. } | Self::Stage { .. } => true,
        }
    }

    pub(crate) fn stage(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Stage { what: what.into(), why: why.to_string() }
    }
}
