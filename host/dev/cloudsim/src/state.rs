//! Everything that a region remembers, as one file: `state.json`, replaced by rename, so that a
//! region killed at any instruction starts again with the state before or after its last call and
//! never with half of one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Millis;
use crate::error::{RegionError, at};
use crate::identifiers;
use crate::nas::Nas;

const FORMAT: u32 = 1;

/// The state of a region.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) format: u32,
    /// What identifiers follow from.
    pub(crate) seed: String,
    pub(crate) next: u64,
    pub(crate) account: String,
    pub(crate) admin: KeyPair,
    pub(crate) instances: Vec<Instance>,
    pub(crate) disks: BTreeMap<String, Disk>,
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    #[serde(default)]
    pub(crate) snapshot_groups: BTreeMap<String, SnapshotGroup>,
    #[serde(default)]
    pub(crate) nas: Nas,
    pub(crate) tasks: BTreeMap<String, Task>,
    /// By action and client token.
    pub(crate) client_tokens: BTreeMap<String, ClientToken>,
    /// By access key id.
    pub(crate) sessions: BTreeMap<String, Session>,
}

/// A permanent key pair.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeyPair {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// A virtual machine, by the little of it that matters to disks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) zone: String,
    pub(crate) keys: KeyPair,
    pub(crate) hostname: String,
    pub(crate) private_ip: String,
    /// `Running`, `Stopped`, …
    pub(crate) status: String,
    pub(crate) locked_for_security: bool,
    /// Released: the API no longer knows it.
    pub(crate) released: bool,
    pub(crate) created: Millis,
    pub(crate) tags: BTreeMap<String, String>,
}

/// A cloud disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Disk {
    pub(crate) id: String,
    /// An instance's own; never part of the state, only of listings.
    #[serde(skip)]
    pub(crate) system: bool,
    /// In which order they were made.
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) zone: String,
    pub(crate) category: String,
    pub(crate) performance_level: String,
    pub(crate) size_gib: u64,
    pub(crate) encrypted: bool,
    pub(crate) kms_key: String,
    pub(crate) snapshot: String,
    pub(crate) resource_group: String,
    pub(crate) storage_cluster: String,
    pub(crate) provisioned_iops: Option<u64>,
    pub(crate) bursting: bool,
    pub(crate) multi_attach: bool,
    pub(crate) delete_with_instance: bool,
    pub(crate) delete_auto_snapshot: bool,
    pub(crate) enable_auto_snapshot: bool,
    pub(crate) in_arrears: bool,
    pub(crate) created: Millis,
    pub(crate) attached: Option<Millis>,
    pub(crate) detached: Option<Millis>,
    /// Until when it is being created.
    pub(crate) creating_until: Option<Millis>,
    pub(crate) attachments: Vec<Attachment>,
    /// What listings still tell instead of `attachments`, and until when.
    #[serde(default)]
    pub(crate) told: Option<(Millis, Vec<Attachment>)>,
    /// The first instance that had it: an ephemeral disk goes to no other.
    #[serde(default)]
    pub(crate) first_instance: Option<String>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// One instance that has, gets or loses a disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attachment {
    pub(crate) instance: String,
    /// The name that the cloud shows (`/dev/xvdb`); not what the node calls it.
    pub(crate) device: String,
    pub(crate) phase: Phase,
    pub(crate) since: Millis,
    /// When the node sees the device; `None` once it does.
    pub(crate) visible_at: Option<Millis>,
}

/// Where an attachment is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Phase {
    Attaching { until: Millis },
    Attached,
    Detaching { until: Millis },
}

/// A snapshot; its bytes were copied when it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) disk: String,
    pub(crate) size_gib: u64,
    pub(crate) encrypted: bool,
    pub(crate) kms_key: String,
    pub(crate) retention_days: Option<u64>,
    pub(crate) created: Millis,
    pub(crate) ready_at: Millis,
    /// Disks can be made from it before it is `accomplished`.
    #[serde(default)]
    pub(crate) instant: bool,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) resource_group: String,
}

/// Snapshots that were asked for together.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SnapshotGroup {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) instance: String,
    pub(crate) snapshots: Vec<String>,
    pub(crate) created: Millis,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) resource_group: String,
}

/// A change of a disk's kind that takes its time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) number: u64,
    pub(crate) disk: String,
    pub(crate) created: Millis,
    pub(crate) finishes: Millis,
    pub(crate) done: bool,
    pub(crate) category: Option<String>,
    pub(crate) performance_level: Option<String>,
    pub(crate) provisioned_iops: Option<u64>,
}

/// What was answered to a client token; nothing when it is bound by a call that failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ClientToken {
    pub(crate) fingerprint: String,
    pub(crate) answer: Option<Value>,
    pub(crate) at: Millis,
}

/// Temporary keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) secret: String,
    pub(crate) token: String,
    pub(crate) role: String,
    pub(crate) name: String,
    pub(crate) expires: Millis,
}

impl State {
    /// A region without disks.
    pub(crate) fn new() -> std::io::Result<Self> {
        let seed = identifiers::random(24)?;
        let admin = KeyPair {
            id: format!("LTAI{}", identifiers::random(16)?),
            secret: identifiers::random(30)?,
        };
        Ok(Self {
            format: FORMAT,
            seed,
            next: 1,
            account: "1234567890123456".to_owned(),
            admin,
            instances: Vec::new(),
            disks: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            snapshot_groups: BTreeMap::new(),
            nas: Nas::default(),
            tasks: BTreeMap::new(),
            client_tokens: BTreeMap::new(),
            sessions: BTreeMap::new(),
        })
    }

    /// Reads the state that a region left; `None` when there is none.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, RegionError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(at("read", path)(error)),
        };
        let refuse = |reason: String| RegionError::State { path: path.to_path_buf(), reason };
        let state: Self =
            serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
        if state.format == FORMAT {
            Ok(Some(state))
        } else {
            Err(refuse(format!("format {} and not {FORMAT}", state.format)))
        }
    }

    /// Writes the state so that it survives a power cut.
    pub(crate) fn save(&self, path: &Path) -> Result<(), RegionError> {
        let text = serde_json::to_vec(self).map_err(|error| at("write", path)(error.into()))?;
        replace_file(path, &text)
    }

    /// The next number of this region: order of creation, and what identifiers follow from.
    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// An instance that the API still knows.
    pub(crate) fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id == id && !instance.released)
    }
}

/// Replaces a file by rename, readable by its owner only (it holds keys).
pub(crate) fn replace_file(path: &Path, text: &[u8]) -> Result<(), RegionError> {
    wharf_files::replace(path, text).map_err(at("replace", path))
}
