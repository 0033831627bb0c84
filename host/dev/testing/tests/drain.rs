//! The end of the server's process, where a program that it started does not end.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::transport::Endpoint;
use wharf_csi::proto::node_client::NodeClient;
use wharf_csi::proto::volume_capability::access_mode::Mode;
use wharf_csi::proto::volume_capability::{AccessMode, AccessType, MountVolume};
use wharf_csi::proto::{NodeStageVolumeRequest, VolumeCapability};
use wharf_testing::bed::{Bed, BedOptions, CSI_DRIVER, Machine};
use wharf_testing::player::{CsiNode, CsiVolume, VolumeClass};
use wharf_testing::requirement;

/// A debug build on a loaded machine takes its time.
const STARTING: Duration = Duration::from_secs(60);
/// Less than the drain: no call is in flight.
const ENDING: Duration = Duration::from_secs(15);

/// In a mount namespace of its own `$1` stands where mkfs is, and few files may be open until the
/// server asks for more.
const START: &str = r#"mount --bind "$1" "$(readlink -f "$(command -v mkfs.ext4)")" && ulimit -Sn 256 && shift && exec "$@""#;

/// A node's server whose `mkfs.ext4` says who it is and hangs.
struct StuckServer {
    server: Child,
    mkfs: PathBuf,
}

impl StuckServer {
    fn start(bed: &Bed, machine: &Machine) -> Self {
        let (program, mkfs) = (machine.folder().join("mkfs"), machine.folder().join("mkfs.pid"));
        fs::write(
            &program,
            format!(
                "#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep infinity\n",
                mkfs.display()
            ),
        )
        .unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let wharf = machine.command(bed.parts(), &["csi", "--role", "node"]);
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", START, "sh"])
            .arg(&program)
            .arg(wharf.get_program())
            .args(wharf.get_args());
        let log = fs::File::create(machine.server_log()).unwrap();
        let server = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { server, mkfs }
    }

    /// The process id of the hanging mkfs, once there is one.
    fn mkfs(&self) -> Option<i32> {
        fs::read_to_string(&self.mkfs).ok()?.trim().parse().ok()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.server.id()).unwrap())
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.server.try_wait().unwrap()
    }
}

impl Drop for StuckServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        if let Some(mkfs) = self.mkfs() {
            let _ = kill(Pid::from_raw(mkfs), Signal::SIGKILL);
        }
    }
}

fn wait_for<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + within;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what} within {within:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Calls `NodeStageVolume` and hangs up as soon as `is_enough`.
fn begin_to_stage(volume: &CsiVolume, node: &CsiNode, is_enough: impl Fn() -> bool) {
    let mount = MountVolume { fs_type: "ext4".into(), ..Default::default() };
    let request = NodeStageVolumeRequest {
        volume_id: volume.handle.clone(),
        staging_target_path: volume.staging(node, CSI_DRIVER).display().to_string(),
        publish_context: volume.publish_context.clone(),
        volume_context: volume.context.clone(),
        volume_capability: Some(VolumeCapability {
            access_type: Some(AccessType::Mount(mount)),
            access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        }),
        ..Default::default()
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let socket = format!("unix://{}", node.socket.display());
    let call = runtime.spawn(async move {
        let channel = Endpoint::try_from(socket).unwrap().connect().await.unwrap();
        NodeClient::new(channel).node_stage_volume(request).await
    });
    wait_for("mkfs is started", STARTING, || {
        assert!(!call.is_finished(), "the call ended without it");
        is_enough().then_some(())
    });
    call.abort();
    // The reset that tells the server that nobody waits any more is still to be written.
    runtime.shutdown_timeout(Duration::from_millis(50));
}

fn soft_and_hard_limit_of_files(pid: Pid) -> Option<(String, String)> {
    let limits =
        fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("limits")).ok()?;
    let mut words = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .map(str::to_owned);
    Some((words.next()?, words.next()?))
}

#[test]
fn a_server_whose_mkfs_hangs_ends_when_it_is_told_to() {
    if !requirement::machine("a_server_whose_mkfs_hangs_ends_when_it_is_told_to") {
        return;
    }
    let bed = Bed::make(&BedOptions { nodes: 1, ..BedOptions::default() }).unwrap();
    bed.manager().serve("controller", bed.parts()).unwrap();
    let (csi, machine) = (bed.csi(), bed.node(0));
    let mut server = StuckServer::start(&bed, machine);
    wait_for("the server answers", STARTING, || {
        std::os::unix::net::UnixStream::connect(machine.socket()).ok()
    });
    let node = csi.register(machine.name(), &machine.socket(), &machine.kubelet()).unwrap();
    let mut volume = csi
        .provision(
            "pvc-stuck",
            1 << 30,
            &VolumeClass::file_system("ext4", &[("type", "cloud_auto")]),
        )
        .unwrap();
    csi.attach(&mut volume, &node).unwrap();
    begin_to_stage(&volume, &node, || server.mkfs().is_some());

    let (soft, hard) = soft_and_hard_limit_of_files(server.pid()).unwrap();
    assert_eq!(soft, hard, "a server may open as many files as the machine lets it");
    kill(server.pid(), Signal::SIGTERM).unwrap();
    let ended = wait_for("the server ends", ENDING, || server.ended());
    assert!(ended.success(), "{ended}: {}", fs::read_to_string(machine.server_log()).unwrap());
    assert!(!machine.socket().exists());
}
