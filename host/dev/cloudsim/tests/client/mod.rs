//! A small client for tests: one request per connection, signed the old way (RPC, HMAC-SHA1).

#![allow(dead_code, reason = "every test file uses its own part of it")]

use std::fmt::Display;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use sha1::Sha1;
use time::UtcDateTime;
use time::format_description::well_known::Rfc3339;
use wharf_cloudsim::{AccessKey, Region};

/// How a request is signed and sent; the fields are there to be got wrong.
pub struct Client {
    pub base: String,
    pub version: &'static str,
    pub id: String,
    pub secret: String,
    pub token: Option<String>,
    pub timestamp: Option<String>,
    pub nonce: Option<String>,
}

/// Status and body of an answer.
pub type Answered = std::io::Result<(u16, String)>;

pub const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

static NONCE: AtomicU64 = AtomicU64::new(1);

impl Client {
    /// For the region's administrator.
    pub fn ecs(region: &Region) -> Self {
        Self::with(&region.description().endpoints.ecs, "2014-05-26", &region.description().admin)
    }

    pub fn nas(region: &Region) -> Self {
        Self::with(&region.description().endpoints.nas, "2017-06-26", &region.description().admin)
    }

    pub fn sts(region: &Region) -> Self {
        Self::with(&region.description().endpoints.sts, "2015-04-01", &region.description().admin)
    }

    pub fn with(base: &str, version: &'static str, keys: &AccessKey) -> Self {
        let (id, secret) = (keys.access_key_id.clone(), keys.access_key_secret.clone());
        Self {
            base: base.to_owned(),
            version,
            id,
            secret,
            token: None,
            timestamp: None,
            nonce: None,
        }
    }

    /// The answer's body; panics on any error.
    pub fn ok(&self, action: &str, params: &[(&str, &str)]) -> Value {
        let (status, body) = self.send(action, params).unwrap();
        assert_eq!(status, 200, "{action}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Status and code of the error; panics on success.
    pub fn error(&self, action: &str, params: &[(&str, &str)]) -> (u16, String) {
        let (status, body) = self.send(action, params).unwrap();
        assert_ne!(status, 200, "{action}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        for field in ["RequestId", "HostId", "Code", "Message", "Recommend"] {
            assert!(body[field].is_string(), "{body}");
        }
        (status, body["Code"].as_str().unwrap().to_owned())
    }

    /// Sends a signed form.
    pub fn send(&self, action: &str, params: &[(&str, &str)]) -> Answered {
        http(&self.base, "POST", "/", &[FORM], &self.sign(action, params))
    }

    /// The signed form.
    pub fn sign(&self, action: &str, params: &[(&str, &str)]) -> String {
        let mut pairs: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let nonce = self.nonce.clone().unwrap_or_else(|| {
            format!("{}-{}", std::process::id(), NONCE.fetch_add(1, Ordering::Relaxed))
        });
        let common = [
            ("Action", action),
            ("Version", self.version),
            ("Format", "JSON"),
            ("RegionId", "cn-wharf-1"),
            ("AccessKeyId", &self.id),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureVersion", "1.0"),
            ("SignatureNonce", &nonce),
            ("Timestamp", &self.timestamp.clone().unwrap_or_else(now)),
        ];
        let common =
            common.into_iter().filter(|(name, _)| !params.iter().any(|(given, _)| given == name));
        pairs.extend(common.map(|(name, value)| (name.to_owned(), value.to_owned())));
        pairs.extend(self.token.iter().map(|token| ("SecurityToken".to_owned(), token.clone())));
        pairs.sort();
        let canonical = form(&pairs);
        let mut mac = Hmac::<Sha1>::new_from_slice(format!("{}&", self.secret).as_bytes()).unwrap();
        mac.update(format!("POST&%2F&{}", encode(&canonical)).as_bytes());
        pairs.push((
            "Signature".to_owned(),
            base64::engine::general_purpose::STANDARD.encode(mac.finalize().into_bytes()),
        ));
        form(&pairs)
    }

    pub fn disk(&self, id: &str) -> Value {
        self.ok("DescribeDisks", &[("DiskIds", &format!("[\"{id}\"]"))])["Disks"]["Disk"][0].clone()
    }

    /// Waits until a disk has that status.
    pub fn wait(&self, id: &str, status: &str) -> Value {
        eventually(
            || Some(self.disk(id)).filter(|disk| disk["Status"] == status),
            &format!("{id} {status}"),
        )
    }

    /// A new disk in the first zone that is `Available`.
    pub fn new_disk(&self, size: &str) -> String {
        let made = self.ok(
            "CreateDisk",
            &[("ZoneId", "cn-wharf-1a"), ("Size", size), ("DiskCategory", "cloud_essd")],
        );
        let id = made["DiskId"].as_str().unwrap().to_owned();
        self.wait(&id, "Available");
        id
    }
}

/// Asks until there is an answer, for ten seconds.
pub fn eventually<T>(mut ask: impl FnMut() -> Option<T>, what: &str) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One HTTP request; the connection closes after it. An answer that ends early is an error.
pub fn http(
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answered {
    read_answer(begin(base, method, path, headers, body)?)
}

/// Reads an answer to its end.
pub fn read_answer(mut stream: impl Read) -> Answered {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
    });
    if length.is_some_and(|length| length > body.len()) {
        return Err(cut());
    }
    Ok((status, body.to_owned()))
}

/// Sends a request and leaves the answer to the caller, who may also hang up.
pub fn begin(
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> std::io::Result<TcpStream> {
    let host = base.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request(host, method, path, headers, body).as_bytes())?;
    Ok(stream)
}

/// The text of a request after whose answer the connection closes.
pub fn request(
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> String {
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: \
         {}\r\n{headers}\r\n",
        body.len()
    );
    format!("{head}{body}")
}

fn form(pairs: &[(String, String)]) -> String {
    let pairs: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

fn encode(text: &str) -> impl Display {
    const RESERVED: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(text, RESERVED)
}

/// The present as the API writes it.
pub fn now() -> String {
    ago(0)
}

/// So many seconds before the present.
pub fn ago(seconds: u64) -> String {
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - seconds;
    let at = UtcDateTime::from_unix_timestamp(i64::try_from(at).unwrap()).unwrap();
    at.format(&Rfc3339).unwrap()
}
