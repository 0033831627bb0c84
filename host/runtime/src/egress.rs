//! Requests that leave the host on a guest's behalf: what a request is, what it may be, and who
//! sends it.
//!
//! A guest names an endpoint, an account and an action; it never sees a URL or a key.
//! [`HttpEgress`] is the one implementation that has a network; tests put their own behind
//! [`Egress`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use wharf_core::manifest::EndpointRequest;
use wharf_core::policy::{Asked, EndpointGrant};
use wharf_core::ports::Call;
use wharf_core::types::Parameters;
use wharf_core::{Error, Secret};

use crate::account::{Signer, Used};
use crate::guest_log::Scrubber;
use crate::share::Admission;

mod address;
mod client;
mod connections;
mod endpoint;
mod headers;
mod own;
mod pace;
mod parameters;
mod url;

pub use client::{HttpEgress, Probed};
pub use endpoint::{Endpoint, EndpointError};
pub use headers::Requester;
pub use own::{OwnHttp, OwnRequest};
pub use pace::{PaceOfAction, PaceOfSite, REQUESTS_AT_ONCE};

/// Whether an unanswered request may have changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestEffect {
    /// It only reads.
    Read,
    /// It may change something.
    Mutate,
}

/// One request, as the guest wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The endpoint's id.
    pub endpoint: String,
    /// Who signs; absent: nobody.
    pub account: Option<String>,
    /// What an unanswered one may have done.
    pub effect: RequestEffect,
    /// What is granted, where the signer signs one; otherwise empty.
    pub action: String,
    /// What the signer needs besides.
    pub api: Parameters,
    /// Upper case.
    pub method: String,
    /// Before the endpoint's host name; absent: the host name alone.
    pub subdomain: Option<String>,
    /// Percent-encoded, in normal form.
    pub path: String,
    /// Decoded.
    pub query: Parameters,
    /// The guest's headers.
    pub headers: Parameters,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// What grants speak of.
    pub fn asked(&self) -> Asked {
        if self.action.is_empty() {
            let subdomain = self.subdomain.as_deref().unwrap_or_default();
            Asked::Path {
                line: format!("{} {subdomain}{}", self.method, self.path),
                keys: self.query.iter().map(|(key, _)| key.clone()).collect(),
            }
        } else {
            Asked::Action(self.action.clone())
        }
    }
}

/// An answer, of whatever status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Lower-case names; cookies and connection headers are left out.
    pub headers: Parameters,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What one component may ask for: what its manifest requests *and* what the operator grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// The operator's side.
    pub operator: Vec<EndpointGrant>,
    /// The manifest's side.
    pub manifest: Vec<EndpointRequest>,
}

impl Grants {
    /// The operator's pattern that covers a request.
    fn granted(&self, request: &Request, asked: &Asked) -> Option<&str> {
        let account = request.account.as_deref();
        self.operator.iter().find_map(|grant| grant.covering(&request.endpoint, account, asked))
    }

    /// Lets a request pass, or says which side refuses it and where to change that.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub fn check(&self, request: &Request) -> Result<(), Error> {
        let (endpoint, account, asked) =
            (request.endpoint.as_str(), request.account.as_deref(), request.asked());
        let signed = account.map_or_else(
            || "unsigned".to_owned(),
            |account| format!("signed by account `{account}`"),
        );
        if !self.manifest.iter().any(|ours| ours.covers(endpoint, account.is_some(), &asked)) {
            return Err(Error::denied(format!(
                "`{asked}` on endpoint `{endpoint}` ({signed}) is not in the component's manifest"
            ))
            .with_hint(
                "the backend's author has to request it; a manifest that does not ask gets nothing",
            ));
        }
        if !self.operator.iter().any(|grant| grant.permits(endpoint, account, &asked)) {
            return Err(Error::denied(format!(
                "`{asked}` on endpoint `{endpoint}` ({signed}) is not granted"
            ))
            .with_hint(format!(
                "an administrator can add it to the grants of endpoint `{endpoint}` in the \
                 configuration"
            )));
        }
        Ok(())
    }
}

/// Under which rules requests are sent.
pub struct Scope<'a> {
    /// What may be asked.
    pub grants: &'a Grants,
    /// Who wrote the requests.
    pub requester: Requester,
    /// The operator's name for whoever asks: backends take turns by it.
    pub asker: &'a Arc<str>,
    /// Who signs; absent: a request that names an account is refused.
    pub signer: Option<&'a dyn Signer>,
    /// Secrets that came with the call, for accounts whose source that is.
    pub call_secrets: &'a [(String, Secret)],
    /// Ends with the requests, and stops waiting when it is cancelled.
    pub call: &'a Call,
    /// Stops waiting then.
    pub deadline: Instant,
    /// Body bytes that this call may still receive.
    pub bodies: Budget,
    pub(crate) used: &'a Used,
    pub(crate) scrubber: &'a Scrubber,
}

