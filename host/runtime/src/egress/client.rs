//! The one place that has a network: HTTP/1 over pooled connections, no redirects, no proxy, no
//! cookies, bounded in bytes and time.
//!
//! Nothing is set up before the first request: a process that never asks the cloud starts no async
//! runtime and reads no certificates.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::header::HOST;
use reqwest::{Method, Response as Incoming};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use wharf_core::ports::Call;
use wharf_core::text::cut;
use wharf_core::{Blame, Error, ErrorKind};

use super::address::PrivateAddress;
use super::connections::{Clients, chain};
use super::endpoint::Endpoint;
use super::pace::{Pace, PaceOfSite, REQUESTS_AT_ONCE, Turn, Wanted};
use super::{
    Budget, Egress, Request, RequestEffect, Response, Scope, Spent, headers, parameters, url,
};
use crate::account::{AuthDescription, Unsigned};
use crate::observer::{RequestEvent, RuntimeObserver};

/// How often a waiting request checks whether its caller has gone.
const CANCELLATION_CHECK: Duration = Duration::from_millis(50);
/// A request's body: a guest's memory bounds it too, and no API takes more.
const REQUEST_BYTES: usize = 4 << 20;
/// An endpoint, an account or an action, and as much as a log line shows of what is granted: the
/// longest real one has 60.
const NAME_BYTES: usize = 256;
/// Methods that requests may have.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Sends requests to the operator's endpoints.
pub struct HttpEgress {
    endpoints: HashMap<String, Endpoint>,
    handle: Option<Handle>,
    own: OnceLock<Result<Runtime, String>>,
    clients: Clients,
    pace: Pace,
    observer: Option<Arc<dyn RuntimeObserver>>,
}

