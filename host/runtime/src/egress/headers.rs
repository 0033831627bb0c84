//! Which headers a guest may set and see.

use std::collections::HashSet;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use wharf_core::types::Parameters;
use wharf_core::{Blame, Error, ErrorKind};

use crate::account::Reserved;

/// All of a request's headers together: servers refuse more than 8 to 16 KiB.
const HEADER_BYTES: usize = 8 << 10;

/// The connection belongs to the host (RFC 9110, 7.6.1), and so does what decides where a message
/// ends or goes.
const CONNECTION: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Servers and what stands before them take another method, target, caller or encoding from these:
/// the request would then be neither what was granted nor what was signed. The host sends bodies as
/// they are.
const REWRITING: [&str; 14] = [
    "content-encoding",
    "forwarded",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-real-ip",
    "x-request-uri",
    "x-rewrite-uri",
    "x-rewrite-url",
    "x-uri",
];
/// The same, all that begin like this.
const REWRITING_PREFIX: &str = "x-forwarded";
/// Keys travel in these; only a signer sets them.
const CREDENTIALS: [&str; 2] = ["authorization", "cookie"];
/// Not for a guest's eyes: they would carry state from one call to the next.
const HIDDEN_ANSWERS: [&str; 2] = ["set-cookie", "set-cookie2"];

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requester {
    /// A backend: it sees no keys and sets no header that could carry one.
    Backend,
    /// A cloud's authenticator while it obtains a credential: it holds the keys anyway.
    Authenticator,
}

/// A guest's headers, if it may set them all.
pub(super) fn checked(
    requester: Requester,
    headers: &Parameters,
    reserved: &Reserved,
) -> Result<HeaderMap, Error> {
    let mut map = HeaderMap::new();
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        // To some servers both are one letter.
        let plain = lower.replace('_', "-");
        bytes += name.len() + value.len();
        if bytes > HEADER_BYTES {
            return Err(defect(format!("its headers are longer than {HEADER_BYTES} bytes")));
        }
        if belongs_to_the_host(&plain) {
            return Err(defect(format!("it sets the header `{lower}`, which belongs to the host")));
        }
        if requester == Requester::Backend
            && (CREDENTIALS.contains(&plain.as_str()) || reserved.has_header(&plain))
        {
            return Err(denied(format!(
                "it sets the header `{lower}`, which only the account's signer may set"
            )));
        }
        if !seen.insert(plain) {
            return Err(defect(format!("it sets the header `{lower}` twice")));
        }
        insert(&mut map, &lower, value)?;
    }
    Ok(map)
}

/// Puts a signer's header in, in place of one of that name. The host's own are left to the host.
pub(super) fn put_signed(
    map: &mut HeaderMap,
    name: &str,
    value: &str,
    authority: &str,
) -> Result<(), Error> {
    let lower = name.to_ascii_lowercase();
    if lower == "host" && value == authority {
        return Ok(());
    }
    if belongs_to_the_host(&lower) {
        return Err(defect(format!(
            "the signer sets the header `{lower}`, which belongs to the host"
        )));
    }
    insert(map, &lower, value)
}

fn belongs_to_the_host(name: &str) -> bool {
    CONNECTION.contains(&name) || REWRITING.contains(&name) || name.starts_with(REWRITING_PREFIX)
}

fn insert(map: &mut HeaderMap, name: &str, value: &str) -> Result<(), Error> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| defect("a header's name is not one (RFC 9110)".to_owned()))?;
    let value = HeaderValue::from_str(value).map_err(|_| {
        defect(format!("the value of header `{name}` has characters that no header has"))
    })?;
    map.insert(header, value);
    Ok(())
}

/// An answer's headers, for the guest: what is text, without cookies and connection headers;
/// repeated ones joined by commas.
pub(super) fn visible(headers: &HeaderMap) -> Parameters {
    let mut visible = Parameters::new();
    for name in headers.keys() {
        if CONNECTION.contains(&name.as_str()) && name.as_str() != "content-length"
            || HIDDEN_ANSWERS.contains(&name.as_str())
        {
            continue;
        }
        let values: Vec<&str> =
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
        if !values.is_empty() {
            visible.push((name.as_str().to_owned(), values.join(", ")));
        }
    }
    visible
}

fn defect(message: String) -> Error {
    Error::new(ErrorKind::Internal, Blame::Backend, message)
}

fn denied(message: String) -> Error {
    Error::new(ErrorKind::PermissionDenied, Blame::Backend, message)
        .with_hint("name an account in the request; the host has it signed")
}

