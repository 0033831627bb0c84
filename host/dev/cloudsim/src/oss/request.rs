//! One request's head: which bucket and key it means, by path or by host, and through which face it
//! comes.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use axum::http::request::Parts;

use super::error::OssError;
use crate::clock::Millis;
use crate::text::{decode_pairs, decode_path};

/// Longest name of an object, in bytes.
const LONGEST_KEY: usize = 1023;

/// Which API a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Face {
    /// OSS's own; also that of a request that nobody signed.
    Native,
    /// S3's.
    S3,
}

impl Face {
    /// How its own headers begin.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Native => "x-oss-",
            Self::S3 => "x-amz-",
        }
    }
}

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) arrived: Millis,
    pub(crate) method: String,
    /// As sent.
    pub(crate) path: String,
    /// Decoded.
    pub(crate) query: Vec<(String, String)>,
    /// Names in lower case; repeated ones are joined by commas.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) face: Face,
    pub(crate) bucket: Option<String>,
    /// Empty: the bucket itself, or the service.
    pub(crate) key: String,
    /// Whether the host names the bucket.
    pub(crate) by_host: bool,
}

impl Head {
    pub(crate) fn read(arrived: Millis, parts: &Parts, region: &str) -> Self {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|known| *known = format!("{known},{value}"))
                .or_insert_with(|| value.into_owned());
        }
        let path = parts.uri.path().to_owned();
        let query = decode_pairs(parts.uri.query().unwrap_or_default());
        let host = headers.get("host").map(String::as_str).unwrap_or_default();
        let decoded = decode_path(path.strip_prefix('/').unwrap_or(&path));
        let (bucket, key, by_host) = match bucket_of_host(host, region) {
            Some(bucket) => (Some(bucket.to_owned()), decoded, true),
            None => {
                let (bucket, key) = decoded.split_once('/').unwrap_or((&decoded, ""));
                let bucket = (!bucket.is_empty()).then(|| bucket.to_owned());
                (bucket, key.to_owned(), false)
            }
        };
        let face = face(&headers, &query);
        let method = parts.method.to_string();
        Self { arrived, method, path, query, headers, face, bucket, key, by_host }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A header of the face's own: `acl` is `x-oss-acl` or `x-amz-acl`.
    pub(crate) fn own_header(&self, name: &str) -> Option<&str> {
        self.header(&format!("{}{name}", self.face.prefix()))
    }

    /// A query parameter; one without a value is empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.parameter(name).is_some()
    }

    /// A query parameter that is a number; the SDKs send empty ones for those that they leave out.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, OssError> {
        let text = self.parameter(name).filter(|text| !text.is_empty());
        let Some(text) = text else { return Ok(None) };
        let refuse = |_| OssError::argument(name, text, format!("Argument {name} is not valid."));
        text.parse().map(Some).map_err(refuse)
    }

    /// The host without its port, as errors name it.
    pub(crate) fn host(&self) -> &str {
        without_port(self.header("host").unwrap_or_default())
    }

    /// The bucket's name, when the request names one.
    pub(crate) fn bucket(&self) -> &str {
        self.bucket.as_deref().unwrap_or_default()
    }

    /// Whether the names can be, and may be given in this way.
    pub(crate) fn check_names(&self, region: &str) -> Result<(), OssError> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        if !self.by_host && service_hosts(region).iter().any(|host| host == self.host()) {
            let message = "Please use virtual hosted style to access.";
            return Err(OssError::new(403, "SecondLevelDomainForbidden", message));
        }
        check_bucket_name(bucket)?;
        check_key(&self.key)
    }
}

/// 3 to 63 lower-case letters, digits and hyphens, no hyphen at either end.
pub(crate) fn check_bucket_name(bucket: &str) -> Result<(), OssError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(plain)
        && !bucket.starts_with('-')
        && !bucket.ends_with('-');
    if good { Ok(()) } else { Err(OssError::bucket_name(bucket)) }
}

