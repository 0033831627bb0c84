//! What is served: one CSI driver, in the roles that this process has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use wharf_core::controller::Controller;
use wharf_core::node::NodeService;
use wharf_core::ports::Clock;

use crate::observer::CallObserver;
use crate::registration::Registration;

/// Calls in flight get this long to finish when the process is asked to end: less than a pod's
/// default of 30 seconds, with room for the cancelled ones to answer.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(20);

/// CSI: a name is in the form of a domain name, of at most this length.
const MAX_NAME: usize = 63;

/// One CSI driver. Identity is served always, the other services as far as they are given.
#[derive(Clone)]
pub struct Driver {
    /// The CSI driver name, for example `diskplugin.csi.alibabacloud.com`.
    pub name: String,
    /// Wharf's version: `vendor_version`.
    pub version: String,
    /// The controller role.
    pub controller: Option<Arc<Controller>>,
    /// The node role.
    pub node: Option<Arc<NodeService>>,
    /// What deadlines are measured with; the one that the services above have.
    pub clock: Arc<dyn Clock>,
    /// Staging and target paths must be below one of these: kubelet's directory, usually.
    pub allowed_roots: Vec<PathBuf>,
    /// How long calls in flight may go on after the shutdown began; mostly [`DEFAULT_DRAIN`].
    pub drain: Duration,
    /// How kubelet learns of it; absent in a process without the node's role, and where
    /// node-driver-registrar does that.
    pub registration: Option<Arc<Registration>>,
    /// Hears of its calls.
    pub observer: Option<Arc<dyn CallObserver>>,
}

/// Whether CSI allows this name.
pub(crate) fn is_valid_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let has_plain_ends = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    name.len() <= MAX_NAME && has_plain_ends && name.bytes().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_s_name_looks_like_a_domain_name() {
        for name in ["diskplugin.csi.alibabacloud.com", "a", "fake-1"] {
            assert!(is_valid_name(name), "{name}");
        }
        for name in ["", "-a", "a.", "a_b", "a/b", "a b", &"x".repeat(64)] {
            assert!(!is_valid_name(name), "{name}");
        }
    }
}
