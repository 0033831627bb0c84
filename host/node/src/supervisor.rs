//! The supervisor of mount helpers (`wharf mounts`): the process under which FUSE programs run, so
//! that neither an update nor the death of whoever asked for a mount touches it.
//!
//! - `server`: the socket and the loop. `registry`: who works on which mount. `mount`: what is done
//!   about one, in order. `decide`: what has to be done, from what is true. `record`: what is
//!   remembered.
//! - `earlier`: mounts at a target that somebody else made.
//! - `launch`, `private`, `cgroups`: a helper's process, directory and control group. `log`: files
//!   that stay within a bound.
//! - `connections`: what a file system is known by. `namespaces`, `repair`: giving a new mount to
//!   every mount point that showed a dead one, inside of running containers too.
//! - `protocol`, `client`: how the rest of the host asks for all this.
//!
//! Left out: what a helper serves, and what its arguments mean. Profiles
//! ([`wharf_core::helper_profile`]) come with each request, so the supervisor reads no
//! configuration and need not be started again when that changes.

use std::path::{Path, PathBuf};

mod cgroups;
mod client;
mod connections;
mod context;
mod decide;
mod earlier;
mod launch;
mod log;
mod mount;
mod namespaces;
mod private;
pub(crate) mod profiles;
mod protocol;
mod record;
mod registry;
mod repair;
mod server;

pub use client::{Client, Served, StartCommand};
pub use profiles::shipped as shipped_profile;
pub use protocol::{Condition, Credential, CredentialFile, Ending, MountRequest, Spec, Status};
pub use server::serve;

/// Where a supervisor has its things.
#[derive(Debug, Clone)]
pub struct SupervisorOptions {
    /// Records of mounts live below it, in `mounts`.
    pub state_directory: PathBuf,
    /// The socket, and a private directory for each helper. On a tmpfs: it does not outlive the
    /// machine.
    pub run_directory: PathBuf,
    /// Helper programs are looked for here, in this order.
    pub program_path: Vec<PathBuf>,
    /// The control groups' mount.
    pub cgroups: PathBuf,
    /// Whether the supervisor leaves the control group of whoever started it. Not under a service
    /// manager or in a container, which know it by that.
    pub leave_cgroup: bool,
}

impl Default for SupervisorOptions {
    fn default() -> Self {
        Self {
            state_directory: "/var/lib/wharf/state".into(),
            run_directory: "/run/wharf/mounts".into(),
            program_path: [
                "/usr/local/sbin",
                "/usr/local/bin",
                "/usr/sbin",
                "/usr/bin",
                "/sbin",
                "/bin",
            ]
            .map(PathBuf::from)
            .to_vec(),
            cgroups: "/sys/fs/cgroup".into(),
            leave_cgroup: false,
        }
    }
}

fn socket_path(run_directory: &Path) -> PathBuf {
    run_directory.join("supervisor.sock")
}

/// Where a supervisor writes what nobody else keeps.
fn log_path(run_directory: &Path) -> PathBuf {
    run_directory.join("supervisor.log")
}