impl HttpEgress {
    /// `handle`: the process's async runtime, if it has one; calls then come from its blocking
    /// threads, never from its workers. Without one, a runtime is made when the first request
    /// is sent.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>, handle: Option<Handle>) -> Self {
        let endpoints =
            endpoints.into_iter().map(|endpoint| (endpoint.id.clone(), endpoint)).collect();
        Self {
            endpoints,
            handle,
            own: OnceLock::new(),
            clients: Clients::default(),
            pace: Pace::new(REQUESTS_AT_ONCE),
            observer: None,
        }
    }

    /// How many requests of one account may be under way to one endpoint, where it is not
    /// [`REQUESTS_AT_ONCE`].
    #[must_use]
    pub fn with_requests_at_once(mut self, requests: usize) -> Self {
        self.pace = Pace::new(requests);
        self
    }

    /// Tells somebody about every request.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn RuntimeObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Asks an endpoint for nothing, to see whether it answers, and what its clock says. Nobody
    /// signs, and whatever comes back is an answer.
    ///
    /// # Errors
    /// `PermissionDenied` for a private address that is not allowed; `Unavailable` when nobody
    /// answers in that time.
    pub fn probe(&self, id: &str, within: Duration) -> Result<Probed, Error> {
        let endpoint = self
            .endpoints
            .get(id)
            .ok_or_else(|| Error::not_found(format!("there is no endpoint `{id}`")))?;
        if endpoint.is_refused_address() {
            return Err(private_address(id));
        }
        let site = endpoint.site(None)?;
        let target = url::target(&site.base, "/", &Vec::new())?;
        let request = self.clients.of(endpoint)?.request(Method::GET, target);
        let answer =
            self.runtime()?.block_on(async { tokio::time::timeout(within, request.send()).await });
        let answer = answer.map_err(|_| late(id))?.map_err(|error| match error.is_connect() {
            true => unreached(id, &error),
            false => broken(id, &error),
        })?;
        let date = answer.headers().get(reqwest::header::DATE);
        let date = date.and_then(|date| date.to_str().ok()).map(str::to_owned);
        Ok(Probed { status: answer.status().as_u16(), date })
    }

    /// How requests leave now, wherever any has left.
    pub fn pace(&self) -> Vec<PaceOfSite> {
        self.pace.sites()
    }

    fn runtime(&self) -> Result<&Handle, Error> {
        if let Some(handle) = &self.handle {
            return Ok(handle);
        }
        let own = self.own.get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("wharf-http")
                .enable_all()
                .build()
                .map_err(|error| error.to_string())
        });
        own.as_ref()
            .map(Runtime::handle)
            .map_err(|error| Error::internal(format!("no async runtime for requests: {error}")))
    }

    /// Everything before the network. An error here means that nothing was sent.
    fn prepare(&self, scope: &Scope<'_>, request: &Request) -> Result<Prepared, Error> {
        check_shape(request)?;
        let endpoint = self.endpoints.get(&request.endpoint).ok_or_else(|| {
            Error::denied(format!("there is no endpoint `{}`", request.endpoint))
                .with_hint("an administrator can add it to `endpoints` in the configuration")
        })?;
        scope.grants.check(request)?;
        if endpoint.is_refused_address() {
            return Err(private_address(&endpoint.id));
        }
        let site = endpoint.site(request.subdomain.as_deref())?;
        let mut target = url::target(&site.base, &request.path, &request.query)?;
        let signer = describe_signer(scope, request)?;
        let AuthDescription { reserved, throttling_codes, .. } = signer.unwrap_or_default();
        let mut headers = headers::checked(scope.requester, &request.headers, &reserved)?;
        parameters::check(request, &reserved)?;
        if let Some(account) = &request.account {
            let signer = scope.signer.ok_or_else(|| no_signer(account))?;
            let unsigned = Unsigned {
                action: &request.action,
                api: &request.api,
                method: &request.method,
                host: &site.authority,
                path: &request.path,
                query: &request.query,
                headers: &request.headers,
                body: &request.body,
            };
            let (signature, credential) =
                signer.sign(scope.call, account, scope.call_secrets, &unsigned)?;
            if !request.action.is_empty() && !signature.binds_action {
                return Err(Error::denied(format!(
                    "action `{}` is not part of what account `{account}` signs, so it says \
                     nothing about the request",
                    request.action
                ))
                .with_hint("the backend must leave the action out; then the path is granted"));
            }
            scope.used.note(account, credential);
            for (name, value) in &signature.headers {
                headers::put_signed(&mut headers, name, value, &site.authority)?;
            }
            let mut query: Vec<_> = request
                .query
                .iter()
                .filter(|(key, _)| !signature.query.iter().any(|(signed, _)| signed == key))
                .cloned()
                .collect();
            query.extend(signature.query);
            target = url::target(&site.base, &request.path, &query)?;
        }
        if let Some(host) = site.host_header()? {
            headers.insert(HOST, host);
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| Error::internal("a method that passed is none"))?;
        let client = self.clients.of(endpoint)?;
        Ok(Prepared {
            request: client.request(method, target).headers(headers).body(request.body.clone()),
            endpoint: endpoint.id.clone(),
            cap: endpoint.body_bytes,
            mutates: request.effect == RequestEffect::Mutate,
            throttling_codes,
        })
    }

    /// Sends one request as soon as its turn comes. An error here means that nothing was sent.
    ///
    /// It is signed before it waits: a signature is good for a quarter of an hour, and no call is
    /// that long.
    fn begin(&self, scope: &Scope<'_>, request: &Request) -> Result<Answering, Error> {
        let prepared = self.prepare(scope, request)?;
        let handle = self.runtime()?;
        let wanted = Wanted {
            asker: scope.asker,
            account: request.account.as_deref(),
            endpoint: &prepared.endpoint,
            action: &request.action,
            effect: request.effect,
        };
        let turn = self.pace.turn(wanted, scope.call, scope.deadline)?;
        let delivery = Delivery {
            call: scope.call.clone(),
            deadline: scope.deadline,
            bodies: scope.bodies.clone(),
            turn,
        };
        Ok(handle.spawn(prepared.send(delivery)))
    }

    /// Waits for what was begun.
    fn finish(&self, begun: Vec<Result<Answering, Error>>) -> Vec<Result<Response, Error>> {
        let finish = |answering: Answering| {
            self.runtime()?.block_on(answering).unwrap_or_else(|error| {
                Err(Error::internal(format!("a request's task ended: {error}"))
                    .with_unknown_effect())
            })
        };
        begun.into_iter().map(|begun| begun.and_then(finish)).collect()
    }
}

