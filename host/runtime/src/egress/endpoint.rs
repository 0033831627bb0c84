//! The operator's table of endpoints: where an id leads.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;

use super::address::is_private;

/// The default of [`Endpoint::body_bytes`]; the contract names it. The largest honest answer (a
/// page of a hundred disks) has 300 KiB.
pub const BODY_BYTES: usize = 4 << 20;

/// Where requests to one id go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) id: String,
    pub(super) base: Url,
    pub(super) private: bool,
    pub(super) body_bytes: usize,
    pub(super) authorities: Option<PathBuf>,
}

/// Why an endpoint's setting cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint `{id}`: {reason}")]
pub struct EndpointError {
    /// The endpoint.
    pub id: String,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

impl Endpoint {
    /// An endpoint of the public internet. `base`: scheme, host and port, nothing more; paths are
    /// the request's.
    ///
    /// # Errors
    /// When `base` is no such URL.
    pub fn new(id: impl Into<String>, base: &str) -> Result<Self, EndpointError> {
        let id = id.into();
        let fail =
            |reason: &str| EndpointError { id: id.clone(), reason: format!("`{base}` {reason}") };
        let url = Url::parse(base).map_err(|error| fail(&format!("is no URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(fail("must begin with `https://` or `http://`"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(fail("must not hold a user or a password; accounts sign requests"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(fail("must end after the host and port"));
        }
        Ok(Self { id, base: url, private: false, body_bytes: BODY_BYTES, authorities: None })
    }

    /// Also lets requests reach this machine, its network and the metadata service.
    #[must_use]
    pub fn allow_private(mut self) -> Self {
        self.private = true;
        self
    }

    /// The largest body that is taken from this endpoint.
    #[must_use]
    pub fn with_body_bytes(mut self, bytes: usize) -> Self {
        self.body_bytes = bytes;
        self
    }

    /// A PEM file with the certificate authorities that this endpoint's certificate must descend
    /// from; without one, the machine's own. It is read before the first request.
    #[must_use]
    pub fn with_authorities(mut self, file: impl Into<PathBuf>) -> Self {
        self.authorities = Some(file.into());
        self
    }

    /// The endpoint's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `host`, or `host:port` where the port is not the scheme's: what is sent as `Host`, and
    /// signed.
    pub(super) fn authority(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.base.scheme() == "https"
    }

    /// A base that is itself an address never meets the resolver, so it is judged here.
    pub(super) fn is_refused_address(&self) -> bool {
        let host = self.base.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        !self.private && literal.is_ok_and(is_private)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_scheme_host_and_port_and_nothing_more() {
        for good in [
            "https://ecs.example.com",
            "http://127.0.0.1:8080",
            "https://ecs.example.com/",
            "http://[::1]:80",
        ] {
            assert!(Endpoint::new("e", good).is_ok(), "{good}");
        }
        for bad in [
            "ecs.example.com",
            "ftp://x",
            "https://user@x",
            "https://u:p@x",
            "https://x/path",
            "https://x/?q=1",
            "https://x/#f",
            "unix:///run/x",
        ] {
            assert!(Endpoint::new("e", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_literal_private_address_is_refused_unless_it_is_granted() {
        for base in [
            "http://127.0.0.1",
            "http://100.100.100.200",
            "http://[::1]",
            "http://0x7f.1",
            "http://2130706433",
        ] {
            let endpoint = Endpoint::new("e", base).unwrap();
            assert!(endpoint.is_refused_address(), "{base}");
            assert!(!endpoint.allow_private().is_refused_address());
        }
    }
}
