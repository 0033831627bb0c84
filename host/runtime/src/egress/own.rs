//! Requests of the host itself to what an operator runs beside it: an API server, a collector of
//! traces. No guest has a part in them, no account signs them, and no pace holds them back; whoever
//! sends them bounds how many there are.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use wharf_core::{Blame, Error, ErrorKind};

use super::connections::{ClientKind, Trust, build_client, chain};

/// Longer answers are cut: they are an error's text, or an object that was made.
const ANSWER_BYTES: usize = 64 << 10;

/// Sends them, over pooled connections; cheap to clone.
#[derive(Debug, Clone)]
pub struct OwnHttp {
    client: Client,
}

impl OwnHttp {
    /// For URLs that begin like `url`. `authorities`: a PEM file; absent: the machine's own.
    ///
    /// # Errors
    /// `url` is none, or has a user in it; `authorities` cannot be used.
    pub fn new(url: &str, authorities: Option<&Path>) -> Result<Self, Error> {
        let parsed = Url::parse(url).map_err(|error| Error::invalid(format!("no URL: {error}")))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(Error::invalid("a URL must not hold a user or a password"));
        }
        let trust = match (parsed.scheme(), authorities) {
            ("http", _) => Trust::Plain,
            ("https", None) => Trust::Machine,
            ("https", Some(file)) => Trust::File(file.to_owned()),
            _ => return Err(Error::invalid("a URL must begin with `https://` or `http://`")),
        };
        Ok(Self { client: build_client(&ClientKind { private: true, trust })? })
    }

    /// Sends one request; answers with its status and the beginning of what came back. Called where
    /// an async runtime runs.
    ///
    /// # Errors
    /// Nothing came back within that time. The message has no URL and no header.
    pub async fn send(
        &self,
        request: OwnRequest<'_>,
        within: Duration,
    ) -> Result<(u16, Vec<u8>), Error> {
        let OwnRequest { method, url, headers, body } = request;
        let defect = |what: &str| Error::internal(format!("a request's {what} cannot be sent"));
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| defect("method"))?;
        let mut builder = self.client.request(method, url).body(body);
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| defect("header"))?;
            let mut value = HeaderValue::from_bytes(value).map_err(|_| defect("header"))?;
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        let exchange = async {
            let mut answer = builder.send().await?;
            let mut body = Vec::new();
            while let Some(chunk) = answer.chunk().await? {
                let room = ANSWER_BYTES.saturating_sub(body.len());
                body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                if body.len() >= ANSWER_BYTES {
                    break;
                }
            }
            Ok((answer.status().as_u16(), body))
        };
        let lost = |why: String| Error::new(ErrorKind::Unavailable, Blame::Host, why);
        match tokio::time::timeout(within, exchange).await {
            Ok(answer) => answer.map_err(|error: reqwest::Error| lost(chain(&error))),
            Err(_elapsed) => Err(lost(format!("no answer within {within:?}"))),
        }
    }
}

/// One request.
#[derive(Debug)]
pub struct OwnRequest<'a> {
    /// Upper case.
    pub method: &'a str,
    /// Where to.
    pub url: &'a str,
    /// Names and values; they may be secret.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body.
    pub body: Vec<u8>,
}
