//! The section `http`: where a server shows its health and its numbers.

use std::time::Duration;

use serde::Deserialize;

use crate::http::Listen;

/// A call that goes on for so long after its caller's deadline is wedged: what a node does within a
/// call, a mkfs of a large disk above all, has bounds of half an hour.
const WEDGED_AFTER: Duration = Duration::from_secs(45 * 60);

/// Health and metrics of `wharf csi`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpSection {
    /// `address:port` or `unix:///path`; unset: nobody listens.
    #[serde(default)]
    pub listen: Option<Listen>,
    /// After how many seconds beyond its caller's deadline a call counts as wedged, so that
    /// `/healthz` fails and kubelet starts the process again; unset: 2700.
    #[serde(default)]
    pub wedged_after_seconds: Option<u64>,
}

impl HttpSection {
    /// How long a call may go on after its caller's deadline.
    pub fn wedged_after(&self) -> Duration {
        self.wedged_after_seconds.map_or(WEDGED_AFTER, Duration::from_secs)
    }
}
