//! What must be true on a node: the typed steps that a backend's plan is made of.

use serde::{Deserialize, Serialize};

/// A plan has no more steps than this: no real one has half as many, and each costs time on a node.
pub const MAX_STEPS: usize = 32;

/// What a backend wants to be true, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// At most [`MAX_STEPS`].
    pub steps: Vec<Step>,
    /// One line for people.
    pub summary: String,
}

/// One thing that must be true. The host skips what is true already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Find the block device; later steps mean this one.
    FindDevice(FindDevice),
    /// Make a file system, only on a provably blank device.
    Format {
        /// `ext4`, `xfs`, …
        fs_type: String,
        /// For the mkfs program, one argument each.
        arguments: Vec<String>,
    },
    /// Check and repair the file system if there is one and it is not mounted.
    Check {
        /// `ext4`, `xfs`, …
        fs_type: String,
    },
    /// Grow the file system to the size of its device.
    Grow {
        /// `ext4`, `xfs`, …; empty: what the device has.
        fs_type: String,
    },
    /// Mount on the call's path.
    Mount(Mount),
    /// Make a folder.
    MakeDirectory {
        /// Where.
        at: GrantedDirectory,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: Option<u32>,
        /// Group.
        gid: Option<u32>,
    },
    /// Write one setting of the device's request queue.
    SetBlockQueue {
        /// A file name under `queue/`.
        key: String,
        /// What to write.
        value: String,
    },
    /// Put the device at the call's path.
    BlockDevice {
        /// The workload only reads.
        read_only: bool,
    },
}

impl Step {
    /// The step's word in a manifest's and an operator's list of steps.
    pub fn word(&self) -> &'static str {
        match self {
            Self::FindDevice(_) => "find-device",
            Self::Format { .. } => "format",
            Self::Check { .. } => "check",
            Self::Grow { .. } => "grow",
            Self::Mount(mount) => match mount.source {
                MountSource::Device => "mount-device",
                MountSource::Staged => "mount-staged",
                MountSource::Directory(_) => "mount-directory",
                MountSource::Nfs { .. } => "mount-nfs",
                MountSource::Fuse { .. } => "mount-fuse",
            },
            Self::MakeDirectory { .. } => "make-directory",
            Self::SetBlockQueue { .. } => "set-block-queue",
            Self::BlockDevice { .. } => "block-device",
        }
    }
}

/// A device by the serial that the cloud gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindDevice {
    /// Exactly as the device reports it.
    pub serial: String,
    /// Names under the by-id folder, best first.
    pub links: Vec<String>,
    /// At least this large; zero: any.
    pub minimum_bytes: u64,
}

/// A folder that the operator named, and a path under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantedDirectory {
    /// The operator's name for the folder.
    pub root: String,
    /// Relative; no link is followed out of the root.
    pub path: String,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountSource {
    /// The found device.
    Device,
    /// What the volume was staged as.
    Staged,
    /// A granted folder.
    Directory(GrantedDirectory),
    /// An NFS export.
    Nfs {
        /// Host name or address.
        server: String,
        /// Export path.
        path: String,
        /// Mount options.
        options: Vec<String>,
    },
    /// A granted helper program.
    Fuse {
        /// The operator's name for the program.
        helper: String,
        /// One argument each.
        arguments: Vec<String>,
        /// The account whose credential goes into a file.
        credential: Option<String>,
    },
}

/// A mount on the call's path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What.
    pub source: MountSource,
    /// As what; empty: bind.
    pub fs_type: String,
    /// Mount options.
    pub flags: Vec<String>,
    /// Read-only.
    pub read_only: bool,
}
