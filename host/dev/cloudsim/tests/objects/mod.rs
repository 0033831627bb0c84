//! A small client of object storage for tests: one request per connection, signed with V1.

#![allow(dead_code, reason = "every test file uses its own part of it")]

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use wharf_cloudsim::Region;

use super::client::{Answered, http};

/// Sub-resources that tests ask for; they are signed.
const SIGNED: &[&str] =
    &["acl", "delete", "lifecycle", "partNumber", "tagging", "uploadId", "uploads"];

/// How requests are signed; the fields are there to be got wrong.
pub struct Objects {
    pub base: String,
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
    pub date: Option<SystemTime>,
}

impl Objects {
    /// For the region's administrator.
    pub fn of(region: &Region) -> Self {
        let description = region.description();
        Self {
            base: description.endpoints.oss.clone(),
            id: description.admin.access_key_id.clone(),
            secret: description.admin.access_key_secret.clone(),
            token: None,
            date: None,
        }
    }

    /// Sends a request that is signed.
    pub fn send(&self, method: &str, target: &str, body: &str) -> Answered {
        self.send_with(method, target, &[], body)
    }

    /// The same, with headers of OSS's own.
    pub fn send_with(
        &self,
        method: &str,
        target: &str,
        own: &[(&str, &str)],
        body: &str,
    ) -> Answered {
        let date = httpdate::fmt_http_date(self.date.unwrap_or_else(SystemTime::now));
        let token = self.token.as_deref().map(|token| ("x-oss-security-token", token));
        let mut own: Vec<_> = own.iter().copied().chain(token).collect();
        own.sort_unstable();
        let lines: String = own.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<_> = query
            .split('&')
            .filter(|pair| SIGNED.contains(&pair.split('=').next().unwrap()))
            .collect();
        let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        let path = if path.matches('/').count() == 1 && path != "/" {
            format!("{path}/")
        } else {
            path.to_owned()
        };
        let text = format!("{method}\n\n\n{date}\n{lines}{path}{query}");
        let mut mac = Hmac::<Sha1>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        let authorization = format!("OSS {}:{signature}", self.id);
        let mut headers = vec![("date", date.as_str()), ("authorization", &authorization)];
        headers.extend(own);
        http(&self.base, method, target, &headers, body)
    }

    /// The answer's body; panics on any error.
    pub fn ok(&self, method: &str, target: &str, body: &str) -> String {
        let (status, answer) = self.send(method, target, body).unwrap();
        assert!((200..300).contains(&status), "{method} {target}: {status} {answer}");
        answer
    }

    /// Status and code of the error; panics on success.
    pub fn error(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        let (status, answer) = self.send(method, target, body).unwrap();
        assert!(status >= 400, "{method} {target}: {status} {answer}");
        for field in ["Code", "Message", "RequestId", "HostId"] {
            assert!(element(&answer, field).is_some(), "{answer}");
        }
        (status, element(&answer, "Code").unwrap().to_owned())
    }
}

/// What is in the first element of that name.
pub fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}