/// 1 to 1023 bytes that do not begin with a slash or a backslash; empty is not a key.
pub(crate) fn check_key(key: &str) -> Result<(), OssError> {
    if key.len() > LONGEST_KEY {
        let message = "The length of object name must be less than 1024.";
        return Err(OssError::object_name(message));
    }
    if key.starts_with(['/', '\\']) {
        return Err(OssError::object_name("The specified object is not valid."));
    }
    Ok(())
}

/// The hosts of the service itself, without a bucket; one that ends in another comes before it.
fn service_hosts(region: &str) -> [String; 3] {
    [
        format!("s3.oss-{region}.aliyuncs.com"),
        format!("oss-{region}.aliyuncs.com"),
        format!("oss-{region}-internal.aliyuncs.com"),
    ]
}

fn bucket_of_host<'a>(host: &'a str, region: &str) -> Option<&'a str> {
    let host = without_port(host);
    let local = "localhost".to_owned();
    if host.parse::<Ipv4Addr>().is_ok() || service_hosts(region).iter().any(|own| own == host) {
        return None;
    }
    service_hosts(region).iter().chain([&local]).find_map(|own| {
        host.strip_suffix(own.as_str())?.strip_suffix('.').filter(|bucket| !bucket.is_empty())
    })
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

fn face(headers: &BTreeMap<String, String>, query: &[(String, String)]) -> Face {
    let is_s3 = match headers.get("authorization") {
        Some(authorization) => authorization.starts_with("AWS"),
        None => {
            query.iter().any(|(name, _)| name.starts_with("X-Amz-") || name == "AWSAccessKeyId")
                || headers.keys().any(|name| name.starts_with("x-amz-"))
        }
    };
    if is_s3 { Face::S3 } else { Face::Native }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(host: &str, target: &str) -> Head {
        let request = axum::http::Request::get(target).header("host", host).body(()).unwrap();
        Head::read(0, &request.into_parts().0, "cn-wharf-1")
    }

    #[test]
    fn a_bucket_is_named_by_path_or_by_host() {
        for (host, target, bucket, key) in [
            ("127.0.0.1:1", "/", None, ""),
            ("127.0.0.1:1", "/b-1", Some("b-1"), ""),
            ("127.0.0.1:1", "/b-1/", Some("b-1"), ""),
            ("127.0.0.1:1", "/b-1/a%2Fb/c+d%20", Some("b-1"), "a/b/c+d "),
            ("oss-cn-wharf-1.aliyuncs.com", "/", None, ""),
            ("b-1.oss-cn-wharf-1.aliyuncs.com:80", "/a/b", Some("b-1"), "a/b"),
            ("b-1.oss-cn-wharf-1-internal.aliyuncs.com", "/", Some("b-1"), ""),
            ("b-1.s3.oss-cn-wharf-1.aliyuncs.com", "/a", Some("b-1"), "a"),
            ("b-1.localhost:80", "/a", Some("b-1"), "a"),
        ] {
            let head = head(host, target);
            let found = (head.bucket.as_deref(), head.key.as_str());
            assert_eq!(found, (bucket, key), "{host} {target}");
            head.check_names("cn-wharf-1").unwrap();
        }
    }

    #[test]
    fn the_service_s_own_name_refuses_the_path_style() {
        let head = head("oss-cn-wharf-1.aliyuncs.com", "/b-1/key");
        let error = head.check_names("cn-wharf-1").unwrap_err();
        assert_eq!(error.code, "SecondLevelDomainForbidden");
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for bucket in ["ab", "-ab", "ab-", "aB1", "a_b", "a.b", &"x".repeat(64), "..", "a/b"] {
            assert!(check_bucket_name(bucket).is_err(), "{bucket}");
        }
        for key in ["/a", "\\a", &"k".repeat(1024)] {
            assert_eq!(check_key(key).unwrap_err().code, "InvalidObjectName");
        }
        assert!(check_key("../a//b").is_ok());
    }
}
