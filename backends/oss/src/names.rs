//! Names of buckets and paths inside them. Pure.
//!
//! Both end up in an argument of a program that runs as root, so what is not a plain name is
//! refused here, before the host refuses it again.

use wharf_sdk::Error;

/// Object storage takes keys of so many bytes.
const LONGEST_PATH: usize = 1023;

/// The name of a bucket.
///
/// # Errors
/// `invalid-argument` naming the key.
pub fn bucket(key: &str, value: &str) -> Result<String, Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_edge_plain = !value.starts_with('-') && !value.ends_with('-');
    if (3..=63).contains(&value.len()) && value.bytes().all(plain) && is_edge_plain {
        return Ok(value.to_owned());
    }
    Err(Error::invalid(
        key,
        &shown(value),
        "the name of a bucket: 3 to 63 lower-case letters, digits and dashes, no dash at an end",
    ))
}

/// A path inside a bucket: begins with a slash, has no slash at its end and none twice.
///
/// # Errors
/// `invalid-argument` naming the key.
pub fn path(key: &str, value: &str) -> Result<String, Error> {
    let refused = |allowed: &str| Err(Error::invalid(key, &shown(value), allowed));
    if !value.starts_with('/') {
        return refused("a path that begins with a slash");
    }
    if value.len() > LONGEST_PATH || value.chars().any(|one| one.is_control() || one == '\\') {
        return refused("a path of at most 1023 bytes without control characters and backslashes");
    }
    let parts: Vec<_> = value.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return refused("a path without `.` and `..`");
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A bucket with a path behind a colon, as FlexVolume writes it: `bucket:/path`.
///
/// # Errors
/// `invalid-argument` naming the key.
pub fn bucket_and_path(key: &str, value: &str) -> Result<(String, Option<String>), Error> {
    match value.split_once(':') {
        None => Ok((bucket(key, value)?, None)),
        Some((name, inside)) => Ok((bucket(key, name)?, Some(path(key, inside)?))),
    }
}

/// A region: `cn-hangzhou`.
///
/// # Errors
/// `invalid-argument` naming the key.
pub fn region(key: &str, value: &str) -> Result<String, Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !value.is_empty() && value.len() <= 63 && value.bytes().all(plain) {
        return Ok(value.to_owned());
    }
    Err(Error::invalid(key, &shown(value), "a region's id (`cn-hangzhou`)"))
}

/// A word of letters, digits and a few signs: an id of a key, a number.
///
/// # Errors
/// `invalid-argument` naming the key.
pub fn word(key: &str, value: &str) -> Result<String, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_/:.".contains(&byte);
    if !value.is_empty() && value.len() <= 256 && value.bytes().all(plain) {
        return Ok(value.to_owned());
    }
    Err(Error::invalid(key, &shown(value), "letters, digits and `-_/:.`"))
}

/// A value as a message shows it: short, and in one line.
pub fn shown(value: &str) -> String {
    let clean = |one: char| if one.is_control() { ' ' } else { one };
    value.chars().map(clean).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_sdk::ErrorKind;

    #[test]
    fn only_a_bucket_s_name_is_one() {
        for name in ["abc", "a-1", "0a0"] {
            assert_eq!(bucket("bucket", name).unwrap(), name);
        }
        let long = "a".repeat(64);
        for name in [
            "", "ab", "-abc", "abc-", "Abc", "a_b_c", "a.b.c", "a b c", "abc,ro", "abc\nx",
            "$(id)", "--help", "abc;id", "abc/x", "äbc", &long,
        ] {
            let refused = bucket("bucket", name).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::InvalidArgument, "{name:?}");
            assert!(refused.message.contains("`bucket`") && !refused.message.contains('\n'));
        }
    }

    #[test]
    fn a_path_stays_inside_its_bucket() {
        for (given, read) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/b/", "/a/b"),
            ("//a//b", "/a/b"),
            ("/a b/$(id);x,ro", "/a b/$(id);x,ro"),
            ("/...", "/..."),
        ] {
            assert_eq!(path("path", given).unwrap(), read);
        }
        let long = format!("/{}", "a".repeat(1023));
        for given in ["", "a", "-o", "/..", "/a/../b", "/./a", "/a\n", "/a\0", "/a\\b", &long] {
            assert!(path("path", given).is_err(), "{given:?}");
        }
    }

    #[test]
    fn a_bucket_may_have_a_path_behind_a_colon() {
        assert_eq!(bucket_and_path("bucket", "abc").unwrap(), ("abc".into(), None));
        let both = bucket_and_path("bucket", "abc:/x/").unwrap();
        assert_eq!(both, ("abc".into(), Some("/x".into())));
        for given in ["abc:", "abc:x", ":/x", "abc:/..", "a:b:/x"] {
            assert!(bucket_and_path("bucket", given).is_err(), "{given}");
        }
    }
}