/// What an endpoint calls a request, by which its support finds it: clouds have the header
/// `x-…-request-id`. A word of letters, digits and a few signs, so that it can stand in any log.
pub(super) fn request_id(answer: &Parameters) -> Option<&str> {
    const LONGEST: usize = 128;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let is_id = |value: &str| (1..=LONGEST).contains(&value.len()) && value.bytes().all(is_plain);
    let named = answer.iter().find(|(name, _)| name.ends_with("request-id"));
    named.map(|(_, value)| value.as_str()).filter(|value| is_id(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved() -> Reserved {
        Reserved { headers: vec!["x-acs-".into(), "date".into()], query: vec![] }
    }

    fn one(name: &str, value: &str) -> Parameters {
        vec![(name.into(), value.into())]
    }

    #[test]
    fn a_backend_cannot_set_what_belongs_to_the_signer_or_the_host() {
        for name in [
            "Authorization",
            "cookie",
            "X-Acs-Action",
            "x-acs-signature-nonce",
            "Date",
            "Host",
            "content-length",
            "Transfer-Encoding",
            "connection",
            "X-HTTP-Method-Override",
            "x_http_method_override",
            "X-Original-URL",
            "x-rewrite-url",
            "Content-Encoding",
            "X-Forwarded-Prefix",
            "forwarded",
            "x_acs_action",
            "content_length",
        ] {
            assert!(checked(Requester::Backend, &one(name, "v"), &reserved()).is_err(), "{name}");
        }
        for name in ["accept", "x-aliyun-ecs-metadata-token", "content-type", "x-acsx", "dates"] {
            assert!(checked(Requester::Backend, &one(name, "v"), &reserved()).is_ok(), "{name}");
        }
    }

    #[test]
    fn an_authenticator_sets_what_it_signs_but_not_what_belongs_to_the_host() {
        assert!(checked(Requester::Authenticator, &one("authorization", "v"), &reserved()).is_ok());
        assert!(checked(Requester::Authenticator, &one("host", "v"), &reserved()).is_err());
    }

    #[test]
    fn headers_cannot_be_smuggled_repeated_or_made_huge() {
        assert!(checked(Requester::Backend, &one("a", "v\r\nhost: x"), &reserved()).is_err());
        assert!(checked(Requester::Backend, &one("a b", "v"), &reserved()).is_err());
        for (one, other) in [("a", "A"), ("x-b", "x_b")] {
            let twice = vec![(one.to_owned(), "1".to_owned()), (other.to_owned(), "2".to_owned())];
            assert!(checked(Requester::Backend, &twice, &reserved()).is_err(), "{one}");
        }
        assert!(
            checked(Requester::Backend, &one("a", &"v".repeat(HEADER_BYTES)), &reserved()).is_err()
        );
    }

    #[test]
    fn a_signer_may_repeat_the_host_and_not_change_it() {
        let mut map = HeaderMap::new();
        assert!(put_signed(&mut map, "Host", "ecs.example.com", "ecs.example.com").is_ok());
        assert!(put_signed(&mut map, "host", "evil.example.com", "ecs.example.com").is_err());
        assert!(map.is_empty());
    }

    #[test]
    fn cookies_and_connection_headers_stay_with_the_host() {
        let mut map = HeaderMap::new();
        for (name, value) in
            [("set-cookie", "a=b"), ("connection", "close"), ("x-request-id", "1"), ("via", "a")]
        {
            map.append(name, HeaderValue::from_static(value));
        }
        map.append("via", HeaderValue::from_static("b"));
        let mut seen = visible(&map);
        seen.sort();
        assert_eq!(
            seen,
            vec![
                ("via".to_owned(), "a, b".to_owned()),
                ("x-request-id".to_owned(), "1".to_owned())
            ]
        );
    }

    #[test]
    fn an_id_of_a_request_is_a_plain_word() {
        let of = |name: &str, value: &str| {
            let answer = vec![("date".into(), "now".into()), (name.to_owned(), value.to_owned())];
            request_id(&answer).map(str::to_owned)
        };
        assert_eq!(of("x-cloud-request-id", "6E2B-01").as_deref(), Some("6E2B-01"));
        assert_eq!(of("x-store-request-id", "5F.0_a:1").as_deref(), Some("5F.0_a:1"));
        for odd in ["", "a b", "a\nb", "a?Signature=b", &"a".repeat(129)] {
            assert_eq!(of("x-store-request-id", odd), None, "{odd}");
        }
        assert_eq!(of("x-request-target", "a"), None);
    }
}
