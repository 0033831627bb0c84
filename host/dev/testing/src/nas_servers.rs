//! The servers behind a simulated region's file storage, in a machine with an NFS server
//! ([`crate::nfs_machine`]): one for every mount target and access point, under the name that the
//! cloud gives it. What the region knows is followed when the caller says so.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use wharf_cloudsim::Region;

use crate::nfs_server::NfsServer;

/// See above.
pub struct NasServers {
    /// Shown as `/etc/hosts`.
    hosts: PathBuf,
    servers: BTreeMap<String, NfsServer>,
}

impl NasServers {
    /// None yet. Ends the machine's own answering of the mount protocol, which is at every address;
    /// the port stays on its list, and is that of all servers.
    ///
    /// # Errors
    /// When names cannot be given.
    pub fn begin(directory: &Path) -> io::Result<Self> {
        // None: an earlier one has ended it.
        Command::new("pkill").args(["-KILL", "-x", "rpc.mountd"]).status()?;
        let hosts = directory.join("hosts");
        fs::write(&hosts, "127.0.0.1 localhost\n")?;
        let status = Command::new("mount").arg("--bind").arg(&hosts).arg("/etc/hosts").status()?;
        if !status.success() {
            return Err(io::Error::other(format!("mount --bind on /etc/hosts: {status}")));
        }
        Ok(Self { hosts, servers: BTreeMap::new() })
    }

    /// Starts the servers of what is new in the region, and ends those of what is gone.
    ///
    /// # Errors
    /// When a server cannot be started.
    pub fn follow(&mut self, region: &Region) -> io::Result<()> {
        let mut wanted = BTreeMap::new();
        for system in region.file_systems() {
            for name in system.mount_targets {
                wanted.insert(name, system.directory.clone());
            }
            for (name, root) in system.access_points {
                wanted.insert(name, system.directory.join(root.trim_start_matches('/')));
            }
        }
        self.servers.retain(|name, _| wanted.contains_key(name));
        for (name, directory) in wanted {
            if let Entry::Vacant(place) = self.servers.entry(name) {
                place.insert(NfsServer::of(&directory)?);
            }
        }
        let line = |(name, server): (&String, &NfsServer)| format!("{} {name}\n", server.address());
        let lines: String = self.servers.iter().map(line).collect();
        // In its place: what is mounted is this file.
        fs::write(&self.hosts, format!("127.0.0.1 localhost\n{lines}"))
    }

    /// The server of a mount target or access point.
    ///
    /// # Panics
    /// When the region had none of that name when it was followed last.
    #[allow(clippy::panic, reason = "a test asked for what is not there")]
    pub fn of(&self, name: &str) -> &NfsServer {
        self.servers.get(name).unwrap_or_else(|| panic!("there is no server {name}"))
    }
}

impl Drop for NasServers {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("/etc/hosts").status();
    }
}
