//! A node's server whose mkfs hangs, and a call that waits for it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tonic::transport::Endpoint;
use wharf_csi::proto::node_client::NodeClient;
use wharf_csi::proto::volume_capability::access_mode::Mode;
use wharf_csi::proto::volume_capability::{AccessMode, AccessType, MountVolume};
use wharf_csi::proto::{NodeStageVolumeRequest, VolumeCapability};
use wharf_testing::bed::{Bed, CSI_DRIVER, Machine};
use wharf_testing::player::VolumeClass;

/// A debug build on a loaded machine takes its time.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const GIB: u64 = 1 << 30;

/// In a mount namespace of its own `$1` stands where mkfs is, and few files may be open until the
/// server asks for more.
const START: &str = r#"mount --bind "$1" "$(readlink -f "$(command -v mkfs.ext4)")" && ulimit -Sn 256 && shift && exec "$@""#;

/// A node's server whose `mkfs.ext4` says who it is and hangs.
pub struct StuckServer<'a> {
    machine: &'a Machine,
    server: Child,
}

impl<'a> StuckServer<'a> {
    /// Started, and answering. `more`: arguments of `wharf csi --role node`.
    pub fn start(bed: &Bed, machine: &'a Machine, more: &[&str]) -> Self {
        let (program, mkfs) =
            (machine.directory().join("mkfs"), machine.directory().join("mkfs.pid"));
        let script = format!(
            "#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep infinity\n",
            mkfs.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let wharf = machine.command(bed.parts(), &[&["csi", "--role", "node"], more].concat());
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
        let server = Self { machine, server };
        wait_for("the server answers", PATIENCE, || UnixStream::connect(machine.socket()).ok());
        server
    }

    /// The process id of the hanging mkfs, once there is one.
    pub fn mkfs(&self) -> Option<i32> {
        let pid = fs::read_to_string(self.machine.directory().join("mkfs.pid")).ok()?;
        pid.trim().parse().ok()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.server.id()).unwrap())
    }

    pub fn terminate(&self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.server.try_wait().unwrap()
    }

    /// A new volume, and a call of `NodeStageVolume` for it with so much time, in the background.
    pub fn begin_to_stage(&self, bed: &Bed, time: Duration) -> Staging {
        let (csi, machine) = (bed.csi(), self.machine);
        let node = csi.register(machine.name(), &machine.socket(), &machine.kubelet()).unwrap();
        let class = VolumeClass::file_system("ext4", &[("type", "cloud_auto")]);
        let mut volume = csi.provision("pvc-stuck", GIB, &class).unwrap();
        csi.attach(&mut volume, &node).unwrap();
        let mount = MountVolume { fs_type: "ext4".into(), ..Default::default() };
        let mut request = tonic::Request::new(NodeStageVolumeRequest {
            volume_id: volume.handle.clone(),
            staging_target_path: volume.staging(&node, CSI_DRIVER).display().to_string(),
            publish_context: volume.publish_context.clone(),
            volume_context: volume.context.clone(),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(mount)),
                access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
            }),
            ..Default::default()
        });
        request.set_timeout(time);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let socket = format!("unix://{}", node.socket.display());
        let call = runtime.spawn(async move {
            let channel = Endpoint::try_from(socket).unwrap().connect().await.unwrap();
            // What it is answered is the server's log's to tell.
            let _ = NodeClient::new(channel).node_stage_volume(request).await;
        });
        Staging { runtime, call }
    }
}

impl Drop for StuckServer<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if let Some(mkfs) = self.mkfs() {
            let _ = kill(Pid::from_raw(mkfs), Signal::SIGKILL);
        }
    }
}

/// A call under way. Its client hangs up when this is dropped.
pub struct Staging {
    runtime: Runtime,
    call: JoinHandle<()>,
}

impl Staging {
    pub fn is_finished(&self) -> bool {
        self.call.is_finished()
    }

    pub fn hang_up(self) {
        self.call.abort();
        // The reset that tells the server that nobody waits any more is still to be written.
        self.runtime.shutdown_timeout(Duration::from_millis(50));
    }
}

pub fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} within {within:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
