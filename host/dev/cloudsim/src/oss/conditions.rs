//! Conditions and ranges of a request for an object.

use std::time::{Duration, UNIX_EPOCH};

use super::error::OssError;
use super::request::{Face, Head};
use super::store::record::ObjectRecord;
use crate::clock::Millis;

/// A time as HTTP writes it.
pub(super) fn http_date(at: Millis) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(at))
}

/// Whether an object is still, or no longer, the one that the client knows. `prefix` is put before
/// the headers' names: a copy has conditions on its source.
pub(super) fn check(head: &Head, prefix: &str, object: &ObjectRecord) -> Result<(), OssError> {
    let header = |name: &str| head.header(&format!("{prefix}{name}"));
    let is_named = |list: &str| {
        let mut tags = list.split(',').map(|tag| tag.trim().trim_matches('"'));
        tags.any(|tag| tag == "*" || tag.eq_ignore_ascii_case(&object.etag))
    };
    // Whole seconds, as the client was told.
    let changed_after = |time: &str| {
        let time = httpdate::parse_http_date(time).ok()?;
        let time = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(object.modified / 1000 > time)
    };
    if header("if-match").is_some_and(|list| !is_named(list)) {
        return Err(OssError::precondition("If-Match"));
    }
    if header("if-unmodified-since").and_then(changed_after) == Some(true) {
        return Err(OssError::precondition("If-Unmodified-Since"));
    }
    let is_same = match header("if-none-match") {
        Some(list) => is_named(list),
        None => header("if-modified-since").and_then(changed_after) == Some(false),
    };
    if !is_same {
        Ok(())
    } else if prefix.is_empty() {
        Err(OssError::new(304, "NotModified", "The object has not changed.")
            .with_header("etag", format!("\"{}\"", object.etag)))
    } else {
        Err(OssError::precondition("If-None-Match"))
    }
}

/// The part of an object that is asked for, from its first byte and so many; `None`: all of it.
///
/// OSS answers a range that the object does not have with the whole object, unless the client asks
/// for the standard's behaviour; S3 always keeps to the standard.
pub(super) fn range(head: &Head, size: u64) -> Result<Option<(u64, u64)>, OssError> {
    let Some(text) = head.header("range") else { return Ok(None) };
    let is_standard = head.face == Face::S3
        || head.header("x-oss-range-behavior").is_some_and(|behaviour| behaviour == "standard");
    let Some((first, last)) = parse(text, size) else { return Ok(None) };
    let whole = size.saturating_sub(1);
    match (first < size && first <= last, last <= whole) {
        (true, true) => Ok(Some((first, last - first + 1))),
        (true, false) if is_standard => Ok(Some((first, size - first))),
        (false, _) if is_standard => {
            let message = "The requested range is not satisfiable.";
            Err(OssError::new(416, "InvalidRange", message)
                .with("ActualObjectSize", size.to_string())
                .with("RangeRequested", text)
                .with_header("content-range", format!("bytes */{size}")))
        }
        _ => Ok(None),
    }
}

/// First and last byte of `bytes=1-5`, `bytes=5-` or `bytes=-5`.
fn parse(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => {
            let length: u64 = last.parse().ok()?;
            let first = if length == 0 { size } else { size.saturating_sub(length) };
            Some((first, size.saturating_sub(1)))
        }
        (first, "") => Some((first.parse().ok()?, size.saturating_sub(1))),
        (first, last) => Some((first.parse().ok()?, last.parse().ok()?)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::record::{Described, Kind};
    use super::*;

    fn head(headers: &[(&str, &str)]) -> Head {
        let mut request = axum::http::Request::get("/b-1/k");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Head::read(0, &request.body(()).unwrap().into_parts().0, "r")
    }

    #[test]
    fn ranges_are_those_of_the_face() {
        let standard = ("x-oss-range-behavior", "standard");
        let s3 = ("x-amz-date", "");
        for (text, native, standards) in [
            ("bytes=0-4", Some(Some((0, 5))), Some(Some((0, 5)))),
            ("bytes=4-", Some(Some((4, 6))), Some(Some((4, 6)))),
            ("bytes=-3", Some(Some((7, 3))), Some(Some((7, 3)))),
            ("bytes=5-99", Some(None), Some(Some((5, 5)))),
            ("bytes=10-", Some(None), None),
            ("bytes=10-12", Some(None), None),
            ("bytes=a-b", Some(None), Some(None)),
            ("lines=1-2", Some(None), Some(None)),
        ] {
            let of = |more| range(&head(&[("range", text), more]), 10).ok();
            assert_eq!(of(("a", "b")), native, "{text}");
            assert_eq!(of(standard), standards, "{text}, standard");
            assert_eq!(of(s3), standards, "{text}, S3");
        }
    }

    #[test]
    fn conditions_name_tags_and_times() {
        let object = ObjectRecord {
            key: "k".into(),
            size: 1,
            etag: "AB".into(),
            crc64: 0,
            modified: 1_000_500,
            kind: Kind::Normal,
            described: Described::default(),
        };
        let (then, before) = ("Thu, 01 Jan 1970 00:16:40 GMT", "Thu, 01 Jan 1970 00:16:39 GMT");
        for (name, value, status) in [
            ("if-match", "\"ab\"", None),
            ("if-match", "\"cd\", *", None),
            ("if-match", "\"cd\"", Some(412)),
            ("if-none-match", "\"AB\"", Some(304)),
            ("if-none-match", "\"cd\"", None),
            ("if-modified-since", then, Some(304)),
            ("if-modified-since", before, None),
            ("if-unmodified-since", then, None),
            ("if-unmodified-since", before, Some(412)),
        ] {
            let answer = check(&head(&[(name, value)]), "", &object);
            assert_eq!(answer.err().map(|error| error.status), status, "{name}: {value}");
        }
    }
}
