//! The section `events`: whether a server makes Kubernetes Events.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

/// Kubernetes Events of `wharf csi`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EventsSection {
    /// Makes them, on the pod that the environment names (`POD_NAME`, `POD_NAMESPACE`, `POD_UID`).
    #[serde(default)]
    pub enabled: bool,
    /// The API server; unset: as kubelet gives it to containers (`KUBERNETES_SERVICE_HOST`).
    #[serde(default)]
    pub api: Option<String>,
    /// The directory with `token` and `ca.crt` of the pod's account; unset:
    /// `/var/run/secrets/kubernetes.io/serviceaccount`.
    #[serde(default)]
    pub account: Option<PathBuf>,
    /// Seconds between two checks of what there is to report; unset: 30, for what lasts less than a
    /// minute is nobody's business.
    #[serde(default)]
    pub look_seconds: Option<u64>,
}

impl EventsSection {
    /// Where the pod's account is.
    pub fn account(&self) -> PathBuf {
        let usual = || "/var/run/secrets/kubernetes.io/serviceaccount".into();
        self.account.clone().unwrap_or_else(usual)
    }

    /// Between two looks.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.look_seconds.unwrap_or(30).max(1))
    }
}
