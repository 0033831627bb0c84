//! One driver on one socket, until it is asked to end.

use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic::transport::Server;
use tonic::transport::server::Router;

use crate::accept;
use crate::authority::Rewritten;
use crate::calls::Calls;
use crate::capabilities::Described;
use crate::controller::ControllerFront;
use crate::driver::{Driver, is_valid_name};
use crate::identity::IdentityFront;
use crate::node::NodeFront;
use crate::paths::AllowedRoots;
use crate::proto::controller_server::ControllerServer;
use crate::proto::identity_server::IdentityServer;
use crate::proto::node_server::NodeServer;
use crate::socket::{self, SocketError};

/// Calls on one connection at once: the attacher has one connection for up to 1200 workers, where
/// hyper's default of 200 would make most of them wait unseen.
const MAX_STREAMS: u32 = 2048;
/// Cancelled calls get this long to answer.
const CANCELLED_GRACE: Duration = Duration::from_secs(3);

/// Why a driver is not served (any more).
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The name breaks CSI's rules.
    #[error(
        "`{0}` cannot be a driver's name: at most 63 letters, digits, `-` and `.`, beginning and \
         ending with a letter or digit"
    )]
    Name(String),
    /// Staging and target paths are below a directory, not below "here".
    #[error("the allowed root `{0}` is not an absolute path")]
    AllowedRoot(String),
    /// The socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// gRPC.
    #[error("serving gRPC: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves the driver on the socket until `shutdown`, and its registration socket, where it has one,
/// as long as the CSI socket answers. Then the end of the registration socket notifies kubelet,
/// no new connection is taken, calls in flight may finish within [`Driver::drain`], the rest is
/// cancelled, and the socket file is removed.
///
/// Runs on a tokio runtime with [`crate::BLOCKING_THREADS`] blocking threads or more for each
/// driver that is busy.
///
/// # Errors
/// When the name or the socket cannot be used.
pub async fn serve(
    driver: Driver,
    socket: &Path,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    if !is_valid_name(&driver.name) {
        return Err(ServeError::Name(driver.name));
    }
    if let Some(relative) = driver.allowed_roots.iter().find(|root| !root.is_absolute()) {
        return Err(ServeError::AllowedRoot(relative.display().to_string()));
    }
    let (listener, _socket) = socket::bind(socket)?;
    let calls = Calls::new(&driver.name, Arc::clone(&driver.clock), driver.observer.clone());
    tracing::info!(driver = driver.name, version = driver.version, socket = %socket.display(), "serving CSI");
    let (stop, stopped) = oneshot::channel::<()>();
    let router = router(&driver, &calls);
    let connections = accept::connections(listener).map(|accepted| accepted.map(Rewritten::new));
    let mut server = pin!(router.serve_with_incoming_shutdown(connections, async {
        // An error means that the sender is gone, which is a reason to stop as well.
        drop(stopped.await);
    }));
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = shutdown => {}
        never = registered(&driver, socket) => match never {},
    }
    tracing::info!(driver = driver.name, "ending: calls in flight may finish");
    drop(stop);
    if let Ok(ended) = timeout(driver.drain, &mut server).await {
        return Ok(ended?);
    }
    tracing::warn!(driver = driver.name, "ending: calls in flight are cancelled");
    calls.cancel_all();
    match timeout(CANCELLED_GRACE, server).await {
        Ok(ended) => Ok(ended?),
        Err(_elapsed) => Ok(()),
    }
}

/// Offers the driver to kubelet, for as long as this is polled.
async fn registered(driver: &Driver, socket: &Path) -> Infallible {
    match &driver.registration {
        Some(registration) => Arc::clone(registration).keep_registered(&driver.name, socket).await,
        None => std::future::pending().await,
    }
}

fn router(driver: &Driver, calls: &Arc<Calls>) -> Router {
    let described = Described::by(driver.controller.clone(), driver.node.clone());
    let identity = IdentityFront {
        name: driver.name.clone(),
        version: driver.version.clone(),
        has_controller: driver.controller.is_some(),
        described: described.clone(),
        calls: Arc::clone(calls),
    };
    let controller = driver.controller.clone().map(|controller| ControllerFront {
        controller,
        described: described.clone(),
        calls: Arc::clone(calls),
    });
    let node = driver.node.clone().map(|node| NodeFront {
        node,
        described: described.clone(),
        allowed_roots: AllowedRoots::new(driver.allowed_roots.clone()),
        calls: Arc::clone(calls),
    });
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(IdentityServer::new(identity))
        .add_optional_service(controller.map(ControllerServer::new))
        .add_optional_service(node.map(NodeServer::new))
}
