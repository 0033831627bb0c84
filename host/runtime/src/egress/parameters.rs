//! What a guest may ask for by name. Servers of RPC-style APIs read parameters from the query and
//! from a form in the body alike, so what only a signer may set is looked for in both.

use std::collections::HashSet;

use reqwest::Url;
use wharf_core::{Blame, Error, ErrorKind};

use super::Request;
use crate::account::Reserved;

/// Refuses a request that sets what belongs to its account's signer, and one of which that cannot
/// be known: where a key comes twice, servers differ in which one counts.
pub(super) fn check(request: &Request, reserved: &Reserved) -> Result<(), Error> {
    if reserved.query.is_empty() {
        return Ok(());
    }
    let mut seen = HashSet::new();
    for (key, _) in &request.query {
        check_key("it sets the query key", key, reserved, &mut seen)?;
    }
    // Without an action its method and path are what is granted, and its body is content.
    if request.body.is_empty() || request.action.is_empty() {
        return Ok(());
    }
    let content_type = request
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.to_ascii_lowercase());
    let content_type = content_type.as_deref().unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if NO_FORMS.contains(&kind) {
        return Ok(());
    }
    if content_type.contains("multipart/") {
        return Err(denied("its body has several parts; what they set cannot be told".to_owned()));
    }
    if is_in_another_encoding(content_type) {
        return Err(denied(
            "its body is in another encoding than UTF-8; what it sets cannot be told".to_owned(),
        ));
    }
    // Without a type, and with one that they do not know, some servers take a body for a form.
    for key in form_keys(&request.body) {
        check_key("its body sets the key", &key, reserved, &mut seen)?;
    }
    Ok(())
}

/// Bodies in which no server looks for parameters by name.
const NO_FORMS: [&str; 2] = ["application/json", "application/octet-stream"];

fn check_key(
    it_sets: &str,
    key: &str,
    reserved: &Reserved,
    seen: &mut HashSet<String>,
) -> Result<(), Error> {
    // Servers drop white space and zeros around a key.
    let plain = key.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    if reserved.has_query(plain) {
        return Err(denied(format!(
            "{it_sets} `{plain}`, which only the account's signer may set"
        )));
    }
    if !seen.insert(plain.to_lowercase()) {
        return Err(denied(format!("{it_sets} `{plain}` a second time")));
    }
    Ok(())
}

fn is_in_another_encoding(content_type: &str) -> bool {
    let mut parameters = content_type.split(';').skip(1).map(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        (name.trim(), value.trim().trim_matches('"'))
    });
    parameters.any(|(name, value)| {
        name.contains("charset") && !matches!(value, "utf-8" | "utf8" | "us-ascii")
    })
}

/// Keys of a form, also where a server separates them by semicolons.
fn form_keys(body: &[u8]) -> Vec<String> {
    let Ok(mut form) = Url::parse("form://body/") else { return Vec::new() };
    form.set_query(Some(&String::from_utf8_lossy(body).replace(';', "&")));
    let keys = form.query_pairs().map(|(key, _)| key.into_owned());
    keys.filter(|key| !key.is_empty()).collect()
}

fn denied(message: String) -> Error {
    Error::new(ErrorKind::PermissionDenied, Blame::Backend, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::RequestEffect;

    fn refusal(content_type: Option<&str>, query: &str, body: &str) -> Option<String> {
        let request = Request {
            endpoint: "ecs".into(),
            account: Some("main".into()),
            effect: RequestEffect::Read,
            action: "DescribeDisks".into(),
            api: vec![],
            method: "POST".into(),
            subdomain: None,
            path: "/".into(),
            query: vec![(query.into(), "x".into())],
            headers: content_type
                .map(|value| ("Content-Type".to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
            body: body.into(),
        };
        check(&request, &Reserved { headers: vec![], query: vec!["Action".into()] })
            .err()
            .map(|error| error.message)
    }

    #[test]
    fn what_belongs_to_the_signer_is_refused_in_the_query_and_in_a_form() {
        assert!(refusal(None, "action", "").unwrap().contains("query key `action`"));
        for body in [
            "Action=DeleteDisk",
            "RegionId=r&action=DeleteDisk",
            "%41ction=DeleteDisk",
            "RegionId=r&Action",
            "&&Act%69on=x",
            "RegionName=r;Action=DeleteDisk",
            "+Action%00=DeleteDisk",
            "%0Aaction=DeleteDisk",
        ] {
            for content_type in [
                None,
                Some("application/x-www-form-urlencoded; charset=utf-8"),
                Some("Application/X-WWW-Form-Urlencoded"),
                Some("text/plain"),
                Some("application/jsonform"),
            ] {
                assert!(
                    refusal(content_type, "RegionId", body).is_some(),
                    "{content_type:?} {body}"
                );
            }
        }
        assert!(refusal(Some("multipart/form-data; boundary=x"), "RegionId", "--x").is_some());
    }

    #[test]
    fn a_body_in_another_encoding_is_refused_since_its_keys_cannot_be_read() {
        for charset in ["utf-16", "UTF-7", "ibm037", "\"utf-16le\"", ""] {
            let kind = format!("application/x-www-form-urlencoded; charset={charset}");
            assert!(refusal(Some(&kind), "RegionId", "A\0c\0").unwrap().contains("encoding"));
        }
        for charset in ["utf-8", "UTF-8", "\"utf-8\""] {
            let kind = format!("application/x-www-form-urlencoded;charset={charset}");
            assert_eq!(refusal(Some(&kind), "RegionId", "PageSize=1"), None, "{charset}");
        }
    }

    #[test]
    fn a_key_that_comes_twice_is_refused() {
        assert!(refusal(None, "RegionId", "regionid=other").unwrap().contains("second time"));
        assert!(refusal(None, "RegionId", "A=1&B=2&A=3").unwrap().contains("second time"));
        assert!(refusal(None, " action", "").unwrap().contains("signer"));
    }

    #[test]
    fn other_bodies_pass() {
        for (content_type, body) in [
            (Some("application/x-www-form-urlencoded"), "Size=1&Name=Action"),
            (Some("application/json"), "{\"a\":\"&Action=DeleteDisk\"}"),
            (Some("application/octet-stream"), "Action=x"),
            (None, "PageSize=10"),
        ] {
            assert_eq!(refusal(content_type, "RegionId", body), None, "{body}");
        }
    }
}
