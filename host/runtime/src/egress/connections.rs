//! Connections: one pooled HTTP client for each kind of endpoint, made when it is first needed.

use std::collections::HashMap;
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};
use wharf_core::{Blame, Error, ErrorKind};

use super::address::PublicResolver;
use super::endpoint::Endpoint;

/// A cloud's front is reached in tens of milliseconds or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Fronts close idle connections after about a minute; ours go first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections kept to one host: as many as one `send-all` uses.
const IDLE_PER_HOST: usize = 16;

/// The clients that there are so far.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<ClientKind, Client>>);

impl Clients {
    /// The one for requests to an endpoint.
    pub(super) fn of(&self, endpoint: &Endpoint) -> Result<Client, Error> {
        let kind = ClientKind::of(endpoint);
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let client = build_client(&kind)?;
        clients.insert(kind, client.clone());
        Ok(client)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

/// Clients differ in what they may connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ClientKind {
    pub(super) private: bool,
    pub(super) trust: Trust,
}

/// Whose certificates are good.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// None is looked at, and none is read.
    Plain,
    /// The machine's certificate authorities.
    Machine,
    /// The ones in this file.
    File(PathBuf),
}

impl ClientKind {
    fn of(endpoint: &Endpoint) -> Self {
        let trust = match (&endpoint.authorities, endpoint.is_tls()) {
            (_, false) => Trust::Plain,
            (None, true) => Trust::Machine,
            (Some(file), true) => Trust::File(file.clone()),
        };
        Self { private: endpoint.private, trust }
    }
}

pub(super) fn build_client(kind: &ClientKind) -> Result<Client, Error> {
    // A second installation fails, and then there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .http1_only()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .user_agent(concat!("wharf/", env!("CARGO_PKG_VERSION")));
    if !kind.private {
        builder = builder.dns_resolver(Arc::new(PublicResolver));
    }
    builder = match &kind.trust {
        Trust::Plain => builder.tls_certs_only([]),
        Trust::Machine => builder.https_only(true),
        Trust::File(file) => builder.https_only(true).tls_certs_only(read_authorities(file)?),
    };
    builder.build().map_err(|error| {
        let built = Error::new(
            ErrorKind::FailedPrecondition,
            Blame::Host,
            format!("no HTTPS client can be made: {}", chain(&error)),
        );
        built.with_hint(
            "the machine needs certificate authorities (Debian's ca-certificates, or \
             SSL_CERT_FILE), or the endpoint a `ca` file",
        )
    })
}

fn read_authorities(file: &Path) -> Result<Vec<Certificate>, Error> {
    let refuse = |why: String| {
        let message =
            format!("the certificate authorities in {} cannot be used: {why}", file.display());
        Error::new(ErrorKind::FailedPrecondition, Blame::Host, message)
            .with_hint("the endpoint's `ca` names a PEM file with one certificate or more")
    };
    let pem = std::fs::read(file).map_err(|error| refuse(error.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if found.is_empty() => Err(refuse("there is no certificate in it".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(refuse(chain(&error))),
    }
}

/// The causes, outermost first, without the URL: a signed query is in it.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if causes.is_empty() { "no further cause is known".to_owned() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_of_every_kind_can_be_made() {
        for private in [false, true] {
            for trust in [Trust::Plain, Trust::Machine] {
                assert!(build_client(&ClientKind { private, trust }).is_ok());
            }
        }
    }
}
