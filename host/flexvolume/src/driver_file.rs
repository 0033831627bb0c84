//! `.wharf.json`: what a call-out has to know before it may open anything else.
//!
//! `wharf flexvolume install` writes it beside the executable, from the operator's configuration.
//! The leading dot matters: kubelet watches the directory and probes a driver again after any event
//! on a name without one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wharf_core::Error;

use crate::driver_name::DriverName;

/// The file's name, in the driver's directory.
pub(crate) const FILE_NAME: &str = ".wharf.json";

/// A cluster of 5000 nodes (the most that Kubernetes supports) listed in `nodes` stays below it.
const MAX_BYTES: u64 = 1 << 20;

/// One installed driver. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DriverFile {
    /// The name in `flexVolume.driver` of a PersistentVolume.
    pub driver: DriverName,
    /// The CSI driver name of the same volumes.
    pub csi_driver: String,
    /// The backend's name in the configuration.
    pub backend: String,
    /// The configuration file that the binary opens for everything but `init`, `getvolumename`,
    /// `unmount` and `unmountdevice`.
    pub config: PathBuf,
    /// The version that wrote this file; for people.
    pub version: String,
    /// Wharf's state directory; what belongs to FlexVolume lies below it in
    /// `flexvolume/<vendor>~<driver>`.
    pub state: PathBuf,
    /// Directories below which kubelet mounts, so that nothing else need be known to unmount.
    /// Empty: an earlier version wrote this file, and the configuration says it.
    #[serde(default)]
    pub roots: Vec<PathBuf>,
    /// Whether volumes of this driver are attached and staged before they are mounted. False:
    /// `attach`, `detach`, `waitforattach`, `isattached` and `unmountdevice` answer "Not
    /// supported" and `mountdevice` does nothing, whatever `capabilities` says.
    pub attachable: bool,
    /// What `init` answers.
    pub capabilities: Capabilities,
    /// How the node names of Kubernetes become the node ids of the backend.
    #[serde(default)]
    pub nodes: NodeNames,
    /// Options, without regard to case, that hold a secret in plain text: they are dropped before
    /// anything reads them.
    #[serde(default)]
    pub secret_options: Vec<String>,
    /// Where an older driver of the same name kept `<volume name>.conf` files that hold the
    /// volume's id.
    #[serde(default)]
    pub legacy_state: Option<PathBuf>,
    /// Where to write `flexvolume_<driver>.log`; absent: nowhere.
    #[serde(default)]
    pub log: Option<PathBuf>,
    /// What is written there.
    #[serde(default)]
    pub log_level: LogLevel,
}

impl DriverFile {
    /// What is installed in a driver's directory, for those who look after it.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is missing, damaged, or of another driver.
    pub fn installed(directory: &Path, expected: &DriverName) -> Result<Self, Error> {
        Self::read(directory, expected)
    }

    /// Reads the file in a driver's directory.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is missing, damaged, or of another driver.
    pub(crate) fn read(directory: &Path, expected: &DriverName) -> Result<Self, Error> {
        let path = directory.join(FILE_NAME);
        let file = Self::parse(&path)?;
        if &file.driver == expected {
            return Ok(file);
        }
        Err(broken(&path, format!("it describes {}, and not {expected}", file.driver)))
    }

    pub(crate) fn parse(path: &Path) -> Result<Self, Error> {
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut text));
        read.map_err(|error| broken(path, error))?;
        serde_json::from_slice(&text).map_err(|error| broken(path, error))
    }
}

fn broken(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::precondition(format!("cannot use {}: {why}", path.display()))
        .with_hint("`wharf flexvolume install` writes it")
}

/// What `init` answers, in FlexVolume's own spelling. Kubelet panics on a null in place of the
/// whole, so there is no "absent".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Volumes are attached to a node before they are mounted there.
    pub attach: bool,
    /// Kubelet relabels the volume's files for SELinux.
    #[serde(rename = "selinuxRelabel")]
    pub selinux_relabel: bool,
    /// Kubelet measures the pod's directory with `statfs`.
    #[serde(rename = "supportsMetrics")]
    pub supports_metrics: bool,
    /// Kubelet changes the group of the volume's files to the pod's `fsGroup`.
    #[serde(rename = "fsGroup")]
    pub fs_group: bool,
    /// Kubelet calls `expandfs` after a PersistentVolumeClaim has grown.
    #[serde(rename = "requiresFSResize")]
    pub requires_fs_resize: bool,
}

impl Capabilities {
    /// A file system on a disk of one node: its files belong to the pod, so they are relabelled and
    /// given its group.
    ///
    /// `requiresFSResize` stays true although the call-out before it, `expandvolume`, is dead in
    /// Kubernetes: `expandfs` is the only call that ever says that a volume shall grow, and
    /// without it a claim waits for ever in `FileSystemResizePending`.
    pub const fn of_disks() -> Self {
        Self {
            attach: true,
            selinux_relabel: true,
            supports_metrics: true,
            fs_group: true,
            requires_fs_resize: true,
        }
    }

    /// A network or object file system that many nodes share: walking it to change labels or groups
    /// would take hours, touch files of other tenants, and fail on most servers.
    pub const fn of_shares() -> Self {
        Self {
            attach: false,
            selinux_relabel: false,
            supports_metrics: true,
            fs_group: false,
            requires_fs_resize: true,
        }
    }
}

/// How node names of Kubernetes become node ids of the backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct NodeNames {
    /// Node name to node id; wins over everything else.
    pub ids: BTreeMap<String, String>,
    /// A node name that begins like this is a node id; so is what follows the first dot of a name,
    /// as in `region.id`.
    pub id_prefixes: Vec<String>,
    /// What to do with a name that nothing above knows, and that is not this machine's.
    pub node_name: NodeNameRule,
}

/// What a node name that nobody knows means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeNameRule {
    /// The call is refused: attaching to the wrong node is worse than not attaching.
    #[default]
    Match,
    /// It means this machine. Right only where kubelet itself attaches
    /// (`enableControllerAttachDetach: false`).
    Any,
}

/// What a log holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What was done and what failed, in text for people.
    #[default]
    Info,
    /// Also every call, request and plan of a component, and every step and program of the node:
    /// one JSON object a line, as a server writes them with `--log-json`.
    Debug,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"{"driver":"acme/disk","csi-driver":"disk.acme.com","backend":"disk","config":"/etc/wharf.toml","version":"1","state":"/s",
        "attachable":true,"capabilities":{"attach":true,"selinuxRelabel":true,"supportsMetrics":true,"fsGroup":true,"requiresFSResize":true},"later":1}"#;

    #[test]
    fn what_a_later_version_adds_is_ignored_and_what_it_may_omit_has_a_safe_default() {
        let file: DriverFile = serde_json::from_str(MINIMAL).unwrap();
        assert_eq!(file.capabilities, Capabilities::of_disks());
        assert_eq!(file.nodes.node_name, NodeNameRule::Match);
        assert_eq!((file.log, file.log_level), (None, LogLevel::Info));
        assert!(file.roots.is_empty());
    }

    #[test]
    fn a_file_of_another_driver_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE_NAME), MINIMAL).unwrap();
        assert!(
            DriverFile::read(directory.path(), &DriverName::parse("acme/disk").unwrap()).is_ok()
        );
        let refused = DriverFile::read(directory.path(), &DriverName::parse("acme/nas").unwrap())
            .unwrap_err();
        assert!(refused.message.contains("describes acme/disk"), "{refused}");
    }
}
