//! One call from its arrival to its answer: read it, let the fault plan strike, find the caller,
//! mind the rates, run it, write it down.

mod admin;
mod metadata;
mod rpc;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use tokio::sync::Notify;

use crate::access::Nonces;
use crate::clock::{Millis, RegionClock, iso8601};
use crate::faults::{Fault, FaultPlan};
use crate::holds::Holds;
use crate::journal::{Journal, JournalEntry};
use crate::limits::Buckets;
use crate::metadata::MetadataService;
use crate::oss;
use crate::wire::{Acceptor, Cutter};
use crate::world::World;

/// The largest body that is read; the real gateway's calls are far smaller.
const MOST_BODY: usize = 1 << 20;

/// What all listeners share. Locks are taken one at a time, except that `world` may be held while
/// another is taken.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) world: Mutex<World>,
    pub(crate) clock: Arc<RegionClock>,
    pub(crate) faults: Mutex<FaultPlan>,
    pub(crate) buckets: Mutex<Buckets>,
    pub(crate) journal: Mutex<Journal>,
    pub(crate) nonces: Mutex<Nonces>,
    pub(crate) holds: Holds,
    /// By instance.
    pub(crate) metadata: Vec<Mutex<MetadataService>>,
    pub(crate) oss: Mutex<oss::Store>,
    /// Wakes the timer after a change.
    pub(crate) wake: Notify,
    /// The region's id.
    pub(crate) region: String,
    pub(crate) verify_signatures: bool,
    pub(crate) admin_api: bool,
}

/// A lock that a panic elsewhere has not made useless.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a listener answers as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Ecs,
    Nas,
    Sts,
    Oss,
    /// Of the n-th instance.
    Metadata(usize),
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Nas => "nas",
            Self::Sts => "sts",
            Self::Oss => "oss",
            Self::Metadata(_) => "metadata",
        }
    }
}

/// Serves one listener until its task is dropped.
pub(crate) async fn serve(acceptor: Acceptor, service: Service, shared: Arc<Shared>) {
    let handler = move |ConnectInfo(cutter): ConnectInfo<Cutter>, request: Request| {
        let shared = Arc::clone(&shared);
        async move {
            match service {
                Service::Oss => oss::answer(shared, cutter, request).await,
                Service::Ecs | Service::Nas | Service::Sts | Service::Metadata(_) => {
                    answer(service, shared, cutter, request).await
                }
            }
        }
    };
    let router = Router::new().fallback(handler).into_make_service_with_connect_info::<Cutter>();
    if let Err(error) = axum::serve(acceptor, router).await {
        tracing::error!(service = service.name(), %error, "a listener of the region ended");
    }
}

/// Does what time brings, when it brings it: nodes see devices come and go without anybody asking.
pub(crate) async fn keep_time(shared: Arc<Shared>) {
    loop {
        let wait = {
            let mut world = lock(&shared.world);
            world.progress();
            if let Err(error) = world.save() {
                tracing::error!(%error, "the region's state cannot be written");
            }
            world.next_change().map(|at| at.saturating_sub(world.now()).max(1))
        };
        match wait {
            Some(wait) => {
                let _ = tokio::time::timeout(
                    std::time::Duration::from_millis(wait),
                    shared.wake.notified(),
                )
                .await;
            }
            None => shared.wake.notified().await,
        }
    }
}

/// A request that was read whole.
#[derive(Debug)]
struct Incoming {
    arrived: Millis,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

/// What is to be sent.
#[derive(Debug)]
struct Outgoing {
    status: u16,
    content_type: &'static str,
    body: String,
    request_id: Option<String>,
}

/// An answer, and the fault that concerns its way back.
#[derive(Debug)]
struct Outcome {
    answer: Outgoing,
    fault: Option<Fault>,
}

async fn answer(
    service: Service,
    shared: Arc<Shared>,
    cutter: Cutter,
    request: Request,
) -> Response<Body> {
    let arrived = shared.clock.now();
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MOST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str().to_owned())
            .and_modify(|known| *known = format!("{known},{value}"))
            .or_insert_with(|| value.into_owned());
    }
    let incoming = Incoming {
        arrived,
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: crate::text::decode_pairs(head.uri.query().unwrap_or_default()),
        headers,
        body: body.into(),
    };
    // In a task of its own: a client that hangs up must not undo half of what it asked for.
    let outcome = tokio::spawn(async move {
        match service {
            Service::Ecs | Service::Nas | Service::Sts | Service::Oss => {
                rpc::handle(service, shared, incoming).await
            }
            Service::Metadata(instance) => metadata::handle(instance, shared, incoming).await,
        }
    });
    match outcome.await {
        Ok(outcome) => send(outcome, &cutter),
        Err(error) => lost(&error).into_response(),
    }
}

/// The status of a call whose task ended without an answer: the region is ending, or it broke.
pub(crate) fn lost(error: &tokio::task::JoinError) -> StatusCode {
    if error.is_cancelled() {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::INTERNAL_SERVER_ERROR
    }
}

fn send(outcome: Outcome, cutter: &Cutter) -> Response<Body> {
    let mut answer = outcome.answer;
    match outcome.fault {
        Some(Fault::DropAnswer | Fault::DropRequest) => cutter.cut(),
        Some(Fault::TruncateAnswer) => cutter.cut_after(answer.body.len() / 2),
        Some(Fault::GarbageAnswer) => {
            answer.status = 200;
            answer.body = "<html>\u{0}this is not the answer".to_owned();
        }
        Some(
            Fault::Fail { .. }
            | Fault::Throttle
            | Fault::Delay { .. }
            | Fault::BindToken
            | Fault::Hold(_),
        )
        | None => {}
    }
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert("content-type", HeaderValue::from_static(answer.content_type));
    if let Some(id) = answer.request_id.and_then(|id| HeaderValue::from_str(&id).ok()) {
        response.headers_mut().insert("x-acs-request-id", id);
    }
    response
}

/// What the journal is told of one call.
pub(crate) struct Record<'a> {
    pub(crate) service: Service,
    pub(crate) arrived: Millis,
    pub(crate) action: &'a str,
    pub(crate) caller: Option<String>,
    pub(crate) parameters: &'a BTreeMap<String, String>,
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    pub(crate) fault: Option<&'static str>,
}

impl Shared {
    pub(crate) fn record(&self, record: Record<'_>) {
        let now = self.clock.now();
        lock(&self.journal).add(JournalEntry {
            number: 0,
            time: iso8601(now),
            took_ms: now.saturating_sub(record.arrived),
            listener: record.service.name().to_owned(),
            action: record.action.to_owned(),
            caller: record.caller,
            parameters: record.parameters.clone(),
            status: record.status,
            code: record.code,
            fault: record.fault.map(str::to_owned),
        });
    }

    pub(crate) async fn delay(&self, ms: u64) {
        if ms > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
        }
    }
}
