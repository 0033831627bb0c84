//! The chart's arrangement: the driver in a process namespace of its own, beside a supervisor of
//! mounts that has the node's (`hostPID`), which alone reaches the mounts inside of containers.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use wharf_testing::bed::{Machine, Parts};
use wharf_testing::player::Access;

use super::cluster::{Cluster, holds, kill, read, until, write};

/// kubelet's directory as both containers have it: what one mounts there appears in the other.
struct Bidirectional(PathBuf);

impl Bidirectional {
    fn make(path: PathBuf) -> Self {
        let none = None::<&str>;
        mount(Some(&path), &path, none, MsFlags::MS_BIND, none).unwrap();
        mount(none, &path, none, MsFlags::MS_SHARED, none).unwrap();
        Self(path)
    }
}

impl Drop for Bidirectional {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// The driver's container. Its first process is the driver, which thus has no number that the
/// supervisor's container knows.
struct Driver<'a>(&'a Machine);

impl<'a> Driver<'a> {
    fn start(cluster: &'a Cluster) -> Self {
        let (machine, parts) = (cluster.bed.node(0), cluster.bed.parts());
        let contained = cluster.bed.directory().join("contained-wharf");
        let script = format!(
            "#!/bin/sh\nexec unshare --pid --fork --kill-child --mount-proc --propagation \
             unchanged {} \"$@\"\n",
            parts.wharf.display()
        );
        fs::write(&contained, script).unwrap();
        fs::set_permissions(&contained, Permissions::from_mode(0o755)).unwrap();
        machine.stop();
        machine.serve("node", &Parts { wharf: contained, ..parts.clone() }).unwrap();
        Self(machine)
    }

    /// The driver's process, as the node numbers it.
    fn pid(&self) -> Option<i32> {
        let outer = self.0.server_pid();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| self.0.stop());
            // `unshare` does not hand on that it is to end.
            while !stopping.is_finished() {
                let _ = self.pid().map(|pid| signal(Pid::from_raw(pid), Signal::SIGTERM));
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
    }
}

/// The supervisor's container, which somebody starts again when it has ended.
struct Supervisor<'a> {
    cluster: &'a Cluster,
    process: Child,
}

impl<'a> Supervisor<'a> {
    fn start(cluster: &'a Cluster) -> Self {
        Self { cluster, process: Self::spawn(cluster) }
    }

    fn spawn(cluster: &Cluster) -> Child {
        let machine = cluster.bed.node(0);
        let (run, state) = (machine.helper_mounts(), machine.state());
        let log = machine.directory().join("supervisor.log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let process = Command::new(&cluster.bed.parts().wharf)
            .args(["mounts", "serve", "--run"])
            .arg(run)
            .arg("--state")
            .arg(state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let arguments = ["mounts", "list"];
        until("the supervisor answers", || {
            let ran = machine.run(cluster.bed.parts(), &arguments).unwrap();
            ran.code == Some(0)
                && machine.supervisor_pid().is_some()
                && machine.helper_mounts().join("supervisor.sock").exists()
        });
        process
    }

    fn is_replaced(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::spawn(self.cluster);
    }
}

impl Drop for Supervisor<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A pod's container: a private copy of what the node mounts now.
struct Container(Child);

impl Container {
    fn start() -> Self {
        let mut child = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", "echo; exec sleep 4242"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }

    fn path(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.0.id())).join(path.strip_prefix("/").unwrap())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_driver_without_the_nodes_processes_stages_by_a_supervisor_that_has_them() {
    const TEST: &str = "a_driver_without_the_nodes_processes_stages_by_a_supervisor_that_has_them";
    let Some(cluster) = Cluster::of(TEST) else { return };
    let (csi, node, machine) = (&cluster.csi, &cluster.nodes[0], cluster.bed.node(0));
    let kubelet = Bidirectional::make(machine.kubelet());
    let mut supervisor = Supervisor::start(&cluster);
    let driver = Driver::start(&cluster);
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap();
    assert_ne!(namespace(&driver.pid().unwrap().to_string()), namespace("self"));
    assert_eq!(machine.supervisor_pid(), i32::try_from(supervisor.process.id()).ok());

    let mut volume = cluster.volume("pv-apart", Access::ManyNodes, &[]);
    let target = csi.start_pod(&mut volume, node, "pod").unwrap();
    write(&target, "data", "kept");
    let container = Container::start();
    let inside = container.path(&target);
    let is_healed = |what: &str| {
        kill(cluster.helper(0));
        until(what, || holds(&target, "data", "kept") && holds(&inside, "data", "kept"));
    };
    is_healed("the pod and its container have their files again");
    // What is staged is taken over by the next supervisor, and known to the next driver.
    let helper = cluster.helper(0);
    supervisor.is_replaced();
    assert_eq!(cluster.helper(0), helper, "it was adopted");
    machine.kill_server().unwrap();
    csi.stage(&volume, node).unwrap();
    csi.publish(&volume, node, "pod", false).unwrap();
    csi.publish(&volume, node, "pod-2", false).unwrap();
    assert_eq!(read(&volume.target(node, "pod-2"), "data"), "kept");
    assert_eq!(cluster.helper(0), helper, "no second one was started");
    is_healed("they have them again after both were replaced");
    csi.unpublish(&volume, node, "pod-2").unwrap();
    drop(container);
    csi.end_pod(&volume, node, "pod").unwrap();
    until("the supervisor has forgotten it", || cluster.mounts_of(0).is_empty());
    drop((driver, supervisor, kubelet));
    cluster.assert_empty();
}
