//! Object storage's signature version 1, HMAC-SHA1, in headers: for private clouds that know
//! nothing newer.
//!
//! Source: "Include a V1 signature in the Authorization header" in the OSS developer reference. The
//! known answers are its example and those of the official SDKs' own tests.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use wharf_sdk::Error;
use wharf_sdk::auth::{Signature, UnsignedRequest};

use crate::keys::Keys;
use crate::oss;

/// As the setting `signature` names it.
pub const NAME: &str = "oss-v1";

/// Query parameters that belong to the resource; others are not signed. Those that no backend here
/// uses are among them, because one that is missing fails only at the cloud.
const SUBRESOURCES: &[&str] = &[
    "acl",
    "append",
    "bucketInfo",
    "cname",
    "comp",
    "continuation-token",
    "cors",
    "delete",
    "encryption",
    "endTime",
    "inventory",
    "inventoryId",
    "lifecycle",
    "location",
    "logging",
    "metaQuery",
    "objectMeta",
    "partNumber",
    "policy",
    "position",
    "publicAccessBlock",
    "qosInfo",
    "referer",
    "regionList",
    "replication",
    "replicationLocation",
    "replicationProgress",
    "requestPayment",
    "resourceGroup",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "sequential",
    "startTime",
    "stat",
    "status",
    "symlink",
    "tagging",
    "transferAcceleration",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
    "worm",
    "wormExtend",
    "wormId",
    "x-oss-process",
    "x-oss-request-payer",
    "x-oss-traffic-limit",
];

/// Signs the request. The time goes into `x-oss-date`, which is signed in the place of `date`.
///
/// # Errors
/// The key is of no use.
pub fn sign(request: &UnsignedRequest, keys: &Keys<'_>, now_ms: u64) -> Result<Signature, Error> {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(now_ms));
    let token = keys.token.map(|token| ("x-oss-security-token", token.expose().to_owned()));
    let own = [("x-oss-date", date.clone())].into_iter().chain(token);
    let added = oss::added(request, own);
    let signature = signature(&string_to_sign(request, &added, &date), keys.secret.expose())?;
    let answer = added
        .into_iter()
        .fold(Signature::without_action(), |answer, (name, value)| answer.with_header(name, value));
    Ok(answer.with_header("authorization", format!("OSS {}:{signature}", keys.id)))
}

fn string_to_sign(request: &UnsignedRequest, added: &[(&str, String)], date: &str) -> String {
    let headers = oss::all_headers(request, added);
    let header = |wanted: &str| {
        let found = headers.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| *value).unwrap_or_default()
    };
    let own: String = headers
        .iter()
        .filter(|(name, _)| name.starts_with("x-oss-"))
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let mut query: Vec<_> = request
        .query
        .iter()
        .filter(|(name, _)| SUBRESOURCES.contains(&name.as_str()))
        .map(|(name, value)| match value.as_str() {
            "" => name.clone(),
            value => format!("{name}={value}"),
        })
        .collect();
    query.sort_unstable();
    let mark = if query.is_empty() { "" } else { "?" };
    format!(
        "{}\n{}\n{}\n{date}\n{own}{}{mark}{}",
        request.method,
        header("content-md5"),
        header("content-type"),
        oss::resource(request),
        query.join("&")
    )
}

fn signature(text: &str, secret: &str) -> Result<String, Error> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .map_err(|_| Error::defect("a key of this length cannot sign"))?;
    mac.update(text.as_bytes());
    Ok(STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::credential;
    use wharf_sdk::Pairs;
    use wharf_sdk::types::pairs;

    const HOST: &str = "oss-cn-hangzhou.aliyuncs.com";

    #[test]
    fn the_documented_string_has_the_documented_signature() {
        let request = UnsignedRequest {
            headers: pairs([
                ("Content-Md5", "ODBGOERFMDMzQTczRUY3NUE3NzA5QzdFNUYzMDQxNEM="),
                ("Content-Type", "text/html"),
                ("X-OSS-Meta-Author", "foo@bar.com"),
                ("X-OSS-Magic", "abracadabra"),
            ]),
            ..oss::tests::request(&format!("oss-example.{HOST}"), "/nelson", "oss-example")
        };
        let text = string_to_sign(&request, &[], "Thu, 17 Nov 2005 18:49:58 GMT");
        let secret = "OtxrzxIsfpFjA7SwPzILwy8Bw21TLhquhboDYROV";
        assert_eq!(signature(&text, secret).unwrap(), "26NBxoKdsyly4EDv6inkoDft/yA=");
    }

    /// The request of the SDKs' tests.
    fn documented() -> UnsignedRequest {
        UnsignedRequest {
            headers: pairs([
                ("Content-MD5", "eB5eJF1ptWaXm4bijSPyxw=="),
                ("Content-Type", "text/html"),
                ("x-oss-meta-author", "alice"),
                ("x-oss-meta-magic", "abracadabra"),
            ]),
            ..oss::tests::request(&format!("examplebucket.{HOST}"), "/nelson", "examplebucket")
        }
    }

    /// 28 December 2022, 10:27:41.
    const AT: u64 = 1_672_223_261_000;

    fn authorization(request: &UnsignedRequest) -> String {
        let keys = credential("ak", "sk", "");
        let signed = sign(request, &Keys::of(&keys).unwrap(), AT).unwrap();
        assert_eq!(signed.headers.value("x-oss-date"), Some("Wed, 28 Dec 2022 10:27:41 GMT"));
        signed.headers.value("authorization").unwrap().to_owned()
    }

    #[test]
    fn the_sdks_request_has_the_sdks_signature() {
        assert_eq!(authorization(&documented()), "OSS ak:kSHKmLxlyEAKtZPkJhG9bZb5k7M=");
    }

    #[test]
    fn every_part_of_the_request_that_decides_it_is_signed() {
        let changes: [fn(&mut UnsignedRequest); 6] = [
            |request| request.method = "GET".into(),
            |request| request.path.push('x'),
            |request| request.host.insert(0, 'x'),
            |request| request.query.push(("acl".into(), String::new())),
            |request| request.headers[2].1.push('x'),
            |request| request.body.push(1),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut request = documented();
            change(&mut request);
            assert_ne!(authorization(&request), authorization(&documented()), "change {index}");
        }
    }
}