impl Egress for HttpEgress {
    fn send_all(&self, scope: &Scope<'_>, requests: Vec<Request>) -> Vec<Result<Response, Error>> {
        let start = Instant::now();
        let begun = requests
            .iter()
            .map(|request| self.begin(scope, request).map_err(|error| about(request, error)))
            .collect();
        let answers = self.finish(begun);
        if let Some(observer) = &self.observer {
            for (request, answer) in requests.iter().zip(&answers) {
                let outcome =
                    answer.as_ref().map(|response| response.status).map_err(|error| error.kind);
                let id = answer.as_ref().ok();
                let asked = request.asked();
                observer.requested(&RequestEvent {
                    granted: scope.grants.granted(request, &asked),
                    endpoint: &scope.scrubber.clean(&request.endpoint, NAME_BYTES),
                    action: &scope.scrubber.clean(&asked.to_string(), NAME_BYTES),
                    id: id.and_then(|response| headers::request_id(&response.headers)),
                    began: start,
                    duration: start.elapsed(),
                    outcome,
                });
            }
        }
        answers
    }
}

impl Drop for HttpEgress {
    fn drop(&mut self) {
        if let Some(Ok(runtime)) = self.own.take() {
            // Dropping a runtime waits for its threads, which is not allowed where another runtime
            // is running.
            runtime.shutdown_background();
        }
    }
}

/// What signs a request, where something does.
fn describe_signer(scope: &Scope<'_>, request: &Request) -> Result<Option<AuthDescription>, Error> {
    match (&request.account, scope.signer) {
        (Some(account), Some(signer)) => signer.describe(scope.call, account).map(Some),
        (Some(account), None) => Err(no_signer(account)),
        (None, _) => Ok(None),
    }
}

/// What came back for nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The status code.
    pub status: u16,
    /// The header `date`.
    pub date: Option<String>,
}

/// A request on its way.
type Answering = JoinHandle<Result<Response, Error>>;

/// A request that only has to be sent.
struct Prepared {
    request: reqwest::RequestBuilder,
    endpoint: String,
    cap: usize,
    mutates: bool,
    throttling_codes: Vec<String>,
}

struct Delivery {
    call: Call,
    deadline: Instant,
    bodies: Budget,
    turn: Turn,
}

impl Prepared {
    async fn send(self, delivery: Delivery) -> Result<Response, Error> {
        let Self { request, endpoint, cap, mutates, throttling_codes } = self;
        let Delivery { call, deadline, bodies, mut turn } = delivery;
        let lost = |error: Error| if mutates { error.with_unknown_effect() } else { error };
        let exchange = async {
            let incoming = request.send().await.map_err(|error| {
                if error.is_connect() {
                    unreached(&endpoint, &error)
                } else {
                    lost(broken(&endpoint, &error))
                }
            })?;
            let response = receive(incoming, &endpoint, cap, &bodies).await.map_err(lost)?;
            turn.answered(&response, &throttling_codes);
            Ok(response)
        };
        tokio::select! {
            answer = exchange => answer,
            () = tokio::time::sleep_until(deadline.into()) => Err(lost(late(&endpoint))),
            () = cancelled(&call) => Err(lost(Error::unavailable(format!("endpoint `{endpoint}`: the caller stopped waiting")))),
        }
    }
}

