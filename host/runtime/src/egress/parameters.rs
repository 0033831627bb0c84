//! What a guest may ask for by name. Servers of RPC-style APIs read parameters from the query and
//! from a form in the body alike, so what only a signer may set is looked for in both.

use reqwest::Url;
use wharf_core::{Blame, Error, ErrorKind};

use super::Request;
use crate::account::Reserved;

/// Refuses a request that sets what belongs to its account's signer.
pub(super) fn check(request: &Request, reserved: &Reserved) -> Result<(), Error> {
    if let Some((key, _)) = request.query.iter().find(|(key, _)| reserved.has_query(key)) {
        return Err(denied(format!(
            "it sets the query key `{key}`, which only the account's signer may set"
        )));
    }
    if request.body.is_empty() || reserved.query.is_empty() {
        return Ok(());
    }
    let content_type = request
        .headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.to_ascii_lowercase());
    match content_type.as_deref() {
        Some(multipart) if multipart.contains("multipart/") => {
            Err(denied("its body has several parts; what they set cannot be told".to_owned()))
        }
        Some(other) if !other.contains("form") => Ok(()),
        // Without a type, some servers take it for a form.
        Some(_) | None => {
            match form_keys(&request.body).into_iter().find(|key| reserved.has_query(key)) {
                Some(key) => Err(denied(format!(
                    "its body sets the key `{key}`, which only the account's signer may set"
                ))),
                None => Ok(()),
            }
        }
    }
}

fn form_keys(body: &[u8]) -> Vec<String> {
    let Ok(mut form) = Url::parse("form://body/") else { return Vec::new() };
    form.set_query(Some(&String::from_utf8_lossy(body)));
    form.query_pairs().map(|(key, _)| key.into_owned()).collect()
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
        ] {
            for content_type in [
                None,
                Some("application/x-www-form-urlencoded; charset=utf-8"),
                Some("Application/X-WWW-Form-Urlencoded"),
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
    fn other_bodies_pass() {
        for (content_type, body) in [
            (Some("application/x-www-form-urlencoded"), "RegionId=r&Name=Action"),
            (Some("application/json"), "{\"a\":\"&Action=DeleteDisk\"}"),
            (Some("application/octet-stream"), "Action=x"),
            (None, "PageSize=10"),
        ] {
            assert_eq!(refusal(content_type, "RegionId", body), None, "{body}");
        }
    }
}
