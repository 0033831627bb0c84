//! The attribute `url`: where the helper finds object storage. Pure.
//!
//! Written in the ways that volumes of the earlier drivers have it, and made one: the endpoint of
//! the own region is reached by its internal name, an old `vpc100-` name is the internal one, and
//! without a scheme the internal one is `http`, every other `https`.

use wharf_sdk::Error;

use crate::names::shown;

const CLOUD: &str = ".aliyuncs.com";

/// The endpoint of a volume in this bucket. `own_region` is the region of this machine, where its
/// traffic is to stay inside of the cloud's network.
///
/// # Errors
/// `invalid-argument`: no endpoint, or the domain of the bucket itself.
pub fn endpoint(value: &str, bucket: &str, own_region: Option<&str>) -> Result<String, Error> {
    let (scheme, host) = match value.split_once("://") {
        Some((scheme @ ("http" | "https"), host)) => (Some(scheme), host),
        Some(_) => return Err(refused(value)),
        None => (None, value),
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    if !is_host_and_port(host) {
        return Err(refused(value));
    }
    let is_of_bucket = host.strip_prefix(bucket).is_some_and(|rest| rest.starts_with('.'));
    if is_of_bucket && host.split('.').count() >= 4 {
        return Err(Error::invalid(
            "url",
            &shown(value),
            "the endpoint alone, without the bucket in front of it",
        ));
    }
    let host = internal(host, own_region).unwrap_or_else(|| host.to_owned());
    let is_internal = host.ends_with("-internal.aliyuncs.com");
    let scheme = scheme.unwrap_or(if is_internal { "http" } else { "https" });
    Ok(format!("{scheme}://{host}"))
}

/// The internal name, where the public one was written and the internal one is meant.
fn internal(host: &str, own_region: Option<&str>) -> Option<String> {
    if let Some(region) = host.strip_prefix("vpc100-oss-").and_then(|rest| rest.strip_suffix(CLOUD))
    {
        return Some(format!("oss-{region}-internal{CLOUD}"));
    }
    let region = own_region?;
    let names = [
        (format!("oss-{region}{CLOUD}"), format!("oss-{region}-internal{CLOUD}")),
        (format!("{region}.oss-data-acc{CLOUD}"), format!("{region}-internal.oss-data-acc{CLOUD}")),
    ];
    names.into_iter().find(|(public, _)| public == host).map(|(_, internal)| internal)
}

fn is_host_and_port(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with('-')
    };
    host.len() <= 253
        && host.split('.').all(label)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0))
}

fn refused(value: &str) -> Error {
    let allowed = "an endpoint: a host name, with `http://` or `https://` in front or not";
    Error::invalid("url", &shown(value), allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_made_what_the_earlier_driver_makes_of_it() {
        for (given, own, made) in [
            ("oss-cn-x.aliyuncs.com", None, "https://oss-cn-x.aliyuncs.com"),
            ("oss-cn-x.aliyuncs.com", Some("cn-y"), "https://oss-cn-x.aliyuncs.com"),
            ("oss-cn-x.aliyuncs.com", Some("cn-x"), "http://oss-cn-x-internal.aliyuncs.com"),
            (
                "https://oss-cn-x.aliyuncs.com",
                Some("cn-x"),
                "https://oss-cn-x-internal.aliyuncs.com",
            ),
            ("oss-cn-x-internal.aliyuncs.com", None, "http://oss-cn-x-internal.aliyuncs.com"),
            ("oss-cn-x-internal.aliyuncs.com/", None, "http://oss-cn-x-internal.aliyuncs.com"),
            ("vpc100-oss-cn-x.aliyuncs.com", None, "http://oss-cn-x-internal.aliyuncs.com"),
            ("http://oss-cn-x.aliyuncs.com", None, "http://oss-cn-x.aliyuncs.com"),
            (
                "cn-x.oss-data-acc.aliyuncs.com",
                Some("cn-x"),
                "https://cn-x-internal.oss-data-acc.aliyuncs.com",
            ),
            ("oss.example:8080", None, "https://oss.example:8080"),
            ("http://127.0.0.1:1", None, "http://127.0.0.1:1"),
            // A bucket that is called like the beginning of the endpoint's name.
            ("oss-cn-x.aliyuncs.com", None, "https://oss-cn-x.aliyuncs.com"),
        ] {
            assert_eq!(endpoint(given, "oss", own).unwrap(), made, "{given} {own:?}");
        }
    }

    #[test]
    fn the_domain_of_the_bucket_is_no_endpoint() {
        for given in ["b-1.oss-cn-x.aliyuncs.com", "https://b-1.oss-cn-x.aliyuncs.com"] {
            let refused = endpoint(given, "b-1", None).unwrap_err().message;
            assert!(refused.contains("without the bucket"), "{refused}");
        }
    }

    #[test]
    fn whatever_is_no_host_is_refused() {
        let long = "a".repeat(300);
        for given in [
            "",
            "http://",
            "ftp://x",
            "file:///etc/passwd",
            "a b",
            "a,ro",
            "x,passwd_file=/etc/x",
            "a/b",
            "a?b",
            "a#b",
            "u:p@h",
            "h:x",
            "h:0",
            "h:70000",
            "-x",
            "a..b",
            "$(id)",
            "a;id",
            "a\nb",
            "a\\b",
            "`id`",
            "http://http://x",
            &long,
        ] {
            assert!(endpoint(given, "abc", None).is_err(), "{given:?}");
        }
    }
}
