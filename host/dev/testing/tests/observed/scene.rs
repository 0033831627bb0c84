//! A bed whose pages are looked at, and a node whose mkfs hangs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::transport::Endpoint;
use wharf_csi::proto::node_client::NodeClient;
use wharf_csi::proto::volume_capability::access_mode::Mode;
use wharf_csi::proto::volume_capability::{AccessMode, AccessType, MountVolume};
use wharf_csi::proto::{NodeStageVolumeRequest, VolumeCapability};
use wharf_testing::bed::{Bed, CSI_DRIVER, Machine};
use wharf_testing::player::{CsiNode, CsiVolume, VolumeClass};

/// A debug build on a loaded machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const GIB: u64 = 1 << 30;

pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The line of one check.
pub fn check(machine: &Machine, page: &str, check: &str) -> String {
    let (_, text) = machine.page(page).unwrap();
    let of =
        |line: &&str| line.get(3..).is_some_and(|rest| rest.starts_with(&format!("{check}: ")));
    text.lines().find(of).unwrap_or_else(|| panic!("no check `{check}`:\n{text}")).to_owned()
}

pub fn add_to_configuration(machine: &Machine, text: &str) {
    let config = fs::read_to_string(machine.config()).unwrap();
    fs::write(machine.config(), config + text).unwrap();
}

/// In a mount namespace of its own `$1` stands where mkfs is.
const START: &str =
    r#"mount --bind "$1" "$(readlink -f "$(command -v mkfs.ext4)")" && shift && exec "$@""#;

/// A node's server whose `mkfs.ext4` hangs, with a call that waits for it beyond its deadline.
pub struct StuckNode<'a> {
    machine: &'a Machine,
    server: Child,
}

impl<'a> StuckNode<'a> {
    pub fn start(bed: &Bed, machine: &'a Machine) -> Self {
        let (program, pid) = (machine.folder().join("mkfs"), machine.folder().join("mkfs.pid"));
        let script = format!(
            "#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep infinity\n",
            pid.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let http = format!("unix://{}", machine.http().display());
        let wharf = machine.command(bed.parts(), &["csi", "--role", "node", "--http", &http]);
        let log = fs::File::create(machine.server_log()).unwrap();
        let server = Command::new("unshare")
            .args(["--mount", "sh", "-c", START, "sh"])
            .arg(&program)
            .arg(wharf.get_program())
            .args(wharf.get_args())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let node = Self { machine, server };
        wait_for("the server", || UnixStream::connect(machine.socket()).ok());
        wait_for("HTTP", || UnixStream::connect(machine.http()).ok());
        node
    }

    pub fn mkfs(&self) -> Option<i32> {
        let pid = fs::read_to_string(self.machine.folder().join("mkfs.pid")).ok()?;
        pid.trim().parse().ok()
    }

    pub fn terminate(&self) {
        let pid = Pid::from_raw(i32::try_from(self.server.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
    }

    /// A volume that is to be staged, and a call that stages it with so much time.
    pub fn begin_to_stage(&self, bed: &Bed, time: Duration) -> tokio::runtime::Runtime {
        let csi = bed.csi();
        let machine = self.machine;
        let node = csi.register(machine.name(), &machine.socket(), &machine.kubelet()).unwrap();
        let class = VolumeClass::file_system("ext4", &[("type", "cloud_auto")]);
        let mut volume = csi.provision("pvc-stuck", GIB, &class).unwrap();
        csi.attach(&mut volume, &node).unwrap();
        let runtime = stage(&volume, &node, time);
        wait_for("mkfs is started", || self.mkfs());
        runtime
    }
}

/// A call of `NodeStageVolume` that goes on in the background.
fn stage(volume: &CsiVolume, node: &CsiNode, time: Duration) -> tokio::runtime::Runtime {
    let mount = MountVolume { fs_type: "ext4".into(), ..Default::default() };
    let mut request = tonic::Request::new(NodeStageVolumeRequest {
        volume_id: volume.handle.clone(),
        staging_target_path: volume.staging(node, CSI_DRIVER).display().to_string(),
        publish_context: volume.publish_context.clone(),
        volume_context: volume.context.clone(),
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(mount)),
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        }),
        ..Default::default()
    });
    request.set_timeout(time);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let socket = format!("unix://{}", node.socket.display());
    runtime.spawn(async move {
        let channel = Endpoint::try_from(socket).unwrap().connect().await.unwrap();
        NodeClient::new(channel).node_stage_volume(request).await
    });
    runtime
}

impl Drop for StuckNode<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if let Some(mkfs) = self.mkfs() {
            let _ = kill(Pid::from_raw(mkfs), Signal::SIGKILL);
        }
    }
}
