//! The listener: connections, their bounds, and the way from a request to a page.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use wharf_csi::SocketGuard;

use super::{Listen, Page, Pages};

/// Connections at once: kubelet's probes, two Prometheus servers and a person. Further ones wait to
/// be accepted.
const CONNECTIONS: usize = 32;
/// A request's head: a probe's has 200 bytes, a scrape's 500. The least that hyper takes.
const HEAD_BYTES: usize = 8 << 10;
const HEADERS: usize = 64;
/// From the connection to the end of the request's head.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// From the connection to the end of the answer: checks take three seconds at most.
const WHOLE_TIME: Duration = Duration::from_secs(20);
/// Between two attempts to listen, and after a connection that could not be accepted: a predecessor
/// that drains has the port for some seconds.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// Serves the pages until this is dropped. An address that cannot be had is tried again: volumes
/// are not kept from pods because a port is taken.
pub async fn serve(listen: &Listen, pages: Arc<dyn Pages>) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let listener = loop {
        match Listener::bind(listen).await {
            Ok(listener) => break listener,
            Err(error) => {
                tracing::error!(address = %listen, error, "health and metrics are not served; tried again");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    };
    tracing::info!(address = %listener.address(listen), "serving health and metrics");
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { continue };
        let connection = match listener.accept().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection can be accepted");
                tokio::time::sleep(TRY_AGAIN).await;
                continue;
            }
        };
        let pages = Arc::clone(&pages);
        tokio::spawn(async move {
            let _place = place;
            if tokio::time::timeout(WHOLE_TIME, talk(connection, pages)).await.is_err() {
                tracing::debug!("an HTTP connection took too long and is ended");
            }
        });
    }
}

/// A connection of either kind.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

enum Listener {
    Tcp(TcpListener),
    // The guard is dropped after the listener, and removes the file.
    Unix { listener: UnixListener, _guard: SocketGuard },
}

impl Listener {
    async fn bind(listen: &Listen) -> Result<Self, String> {
        match listen {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await;
                listener.map(Self::Tcp).map_err(|error| format!("cannot listen: {error}"))
            }
            Listen::Unix(path) => {
                let (listener, guard) = wharf_csi::bind(path).map_err(|error| error.to_string())?;
                Ok(Self::Unix { listener, _guard: guard })
            }
        }
    }

    /// With the port that was really taken.
    fn address(&self, asked: &Listen) -> Listen {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| asked.clone(), Listen::Tcp)
            }
            Self::Unix { .. } => asked.clone(),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix { listener, .. } => Box::new(listener.accept().await?.0),
        })
    }
}

/// One request, one answer.
async fn talk(connection: Box<dyn Connection>, pages: Arc<dyn Pages>) {
    let service = service_fn(|request: Request<Incoming>| {
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(answer(&request, &*pages).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(connection), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

async fn answer(request: &Request<Incoming>, pages: &dyn Pages) -> Response<Full<Bytes>> {
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    let page = match is_get {
        true => pages
            .answer(request.uri().path())
            .await
            .unwrap_or_else(|| Page::text(404, "there are /healthz, /readyz and /metrics\n")),
        false => Page::text(405, "only GET is answered\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from(page.text)));
    *response.status_mut() =
        StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.kind));
    if !is_get {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}
