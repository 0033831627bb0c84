//! The section `flexvolume`: how drivers answer kubelet, and which node is meant by a name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

/// FlexVolume.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FlexVolume {
    /// Node names of the cluster to node ids of the cloud.
    #[serde(default)]
    pub nodes: BTreeMap<String, String>,
    /// A node name that begins like this is a node id already (as is what follows the first dot of
    /// `region.id`).
    #[serde(default)]
    pub node_id_prefixes: Vec<String>,
    /// Options, without regard to case, that hold a secret in plain text: they are dropped before
    /// anything reads them.
    #[serde(default)]
    pub secret_options: Vec<String>,
    /// `any`: attach to this machine whatever node name is passed, as kubelets without controller
    /// attach need it.
    #[serde(default)]
    pub node_name: Option<String>,
    /// What `init` answers differently from what suits the backend, by `vendor/driver`.
    #[serde(default)]
    pub init: BTreeMap<String, InitAnswer>,
    /// Where an earlier plugin kept `<volume name>.conf`, by `vendor/driver`.
    #[serde(default)]
    pub legacy_state: BTreeMap<String, PathBuf>,
    /// A directory for logs; unset: `/var/log/wharf`; empty: nothing is logged.
    #[serde(default)]
    pub log: Option<PathBuf>,
    /// `info`, or `debug`: what components and node steps do, in JSON.
    #[serde(default)]
    pub log_level: wharf_flexvolume::LogLevel,
}

/// What a driver says of itself to kubelet; what is absent is as it suits the backend.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InitAnswer {
    /// `true`: kubelet attaches, waits and mounts devices for shares too, as it did for an earlier
    /// plugin that said so; it takes down what it mounted in that way only as long as this is said.
    #[serde(default)]
    pub attach: Option<bool>,
    /// Whether kubelet changes the group of every file of a volume to the pod's `fsGroup`.
    #[serde(default)]
    pub fs_group: Option<bool>,
}