async fn receive(
    mut incoming: Incoming,
    endpoint: &str,
    cap: usize,
    bodies: &Budget,
) -> Result<Response, Error> {
    let (status, headers) = (incoming.status().as_u16(), headers::visible(incoming.headers()));
    let mut body = Vec::new();
    while let Some(chunk) = incoming.chunk().await.map_err(|error| broken(endpoint, &error))? {
        if body.len() + chunk.len() > cap {
            return Err(Error::new(
                ErrorKind::Unavailable,
                Blame::Cloud,
                format!("endpoint `{endpoint}`: the answer is longer than {cap} bytes"),
            ));
        }
        bodies.take(chunk.len()).map_err(|spent| too_long(endpoint, spent))?;
        body.extend_from_slice(&chunk);
    }
    Ok(Response { status, headers, body })
}

fn too_long(endpoint: &str, spent: Spent) -> Error {
    let (blame, why) = match spent {
        Spent::ByTheCall => {
            (Blame::Backend, "the answers of this call are longer than one call may take")
        }
        Spent::ByOthers => {
            (Blame::Host, "there is no memory for the answer: other calls of the backend have it")
        }
    };
    Error::new(ErrorKind::Unavailable, blame, format!("endpoint `{endpoint}`: {why}"))
}

async fn cancelled(call: &Call) {
    while !call.is_cancelled() {
        tokio::time::sleep(CANCELLATION_CHECK).await;
    }
}

fn check_shape(request: &Request) -> Result<(), Error> {
    let defect = |message: String| Err(Error::new(ErrorKind::Internal, Blame::Backend, message));
    if !METHODS.contains(&request.method.as_str()) {
        return defect(format!("a request's method must be one of {}", METHODS.join(", ")));
    }
    if request.body.len() > REQUEST_BYTES {
        return defect(format!(
            "a request's body has {} bytes, at most {REQUEST_BYTES} are allowed",
            request.body.len()
        ));
    }
    for (what, text, bound) in [
        ("endpoint", request.endpoint.as_str(), NAME_BYTES),
        ("account", request.account.as_deref().unwrap_or_default(), NAME_BYTES),
        ("action", request.action.as_str(), NAME_BYTES),
        ("path", request.path.as_str(), url::TARGET_BYTES),
    ] {
        if text.len() > bound || text.chars().any(char::is_control) {
            return defect(format!(
                "a request's {what} is longer than {bound} bytes or has control characters"
            ));
        }
    }
    if request.account.is_none() && !request.action.is_empty() {
        return defect(
            "an unsigned request must not name an action; its method and path are what is granted"
                .to_owned(),
        );
    }
    Ok(())
}

fn about(request: &Request, error: Error) -> Error {
    error.context(format!(
        "request `{}` to endpoint `{}`",
        cut(&request.asked().to_string(), NAME_BYTES),
        cut(&request.endpoint, NAME_BYTES)
    ))
}

fn no_signer(account: &str) -> Error {
    Error::denied(format!("there is no account `{account}` for this component"))
        .with_hint("an administrator can add it to `accounts` in the configuration")
}

fn private_address(endpoint: &str) -> Error {
    Error::denied(format!("endpoint `{endpoint}` leads to a private address"))
        .with_hint("if that is meant, an administrator can set `private = true` for it")
}

/// Nothing was sent.
fn unreached(endpoint: &str, error: &reqwest::Error) -> Error {
    if find::<PrivateAddress>(error).is_some() {
        return private_address(endpoint);
    }
    Error::new(
        ErrorKind::Unavailable,
        Blame::Cloud,
        format!("endpoint `{endpoint}` cannot be reached: {}", chain(error)),
    )
    .with_hint("check the network of this node and the endpoint's URL in the configuration")
}

/// Something may have been sent.
fn broken(endpoint: &str, error: &reqwest::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Blame::Cloud,
        format!("endpoint `{endpoint}`: the answer did not arrive whole: {}", chain(error)),
    )
}

fn late(endpoint: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        Blame::Cloud,
        format!("endpoint `{endpoint}` did not answer in the time of this call"),
    )
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_started_before_the_first_request() {
        let egress = HttpEgress::new([], None);
        assert!(egress.own.get().is_none());
        assert!(egress.clients.is_empty());
    }
}
