//! Requests to the endpoints that the operator granted. The host resolves, signs, sends and bounds
//! them.

use serde::de::DeserializeOwned;

pub use crate::bindings::backend::wharf::volume::http::{Effect, Request, Response};
use crate::error::{Blame, Error, ErrorKind};
use crate::host;
use crate::types::Pairs as _;

impl Request {
    /// A request that changes nothing. `endpoint` is the id of a granted endpoint, never a URL.
    pub fn read(endpoint: impl Into<String>, method: &str, path: &str) -> Self {
        Self::new(Effect::Read, endpoint, method, path)
    }

    /// A request that may change something, answered or not.
    pub fn mutate(endpoint: impl Into<String>, method: &str, path: &str) -> Self {
        Self::new(Effect::Mutate, endpoint, method, path)
    }

    /// A request with nothing in it. The path begins with a slash and is already percent-encoded.
    pub fn new(effect: Effect, endpoint: impl Into<String>, method: &str, path: &str) -> Self {
        Self {
            endpoint: endpoint.into(),
            account: None,
            effect,
            action: String::new(),
            api: Vec::new(),
            method: method.to_owned(),
            subdomain: None,
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Signed by this account for this API action.
    #[must_use]
    pub fn signed(mut self, account: impl Into<String>, action: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self.action = action.into();
        self
    }

    /// Signed by this account, for an API that signs no action.
    #[must_use]
    pub fn signed_by(mut self, account: impl Into<String>) -> Self {
        self.account = Some(account.into());
        self
    }

    /// Sent to this host name below the endpoint's (a bucket, say).
    #[must_use]
    pub fn at_subdomain(mut self, subdomain: impl Into<String>) -> Self {
        self.subdomain = Some(subdomain.into());
        self
    }

    /// Adds what the signer needs besides the action.
    #[must_use]
    pub fn with_api(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.api.insert_pair(key, value);
        self
    }

    /// Adds a query parameter, not yet percent-encoded.
    #[must_use]
    pub fn with_query(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.insert_pair(key, value);
        self
    }

    /// Adds a header. Names that belong to the signer are refused by the host.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert_pair(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and waits for the answer. Any status is an answer.
    ///
    /// # Errors
    /// There was no answer; the host has filled in whether something may have changed.
    pub fn send(&self) -> Result<Response, Error> {
        host::send(self)
    }

    /// What the operator grants for this request: its action, or method, subdomain and path where
    /// there is none.
    pub fn granted_as(&self) -> String {
        if self.action.is_empty() {
            let subdomain = self.subdomain.as_deref().unwrap_or_default();
            format!("{} {subdomain}{}", self.method, self.path)
        } else {
            self.action.clone()
        }
    }
}

/// Sends up to 16 requests at once and answers in the same order.
pub fn send_all(requests: &[Request]) -> Vec<Result<Response, Error>> {
    host::send_all(requests)
}

impl Response {
    /// An answer, for tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), extensions: Vec::new() }
    }

    /// Whether the status says that all went well.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.value(name)
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// `internal`, blamed on the cloud, when it is not JSON of this shape. The body is not quoted:
    /// it may hold anything.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                Blame::Cloud,
                // Not the parser's own text: it quotes what it stumbled over.
                format!(
                    "the answer (status {}, {} bytes) is not understood, from line {} column {}",
                    self.status,
                    self.body.len(),
                    error.line(),
                    error.column()
                ),
            )
        })
    }

    /// The body as text without white space around it; empty when it is not UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default().trim()
    }
}
