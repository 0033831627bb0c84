//! The older signature of RPC-style APIs, HMAC-SHA1: everything in the query. Private clouds still
//! need it.
//!
//! Source: "Request syntax and signature method V2 for RPC APIs" in the cloud's SDK documentation,
//! whose example is a test below.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use wharf_alicloud::percent::encode;
use wharf_alicloud::timestamp;
use wharf_sdk::auth::{Signature, UnsignedRequest};
use wharf_sdk::{Error, Pairs};

use crate::canonical::query;
use crate::keys::Keys;

/// As the setting `signature` names it.
pub const NAME: &str = "rpc-hmac-sha1";

/// Signs the request.
///
/// # Errors
/// The request has a body, which this signature does not cover.
pub fn sign(
    request: &UnsignedRequest,
    keys: &Keys<'_>,
    now_ms: u64,
    nonce: &str,
) -> Result<Signature, Error> {
    if !request.body.is_empty() {
        return Err(Error::defect(format!(
            "{}: the signature {NAME} does not cover a body; send parameters in the query",
            request.action
        )));
    }
    let now = timestamp::format(now_ms);
    let mut added = vec![
        ("AccessKeyId", keys.id),
        ("Action", request.action.as_str()),
        ("Format", "JSON"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureNonce", nonce),
        ("SignatureVersion", "1.0"),
        ("Timestamp", now.as_str()),
        ("Version", request.api.value("version").unwrap_or_default()),
    ];
    added.extend(keys.token.map(|token| ("SecurityToken", token.expose())));
    let asked = request.query.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let asked = asked.filter(|(key, _)| !added.iter().any(|(own, _)| own == key));
    let signature =
        signature(&request.method, asked.chain(added.iter().copied()), keys.secret.expose())?;
    let answer = added
        .into_iter()
        .fold(Signature::new(), |answer, (key, value)| answer.with_query(key, value));
    Ok(answer.with_query("Signature", signature))
}

fn signature<'a>(
    method: &str,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    secret: &str,
) -> Result<String, Error> {
    let text = format!("{method}&%2F&{}", encode(&query(parameters)));
    let mut mac = Hmac::<Sha1>::new_from_slice(format!("{secret}&").as_bytes())
        .map_err(|_| Error::defect("a key of this length cannot sign"))?;
    mac.update(text.as_bytes());
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::credential;
    use wharf_sdk::types::pairs;

    #[test]
    fn the_documented_request_has_the_documented_signature() {
        let parameters = [
            ("AccessKeyId", "testid"),
            ("Action", "DescribeRegions"),
            ("Format", "XML"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf"),
            ("SignatureVersion", "1.0"),
            ("Timestamp", "2016-02-23T12:46:24Z"),
            ("Version", "2014-05-26"),
        ];
        assert_eq!(
            signature("GET", parameters, "testsecret").unwrap(),
            "OLeaidS1JvxuMvnyHOwuJ+uX5qY="
        );
    }

    fn request() -> UnsignedRequest {
        UnsignedRequest {
            action: "DescribeRegions".into(),
            api: pairs([("version", "2014-05-26")]),
            settings: Vec::new(),
            method: "POST".into(),
            host: "ecs.example".into(),
            path: "/".into(),
            query: pairs([("RegionId", "r")]),
            headers: Vec::new(),
            body: Vec::new(),
            extensions: Vec::new(),
        }
    }

    #[test]
    fn everything_goes_into_the_query() {
        let keys = credential("id", "secret", "token");
        let signed = sign(&request(), &Keys::of(&keys).unwrap(), 1_456_231_584_000, "n").unwrap();
        assert!(signed.headers.is_empty());
        for (key, value) in [
            ("Action", "DescribeRegions"),
            ("Format", "JSON"),
            ("SecurityToken", "token"),
            ("Timestamp", "2016-02-23T12:46:24Z"),
            ("Version", "2014-05-26"),
        ] {
            assert_eq!(signed.query.value(key), Some(value), "{key}");
        }
        assert_eq!(signed.query.value("RegionId"), None, "the host has that one");
    }

    #[test]
    fn a_body_is_refused() {
        let keys = credential("id", "secret", "");
        let with_body = UnsignedRequest { body: vec![1], ..request() };
        assert!(sign(&with_body, &Keys::of(&keys).unwrap(), 0, "n").is_err());
    }
}
