//! Exports, and servers that can be stopped.
//!
//! The machine's NFS server listens on 127.0.0.1. Each [`Server`] here is another loopback address
//! at which a forwarder passes everything on to it.

use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tempfile::TempDir;
use wharf_core::Error;
use wharf_core::plan::{MountNfs, MountPlace, Plan, Step};
use wharf_core::policy::{NfsPolicy, NodePolicy};
use wharf_core::ports::{Call, CallSecrets, Clock, Node, Performer, PlanRun, RemovePath, Stats};
use wharf_core::types::VolumeId;
use wharf_node::{LinuxNode, NodeOptions, SystemClock};
use wharf_testing::nfs_server::{Forwarder, MOUNT_PORT, NFS_PORT, next_number};

/// A directory that is exported under the same path to NFSv3 and NFSv4.
pub struct Export(PathBuf);

impl Export {
    pub fn new() -> Self {
        let number = next_number();
        let path = PathBuf::from(format!("/export/{number}"));
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("rw,async,no_root_squash,insecure,no_subtree_check,fsid={number}");
        sh(&format!("exportfs -o {options} '*:{}'", path.display()));
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        // It may be busy, and the machine goes with everything in it.
        let _ = Command::new("exportfs").args(["-u", &format!("*:{}", self.0.display())]).output();
    }
}

/// An NFS server of its own, to its clients: passes everything on to the machine's.
pub struct Server(Forwarder);

impl Server {
    pub fn start() -> Self {
        // The kernel's mountd listens on every address, so this one has another port.
        let ports = [(NFS_PORT, NFS_PORT), (MOUNT_PORT + 1, MOUNT_PORT)];
        let reach = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        Self(Forwarder::start(&ports, Arc::new(reach)).unwrap())
    }

    pub fn address(&self) -> String {
        self.0.address().to_string()
    }
}

impl Deref for Server {
    type Target = Forwarder;

    fn deref(&self) -> &Forwarder {
        &self.0
    }
}

/// For what only a test does; fails the test when the command fails.
pub fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A node in this machine, with a directory that stands for kubelet's.
pub struct Bed {
    directory: TempDir,
    /// Of the node, which the first call makes.
    pub options: NodeOptions,
    node: OnceLock<LinuxNode>,
    /// What the operator says of NFS.
    pub nfs: NfsPolicy,
}

/// Long enough for everything that ends well.
pub const LONG: Duration = Duration::from_secs(60);

impl Bed {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["kubelet", "state"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let options = NodeOptions {
            state_directory: directory.path().join("state"),
            roots: vec![directory.path().join("kubelet")],
            ..NodeOptions::default()
        };
        let servers = vec!["127.0.0.0/8".into(), "::1".into(), "*.test".into()];
        let mut nfs = NfsPolicy { servers, ..NfsPolicy::default() };
        nfs.options.push("no_such_option".into());
        Self { directory, options, node: OnceLock::new(), nfs }
    }

    /// One for all calls, as a server has it.
    pub fn node(&self) -> &LinuxNode {
        self.node.get_or_init(|| LinuxNode::new(self.options.clone()))
    }

