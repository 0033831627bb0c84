//! The section `traces`: where a server sends what happened in which call.

use std::path::PathBuf;

use serde::Deserialize;

/// Traces of `wharf csi`, in a build with the feature `otlp`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TracesSection {
    /// A collector that takes OTLP over HTTP (`http://127.0.0.1:4318`); `/v1/traces` is added.
    /// Unset: what `OTEL_EXPORTER_OTLP_ENDPOINT` names, or nobody.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// A PEM file with the certificate authorities that its certificate must descend from; unset:
    /// the machine's own.
    #[serde(default)]
    #[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "such a build has no collector"))]
    pub ca: Option<PathBuf>,
}
