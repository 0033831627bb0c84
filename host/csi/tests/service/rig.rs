//! One driver, served; clients to call it; messages to call it with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use wharf_core::controller::Controller;
use wharf_core::node::NodeService;
use wharf_core::types::{NodeId, Volume, VolumeId};
use wharf_csi::proto;
use wharf_csi::proto::controller_client::ControllerClient;
use wharf_csi::proto::identity_client::IdentityClient;
use wharf_csi::proto::node_client::NodeClient;
use wharf_csi::proto::volume_capability::access_mode::Mode;
use wharf_csi::proto::volume_capability::{AccessMode, AccessType, MountVolume};
use wharf_csi::{Driver, Registration, ServeError, serve};
use wharf_testing::fakes::{FakeBackend, FakeClock, FakeNode, Hold, generous_policy};

pub const NAME: &str = "fake.csi.example";
pub const GIB: i64 = 1 << 30;

/// A served driver. Kubelet's directory is `/kubelet`, which exists only in the fake node.
pub struct Rig {
    pub backend: Arc<FakeBackend>,
    pub node: Arc<FakeNode>,
    pub clock: Arc<FakeClock>,
    pub socket: PathBuf,
    pub registration: Arc<Registration>,
    shutdown: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<(), ServeError>>,
    _directory: TempDir,
}

impl Rig {
    pub async fn start() -> Self {
        Self::start_with_drain(Duration::from_secs(60)).await
    }

    /// One that offers itself to kubelet. To find out whether its socket answers it probes itself,
    /// so its backend is asked something before the test does.
    pub async fn start_registered() -> Self {
        Self::start_with(Duration::from_secs(60), true).await
    }

    pub async fn start_with_drain(drain: Duration) -> Self {
        Self::start_with(drain, false).await
    }

    async fn start_with(drain: Duration, is_registered: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("csi.sock");
        let registration = directory.path().join(format!("plugins_registry/{NAME}-reg.sock"));
        let registration = Arc::new(Registration::at(registration));
        let (backend, node, clock) = (
            Arc::new(FakeBackend::new(NAME)),
            Arc::new(FakeNode::default()),
            Arc::new(FakeClock::default()),
        );
        let driver = Driver {
            name: NAME.into(),
            version: "9.8.7".into(),
            controller: Some(Arc::new(Controller::new(NAME, backend.clone(), clock.clone()))),
            node: Some(Arc::new(NodeService::new(
                NAME,
                backend.clone(),
                node.clone(),
                clock.clone(),
                generous_policy(),
            ))),
            clock: clock.clone(),
            allowed_roots: vec!["/kubelet".into()],
            drain,
            registration: is_registered.then(|| registration.clone()),
            observer: None,
        };
        let (shutdown, ended) = oneshot::channel();
        let path = socket.clone();
        let server =
            tokio::spawn(async move { serve(driver, &path, async { drop(ended.await) }).await });
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
        Self {
            backend,
            node,
            clock,
            socket,
            registration,
            shutdown: Some(shutdown),
            server,
            _directory: directory,
        }
    }

