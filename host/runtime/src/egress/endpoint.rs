//! The operator's table of endpoints: where an id leads.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Url;
use reqwest::header::HeaderValue;
use wharf_core::Error;

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
    pub(super) subdomains: bool,
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
        Ok(Self {
            id,
            base: url,
            private: false,
            subdomains: false,
            body_bytes: BODY_BYTES,
            authorities: None,
        })
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

    /// Lets requests put a name before the host's (a bucket, say).
    #[must_use]
    pub fn with_subdomains(mut self) -> Self {
        self.subdomains = true;
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

    /// Where a request goes, with a subdomain before the host name where the operator allows it.
    /// A base that is an address is connected to as it is: the subdomain stands in `Host` alone.
    pub(super) fn site(&self, subdomain: Option<&str>) -> Result<Site, Error> {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port().map(|port| format!(":{port}")).unwrap_or_default();
        let Some(subdomain) = subdomain else {
            let authority = format!("{host}{port}");
            return Ok(Site { base: self.base.clone(), authority, is_address: false });
        };
        if !self.subdomains {
            return Err(Error::denied(format!(
                "endpoint `{}` has no subdomains, and the request names `{subdomain}`",
                self.id
            ))
            .with_hint("an administrator can set `subdomains = true` for the endpoint"));
        }
        if !is_label(subdomain) {
            return Err(Error::invalid(format!("`{subdomain}` is not one name before a host")));
        }
        let authority = format!("{subdomain}.{host}{port}");
        let is_address = self.base.domain().is_none();
        let mut base = self.base.clone();
        if !is_address {
            base.set_host(Some(&format!("{subdomain}.{host}"))).map_err(|error| {
                Error::invalid(format!("`{subdomain}.{host}` is not a host name: {error}"))
            })?;
        }
        Ok(Site { base, authority, is_address })
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

/// Where one request goes.
pub(super) struct Site {
    /// What is connected to.
    pub(super) base: Url,
    /// `host`, or `host:port` where the port is not the scheme's: what is sent as `Host`, and
    /// signed.
    pub(super) authority: String,
    is_address: bool,
}

impl Site {
    /// The `Host` header, where it is not what the URL says.
    pub(super) fn host_header(&self) -> Result<Option<HeaderValue>, Error> {
        let header = || HeaderValue::from_str(&self.authority);
        self.is_address
            .then(header)
            .transpose()
            .map_err(|_| Error::internal("a host name that passed is none"))
    }
}

/// One label of a DNS name.
fn is_label(text: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
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

    #[test]
    fn a_subdomain_is_one_label_and_needs_the_operators_leave() {
        let endpoint = Endpoint::new("oss", "https://oss.example.com").unwrap();
        assert!(endpoint.site(Some("bucket")).is_err());
        let endpoint = endpoint.with_subdomains();
        let site = endpoint.site(Some("bucket")).unwrap();
        assert_eq!(site.base.as_str(), "https://bucket.oss.example.com/");
        assert_eq!(site.authority, "bucket.oss.example.com");
        assert!(site.host_header().unwrap().is_none());
        for bad in ["", "a.b", "-a", "a-", "A", "a/b", "a@b", &"a".repeat(64)] {
            assert!(endpoint.site(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_connected_to_as_it_is_and_told_the_subdomain() {
        let endpoint = Endpoint::new("oss", "http://127.0.0.1:80/").unwrap().with_subdomains();
        let site = endpoint.site(Some("bucket")).unwrap();
        assert_eq!(site.base.host_str(), Some("127.0.0.1"));
        assert_eq!(site.host_header().unwrap().unwrap(), "bucket.127.0.0.1");
    }
}