/// A number of bytes that several requests share.
#[derive(Debug, Clone)]
pub struct Budget {
    left: Arc<AtomicUsize>,
    admission: Option<Arc<Admission>>,
}

/// Why there are no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// The call had as many as one call may have.
    ByTheCall,
    /// Other calls of the same backend have what the process gives them.
    ByOthers,
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)), admission: None }
    }

    /// So many bytes, which count as the call's.
    pub(crate) fn within(bytes: usize, admission: Arc<Admission>) -> Self {
        Self { admission: Some(admission), ..Self::new(bytes) }
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// When there are not so many left; nothing is taken then.
    pub fn take(&self, bytes: usize) -> Result<(), Spent> {
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .map_err(|_| Spent::ByTheCall)?;
        match &self.admission {
            Some(admission) if !admission.take(bytes) => {
                self.left.fetch_add(bytes, Ordering::Relaxed);
                Err(Spent::ByOthers)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Sends requests.
pub trait Egress: Send + Sync {
    /// Sends all of them, each as soon as its turn comes, and answers in their order. The error of
    /// a mutating request that left the host and was not answered has
    /// [`wharf_core::Effect::Unknown`]; every other error has [`wharf_core::Effect::None`].
    fn send_all(&self, scope: &Scope<'_>, requests: Vec<Request>) -> Vec<Result<Response, Error>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(account: Option<&str>, action: &str) -> Request {
        Request {
            endpoint: "ecs".into(),
            account: account.map(Into::into),
            effect: RequestEffect::Read,
            action: action.into(),
            api: vec![],
            method: "GET".into(),
            subdomain: None,
            path: "/latest/id".into(),
            query: vec![],
            headers: vec![],
            body: vec![],
        }
    }

    #[test]
    fn a_request_needs_both_the_manifest_and_the_operator() {
        let asked = EndpointRequest {
            endpoint: "ecs".parse().unwrap(),
            signed: true,
            actions: vec!["*".parse().unwrap()],
            paths: vec![],
        };
        let grant = EndpointGrant {
            endpoint: "ecs".into(),
            account: Some("main".into()),
            actions: vec!["Describe*".into()],
            ..EndpointGrant::default()
        };
        let both = Grants { operator: vec![grant.clone()], manifest: vec![asked.clone()] };
        assert!(both.check(&request(Some("main"), "DescribeDisks")).is_ok());
        assert!(
            both.check(&request(Some("main"), "DeleteDisk"))
                .unwrap_err()
                .message
                .contains("not granted")
        );
        assert!(both.check(&request(Some("other"), "DescribeDisks")).is_err());
        let only_operator = Grants { operator: vec![grant], manifest: vec![] };
        assert!(
            only_operator
                .check(&request(Some("main"), "DescribeDisks"))
                .unwrap_err()
                .message
                .contains("manifest")
        );
        let only_manifest = Grants { operator: vec![], manifest: vec![asked] };
        assert!(only_manifest.check(&request(Some("main"), "DescribeDisks")).is_err());
    }

    #[test]
    fn an_unsigned_request_is_granted_by_its_method_and_path() {
        let asked = EndpointRequest {
            endpoint: "ecs".parse().unwrap(),
            signed: false,
            actions: vec![],
            paths: vec!["GET /latest/*".parse().unwrap()],
        };
        let grant = EndpointGrant {
            endpoint: "ecs".into(),
            account: None,
            paths: vec!["GET /latest/id".into()],
            ..EndpointGrant::default()
        };
        let grants = Grants { operator: vec![grant], manifest: vec![asked] };
        assert!(grants.check(&request(None, "")).is_ok());
        assert!(grants.check(&request(Some("main"), "GET /latest/id")).is_err());
        let with_key = Request { query: vec![("acl".into(), String::new())], ..request(None, "") };
        let refused = grants.check(&with_key).unwrap_err();
        assert!(refused.message.contains("`GET /latest/id?acl`"), "{refused}");
    }

    #[test]
    fn a_budget_is_shared_and_never_overdrawn() {
        let budget = Budget::new(10);
        let other = budget.clone();
        assert_eq!(budget.take(6), Ok(()));
        assert_eq!(other.take(6), Err(Spent::ByTheCall));
        assert_eq!(other.take(4), Ok(()));
    }
}
