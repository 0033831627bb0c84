//! How kubelet learns of a driver: the plugin-registration service on a socket of its own, in a
//! directory that kubelet watches. What node-driver-registrar does in clusters whose drivers do
//! not.
//!
//! The socket exists while kubelet may use the driver: it is made once the CSI socket answers and
//! removed when the server begins to drain. Kubelet asks once for each socket that appears. Where
//! it then fails to register the driver it says so and does not ask again, so the socket is made
//! anew, later each time. Trouble here never ends the driver: mounts that exist have to be served.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_stream::StreamExt;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use wharf_core::backoff::Backoff;

use crate::authority::Rewritten;
use crate::probe::probe;
use crate::proto::registration as proto;
use crate::proto::registration::registration_server::{
    Registration as RegistrationService, RegistrationServer,
};
use crate::server::ServeError;
use crate::{accept, socket};

/// The kind of plugin that kubelet hands to its CSI code.
const PLUGIN_TYPE: &str = "CSIPlugin";
/// Kubelet compares the major version, and refuses an empty list.
const SUPPORTED_VERSIONS: [&str; 1] = ["1.0.0"];
/// Between two attempts to serve the socket, or to be registered; doubled each time. Kubelet looks
/// once a second, and a failure that lasts (no API server) is asked about twice a minute.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// For one look at whether the CSI socket answers, and between two.
const PROBE: Duration = Duration::from_secs(5);
const PROBE_AGAIN: Duration = Duration::from_millis(20);
/// Kubelet closes its connection once it has notified us; it is not waited for longer.
const GOODBYE: Duration = Duration::from_secs(2);
/// As much of kubelet's reason as is kept.
const MAX_REASON_CHARACTERS: usize = 1024;
/// Calls on one connection: kubelet makes one after the other.
const MAX_STREAMS: u32 = 16;

/// A registration socket, and what has become of it.
#[derive(Debug)]
pub struct Registration {
    socket: PathBuf,
    state: Mutex<RegistrationState>,
    refused: Notify,
}

/// Where the registration of a driver stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationState {
    /// The socket is not served: why not, or not yet.
    NotServed(String),
    /// Kubelet has not answered yet.
    Waiting,
    /// Kubelet uses the driver.
    Registered,
    /// Kubelet does not use the driver, for this reason. It is asked again.
    Refused(String),
}

impl Registration {
    /// Not served yet.
    pub fn at(socket: PathBuf) -> Self {
        let state = RegistrationState::NotServed("the CSI socket does not answer yet".to_owned());
        Self { socket, state: Mutex::new(state), refused: Notify::new() }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where it stands.
    pub fn state(&self) -> RegistrationState {
        self.lock().clone()
    }

    fn note(&self, state: RegistrationState) {
        *self.lock() = state;
    }

    fn lock(&self) -> MutexGuard<'_, RegistrationState> {
        // A panic in another thread leaves a whole value here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves the socket for a driver until this future is dropped, which removes the socket.
    pub(crate) async fn keep_registered(
        self: Arc<Self>,
        driver: &str,
        endpoint: &Path,
    ) -> Infallible {
        while let Err(why) = probe(endpoint, PROBE).await {
            tracing::debug!(driver, why, "not registered yet: the CSI socket does not answer");
            tokio::time::sleep(PROBE_AGAIN).await;
        }
        let mut backoff = Backoff::between(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let began = Instant::now();
            if let Err(error) = self.serve(driver, endpoint).await {
                tracing::error!(driver, socket = %self.socket.display(), %error, "kubelet cannot register the driver: its registration socket is not served; tried again");
                self.note(RegistrationState::NotServed(error.to_string()));
            }
            if began.elapsed() > LONGEST_PAUSE {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next_pause()).await;
        }
    }

    /// Serves one socket file, until kubelet has refused what it found there.
    async fn serve(self: &Arc<Self>, driver: &str, endpoint: &Path) -> Result<(), ServeError> {
        // The guard is dropped after the listener: it removes a file that nobody listens on.
        let (listener, _socket) = socket::bind(&self.socket)?;
        if !matches!(self.state(), RegistrationState::Refused(_)) {
            self.note(RegistrationState::Waiting);
        }
        tracing::info!(driver, socket = %self.socket.display(), "waiting for kubelet to register the driver");
        let front = RegistrationFront {
            registration: Arc::clone(self),
            driver: driver.to_owned(),
            endpoint: endpoint.display().to_string(),
        };
        let connections = accept::connections(listener).map(|it| it.map(Rewritten::new));
        let router = Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .add_service(RegistrationServer::new(front));
        let refused = self.refused.notified();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = router.serve_with_incoming_shutdown(connections, async {
            drop(stopped.await);
        });
        tokio::pin!(server);
        tokio::select! {
            ended = &mut server => return Ok(ended?),
            () = refused => drop(stop),
        }
        // The answer to kubelet's word goes out before the connection ends.
        match tokio::time::timeout(GOODBYE, server).await {
            Ok(ended) => Ok(ended?),
            Err(_elapsed) => Ok(()),
        }
    }
}

impl fmt::Display for RegistrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotServed(why) => write!(f, "the registration socket is not served: {why}"),
            Self::Waiting => f.write_str("kubelet has not registered it yet"),
            Self::Registered => f.write_str("registered with kubelet"),
            Self::Refused(why) => write!(f, "kubelet refuses it: {why}"),
        }
    }
}

/// What kubelet talks to.
struct RegistrationFront {
    registration: Arc<Registration>,
    driver: String,
    endpoint: String,
}

#[tonic::async_trait]
impl RegistrationService for RegistrationFront {
    async fn get_info(
        &self,
        _request: Request<proto::InfoRequest>,
    ) -> Result<Response<proto::PluginInfo>, Status> {
        tracing::debug!(driver = self.driver, "kubelet asks who is there");
        Ok(Response::new(proto::PluginInfo {
            r#type: PLUGIN_TYPE.to_owned(),
            name: self.driver.clone(),
            endpoint: self.endpoint.clone(),
            supported_versions: SUPPORTED_VERSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<proto::RegistrationStatus>,
    ) -> Result<Response<proto::RegistrationStatusResponse>, Status> {
        let proto::RegistrationStatus { plugin_registered, error } = request.into_inner();
        if plugin_registered {
            tracing::info!(driver = self.driver, "kubelet has registered the driver");
            self.registration.note(RegistrationState::Registered);
        } else {
            let reason = one_line(&error);
            tracing::error!(
                driver = self.driver,
                endpoint = self.endpoint,
                reason,
                "kubelet refuses to register the driver; no pod of this node gets its volumes \
                 until it does. It is offered again"
            );
            self.registration.note(RegistrationState::Refused(reason));
            self.registration.refused.notify_one();
        }
        Ok(Response::new(proto::RegistrationStatusResponse {}))
    }
}

fn one_line(text: &str) -> String {
    let shown = text.chars().take(MAX_REASON_CHARACTERS);
    shown.map(|c| if c.is_control() { ' ' } else { c }).collect()
}