    /// A path under kubelet's directory.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join("kubelet").join(relative)
    }

    /// How what is mounted there is.
    pub fn look(&self, path: &str) -> Stats {
        self.node().stats(&within(LONG), &self.path(path)).unwrap()
    }

    pub fn policy(&self) -> NodePolicy {
        NodePolicy {
            steps: Step::NAMES.iter().map(|word| (*word).to_owned()).collect(),
            nfs: self.nfs.clone(),
            ..NodePolicy::default()
        }
    }

    pub fn run(&self, steps: Vec<Step>, destination: &str) -> Result<(), Error> {
        self.run_within(LONG, steps, destination)
    }

    pub fn run_within(
        &self,
        time: Duration,
        steps: Vec<Step>,
        destination: &str,
    ) -> Result<(), Error> {
        let plan = Plan { steps, summary: String::new() };
        if plan.check_needs_no_path().is_ok() {
            return self.node().perform(&within(time), &plan, &self.policy());
        }
        let run = PlanRun {
            plan: &plan,
            policy: &self.policy(),
            driver: "driver",
            volume: &VolumeId::new(destination),
            destination: &self.path(destination),
            staged: None,
            secrets: CallSecrets::NONE,
        };
        self.node().run(&within(time), &run).map(drop)
    }

    pub fn unmount(&self, path: &str, time: Duration) -> Result<(), Error> {
        self.node().unmount(&within(time), &self.path(path), RemovePath::Yes)
    }

    pub fn is_mounted(&self, path: &str) -> bool {
        self.node().is_mounted(&self.path(path)).unwrap()
    }

    /// How many processes work in this bed's directory for paths.
    pub fn processes_below(&self) -> usize {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let at = processes.filter_map(|entry| entry.path().join("cwd").read_link().ok());
        at.filter(|at| at.starts_with(self.path(""))).count()
    }

    /// This bed's lines of the mount table.
    pub fn mounts(&self) -> Vec<String> {
        let directory = self.directory.path().display().to_string();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().filter(|line| line.contains(&directory)).map(str::to_owned).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        for line in self.mounts().iter().rev() {
            let point = line.split(' ').nth(4).unwrap_or_default();
            let _ = Command::new("umount").args(["-f", "-l", point]).output();
        }
    }
}

pub fn within(time: Duration) -> Call {
    Call::until(SystemClock.now() + time)
}

/// Versions of the protocol that the cloud's servers speak, and one more.
pub const VERSIONS: [&str; 3] = ["vers=3,nolock", "vers=4.0", "vers=4.1"];

/// With locks, for which a program has to run beside the kernel's client.
pub const WITH_LOCKS: &str = "vers=3";

pub fn mount(server: &Server, path: &Path, version: &str) -> MountNfs {
    MountNfs {
        server: server.address(),
        path: path.display().to_string(),
        options: vec![version.to_owned(), "proto=tcp,noresvport,hard".to_owned()],
        read_only: false,
        place: MountPlace::Target,
        make_path: None,
    }
}

pub fn scratch(server: &Server, path: &Path, version: &str) -> Step {
    MountNfs { place: MountPlace::Scratch, ..mount(server, path, version) }.into()
}

/// A process that writes to a file until it is told to stop: piece by piece, each of which is with
/// its server before the next. It ends by itself at the first error.
pub struct Writing {
    process: Child,
    /// Where the server has the file.
    kept: PathBuf,
}

impl Writing {
    pub fn begin(file: &Path, kept: PathBuf) -> Self {
        let process = Command::new("dd")
            .args(["if=/dev/zero", "bs=4096", "oflag=dsync", "status=none"])
            .arg(format!("of={}", file.display()))
            .spawn()
            .unwrap();
        let mut this = Self { process, kept };
        this.wait_for_more();
        this
    }

    /// Returns when two pieces more are with the server.
    pub fn wait_for_more(&mut self) {
        let length = |file: &Path| std::fs::metadata(file).map_or(0, |found| found.len());
        let enough = length(&self.kept) + 2 * 4096;
        while length(&self.kept) < enough {
            self.check();
            std::thread::yield_now();
        }
    }

    pub fn check(&mut self) {
        assert_eq!(self.process.try_wait().unwrap(), None, "it met an error");
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two exported directories of one file system, mounted at `a` and `b`, of which the kernel makes
/// one file system too.
pub fn mount_two(bed: &Bed, export: &Export, server: &Server, version: &str) -> [MountNfs; 2] {
    let steps = ["a", "b"].map(|name| {
        let path = export.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let step = mount(server, &path, version);
        bed.run(vec![step.clone().into()], name).unwrap();
        step
    });
    let device = |name| std::fs::metadata(bed.path(name)).unwrap().dev();
    assert_eq!(device("a"), device("b"), "{version}");
    steps
}

/// What a call came to, and how long it took.
pub fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let result = call();
    (result, start.elapsed())
}
