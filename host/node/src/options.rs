//! Where things are on this node, and how long they may take.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::supervisor::Client;

/// What a [`crate::LinuxNode`] is made from. Nothing is looked at before the first call that needs
/// it.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// Records, locks and format intents live here. Root's alone (0700); made when missing.
    pub state_directory: PathBuf,
    /// Where udev names devices by their serial.
    pub device_links: PathBuf,
    /// Where udev names devices by where they are plugged in.
    pub device_paths: PathBuf,
    /// Staging and target paths must lie under one of these (kubelet's root directory, usually). A
    /// root itself may be reached through links: that is the operator's choice. Below it no
    /// link is followed.
    pub roots: Vec<PathBuf>,
    /// Devices that may be volumes: paths under `/dev`, a trailing `*` for every rest. Empty: all,
    /// but for those that the node itself uses.
    pub devices: Vec<String>,
    /// The sysfs mount.
    pub sysfs: PathBuf,
    /// How long a device, or its new size, is waited for, when the call leaves that much time.
    pub device_wait: Duration,
    /// Bounds of the programs that are started.
    pub bounds: ProgramBounds,
    /// Programs are looked for here, in this order, and nowhere else.
    pub program_path: Vec<PathBuf>,
    /// Who keeps mounts that helper programs serve; `None`: there are none.
    pub supervisor: Option<Client>,
    /// How long a server, or a process that serves a mount, is waited for before it counts as dead.
    pub patience: Duration,
    /// The command line of a process that calls [`crate::answer_parent`]. Empty: this program's
    /// own, with [`crate::CHILD_COMMAND`].
    pub child_command: Vec<OsString>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            state_directory: "/var/lib/wharf/state".into(),
            device_links: "/dev/disk/by-id".into(),
            device_paths: "/dev/disk/by-path".into(),
            roots: vec!["/var/lib/kubelet".into()],
            devices: Vec::new(),
            sysfs: "/sys".into(),
            // udev needs well under a second; a hot-plugged disk shows up within ten on a busy
            // node.
            device_wait: Duration::from_secs(30),
            bounds: ProgramBounds::default(),
            program_path: ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from).to_vec(),
            supervisor: None,
            // One that lives answers in milliseconds; kubelet asks for statistics every minute.
            patience: Duration::from_secs(5),
            child_command: Vec::new(),
        }
    }
}

/// How long each kind of program may run. They are not cut off by the caller's deadline: a program
/// that changes a disk and is killed at every deadline would never finish, while the next call
/// finds its work done.
#[derive(Debug, Clone, Copy)]
pub struct ProgramBounds {
    /// Looking at a device: reads a few MiB.
    pub probe: Duration,
    /// Making a file system; discarding 32 TiB takes minutes.
    pub format: Duration,
    /// Checking one: a full check of a large, crashed ext4 takes long, and killing it helps
    /// nobody.
    pub check: Duration,
    /// Growing one.
    pub grow: Duration,
}

impl Default for ProgramBounds {
    fn default() -> Self {
        Self {
            probe: Duration::from_secs(30),
            format: Duration::from_secs(1800),
            check: Duration::from_secs(7200),
            grow: Duration::from_secs(1800),
        }
    }
}