    pub async fn channel(&self) -> Channel {
        // The file appears a moment before anybody listens on it.
        loop {
            match Endpoint::try_from(format!("unix://{}", self.socket.display()))
                .unwrap()
                .connect()
                .await
            {
                Ok(channel) => return channel,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    pub async fn identity(&self) -> IdentityClient<Channel> {
        IdentityClient::new(self.channel().await)
    }

    pub async fn controller(&self) -> ControllerClient<Channel> {
        ControllerClient::new(self.channel().await)
    }

    pub async fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(self.channel().await)
    }

    /// A volume of the cloud, attached to nobody.
    pub fn volume(&self, id: &str) -> String {
        let attached_to: Vec<NodeId> = Vec::new();
        self.backend.adopt(Volume {
            id: VolumeId::new(id),
            capacity_bytes: 1 << 30,
            context: vec![],
            topology: vec![],
            source: None,
            attached_to,
            condition: None,
        });
        id.to_owned()
    }

    /// Another server for the same CSI socket, with a registration socket of its own.
    pub fn rival(&self) -> (JoinHandle<Result<(), ServeError>>, Arc<Registration>) {
        let registration = Arc::new(Registration::at(self.socket.with_file_name("rival-reg.sock")));
        let driver = Driver {
            name: NAME.into(),
            version: "9.8.7".into(),
            controller: None,
            node: None,
            clock: self.clock.clone(),
            allowed_roots: vec!["/kubelet".into()],
            drain: Duration::from_secs(60),
            registration: Some(registration.clone()),
            observer: None,
        };
        let path = self.socket.clone();
        (
            tokio::spawn(async move { serve(driver, &path, std::future::pending()).await }),
            registration,
        )
    }

    pub fn begin_shutdown(&mut self) {
        drop(self.shutdown.take());
    }

    pub async fn wait_for_end(self) -> Result<(), ServeError> {
        self.server.await.unwrap()
    }
}

/// Waits on a thread that may block.
pub async fn until_held(hold: &Hold, calls: usize) {
    let hold = hold.clone();
    assert!(
        tokio::task::spawn_blocking(move || hold.wait_for_calls(calls)).await.unwrap(),
        "the call does not arrive"
    );
}

/// The same for calls that were cancelled.
pub async fn until_cancelled(hold: &Hold, calls: usize) {
    let hold = hold.clone();
    assert!(
        tokio::task::spawn_blocking(move || hold.wait_for_cancellations(calls)).await.unwrap(),
        "the call is not cancelled"
    );
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn capability(mode: Mode) -> proto::VolumeCapability {
    let mount = MountVolume { fs_type: "ext4".into(), ..Default::default() };
    proto::VolumeCapability {
        access_type: Some(AccessType::Mount(mount)),
        access_mode: Some(AccessMode { mode: mode.into() }),
    }
}

pub fn writer() -> proto::VolumeCapability {
    capability(Mode::SingleNodeWriter)
}

pub fn gib(required: i64) -> Option<proto::CapacityRange> {
    Some(proto::CapacityRange { required_bytes: required * GIB, limit_bytes: 0 })
}

pub fn create(name: &str) -> proto::CreateVolumeRequest {
    proto::CreateVolumeRequest {
        name: name.into(),
        volume_capabilities: vec![writer()],
        capacity_range: gib(1),
        ..Default::default()
    }
}

pub fn attach(volume: &str, node: &str) -> proto::ControllerPublishVolumeRequest {
    proto::ControllerPublishVolumeRequest {
        volume_id: volume.into(),
        node_id: node.into(),
        volume_capability: Some(writer()),
        ..Default::default()
    }
}

pub fn detach(volume: &str, node: &str) -> proto::ControllerUnpublishVolumeRequest {
    proto::ControllerUnpublishVolumeRequest {
        volume_id: volume.into(),
        node_id: node.into(),
        ..Default::default()
    }
}

pub fn delete(volume: &str) -> proto::DeleteVolumeRequest {
    proto::DeleteVolumeRequest { volume_id: volume.into(), ..Default::default() }
}

pub fn get(volume: &str) -> proto::ControllerGetVolumeRequest {
    proto::ControllerGetVolumeRequest { volume_id: volume.into() }
}

pub fn expand(volume: &str, size: i64) -> proto::ControllerExpandVolumeRequest {
    proto::ControllerExpandVolumeRequest {
        volume_id: volume.into(),
        capacity_range: gib(size),
        ..Default::default()
    }
}

pub fn stage(volume: &str) -> proto::NodeStageVolumeRequest {
    proto::NodeStageVolumeRequest {
        volume_id: volume.into(),
        staging_target_path: staging(volume),
        volume_capability: Some(writer()),
        ..Default::default()
    }
}

pub fn unstage(volume: &str) -> proto::NodeUnstageVolumeRequest {
    proto::NodeUnstageVolumeRequest {
        volume_id: volume.into(),
        staging_target_path: staging(volume),
    }
}

pub fn publish(volume: &str, pod: &str) -> proto::NodePublishVolumeRequest {
    proto::NodePublishVolumeRequest {
        volume_id: volume.into(),
        staging_target_path: staging(volume),
        target_path: target(volume, pod),
        volume_capability: Some(writer()),
        ..Default::default()
    }
}

pub fn unpublish(volume: &str, pod: &str) -> proto::NodeUnpublishVolumeRequest {
    proto::NodeUnpublishVolumeRequest { volume_id: volume.into(), target_path: target(volume, pod) }
}

pub fn grow(volume: &str, pod: &str, size: i64) -> proto::NodeExpandVolumeRequest {
    proto::NodeExpandVolumeRequest {
        volume_id: volume.into(),
        volume_path: target(volume, pod),
        capacity_range: gib(size),
        ..Default::default()
    }
}

pub fn look(volume: &str, pod: &str) -> proto::NodeGetVolumeStatsRequest {
    proto::NodeGetVolumeStatsRequest {
        volume_id: volume.into(),
        volume_path: target(volume, pod),
        ..Default::default()
    }
}

pub fn staging(volume: &str) -> String {
    format!("/kubelet/plugins/kubernetes.io/csi/{NAME}/{volume}/globalmount")
}

pub fn target(volume: &str, pod: &str) -> String {
    format!("/kubelet/pods/{pod}/volumes/kubernetes.io~csi/{volume}/mount")
}

pub fn is_mounted(rig: &Rig, path: &str) -> bool {
    rig.node.mounts().iter().any(|mounted| mounted == Path::new(path))
}
