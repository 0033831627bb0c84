//! The exact bytes of a request's target. They are built once: what is signed is what is sent, and
//! what is granted is what is reached.

use std::fmt::Display;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use wharf_core::types::Parameters;
use wharf_core::{Blame, Error, ErrorKind};

/// A path and a query together: the bound that servers have.
pub(super) const TARGET_BYTES: usize = 8 << 10;

/// The URL of `path` and `query` under `base`, refused unless it is in normal form already:
/// whatever would be rewritten on the way would be neither what was granted nor what was signed.
pub(super) fn target(base: &Url, path: &str, query: &Parameters) -> Result<Url, Error> {
    if !path.starts_with('/') || climbs(path) {
        return Err(defect("its path must begin with `/` and have no `..`"));
    }
    let encoded = encode_query(query);
    if path.len() + encoded.len() > TARGET_BYTES {
        return Err(defect(&format!("its path and query are longer than {TARGET_BYTES} bytes")));
    }
    let mut url = base.clone();
    url.set_path(path);
    url.set_query((!encoded.is_empty()).then_some(encoded.as_str()));
    if url.path() != path || url.query().unwrap_or_default() != encoded {
        return Err(defect("its path is not percent-encoded in normal form"));
    }
    Ok(url)
}

/// Whether a segment means "one up" to any server, also one that decodes slashes first.
fn climbs(path: &str) -> bool {
    let lower = path
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "/")
        .replace('\\', "/");
    lower.split('/').any(|segment| segment == "..")
}

fn encode_query(query: &Parameters) -> String {
    let pairs: Vec<String> =
        query.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect();
    pairs.join("&")
}

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

fn encode(text: &str) -> impl Display {
    utf8_percent_encode(text, RESERVED)
}

fn defect(what: &str) -> Error {
    Error::new(ErrorKind::Internal, Blame::Backend, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Url {
        Url::parse("https://ecs.example.com").unwrap()
    }

    #[test]
    fn a_target_has_exactly_the_bytes_that_were_built() {
        let query =
            vec![("Action".to_owned(), "A b+c/d=é~".to_owned()), ("X".to_owned(), String::new())];
        let url = target(&base(), "/a/b%20c", &query).unwrap();
        assert_eq!(
            url.as_str(),
            "https://ecs.example.com/a/b%20c?Action=A%20b%2Bc%2Fd%3D%C3%A9~&X="
        );
        assert_eq!(target(&base(), "/", &vec![]).unwrap().as_str(), "https://ecs.example.com/");
        assert_eq!(target(&base(), "//x", &vec![]).unwrap().as_str(), "https://ecs.example.com//x");
    }

    #[test]
    fn a_path_that_would_be_rewritten_is_refused() {
        for path in [
            "",
            "a",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a/..%2fb",
            "/a%2F..",
            "/a\\b",
            "/a b",
            "/a?b",
            "/a#b",
            "/é",
            "/a\tb",
            "/..",
        ] {
            assert!(target(&base(), path, &vec![]).is_err(), "{path}");
        }
    }

    #[test]
    fn a_target_is_bounded() {
        assert!(target(&base(), &format!("/{}", "a".repeat(TARGET_BYTES)), &vec![]).is_err());
    }
}
