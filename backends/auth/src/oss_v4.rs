//! Object storage's signature version 4, `OSS4-HMAC-SHA256`, in headers.
//!
//! Source: "Include a V4 signature in the Authorization header" in the OSS developer reference. The
//! known answers are those of the official SDKs' own tests, which all have the same ones.

use hmac::{Hmac, Mac};
use sha2::digest::Output;
use sha2::{Digest, Sha256};
use wharf_alicloud::percent::encode;
use wharf_alicloud::timestamp;
use wharf_sdk::auth::{Signature, UnsignedRequest};
use wharf_sdk::{Error, Pairs};

use crate::keys::Keys;
use crate::oss;

/// As the setting `signature` names it.
pub const NAME: &str = "oss-v4";
const ALGORITHM: &str = "OSS4-HMAC-SHA256";
const END: &str = "aliyun_v4_request";
/// The service does not look at the body: `content-md5` is what covers it.
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Signs the request. Its `api` names the `region`; where it does not, the account's settings do.
///
/// # Errors
/// Nobody names the region, or the key is of no use.
pub fn sign(request: &UnsignedRequest, keys: &Keys<'_>, now_ms: u64) -> Result<Signature, Error> {
    let region = [&request.api, &request.settings]
        .into_iter()
        .find_map(|pairs| pairs.value("region").filter(|region| !region.is_empty()))
        .ok_or_else(|| {
            Error::misconfigured(format!(
                "the signature {NAME} needs the bucket's region: name it as `region` in the \
                 account's settings, or choose `signature = \"oss-v1\"`"
            ))
        })?;
    let time = timestamp::format(now_ms).replace(['-', ':'], "");
    let own = [("x-oss-content-sha256", PAYLOAD.to_owned()), ("x-oss-date", time.clone())];
    let token = keys.token.map(|token| ("x-oss-security-token", token.expose().to_owned()));
    let added = oss::added(request, own.into_iter().chain(token));
    let day = time.get(..8).unwrap_or_default();
    let scope = format!("{day}/{region}/oss/{END}");
    let digest = format!("{:x}", Sha256::digest(canonical_request(request, &added)));
    let key = format!("aliyun_v4{}", keys.secret.expose()).into_bytes();
    let key = [day, region, "oss", END]
        .into_iter()
        .try_fold(key, |key, part| mac(&key, part).map(|mac| mac.to_vec()))?;
    let signature = mac(&key, &format!("{ALGORITHM}\n{time}\n{scope}\n{digest}"))?;
    let authorization =
        format!("{ALGORITHM} Credential={}/{scope},Signature={signature:x}", keys.id);
    let answer = added
        .into_iter()
        .fold(Signature::without_action(), |answer, (name, value)| answer.with_header(name, value));
    Ok(answer.with_header("authorization", authorization))
}

fn canonical_request(request: &UnsignedRequest, added: &[(&str, String)]) -> String {
    let is_signed =
        |name: &str| name.starts_with("x-oss-") || matches!(name, "content-type" | "content-md5");
    let headers: String = oss::all_headers(request, added)
        .into_iter()
        .filter(|(name, _)| is_signed(name))
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let path = oss::encode_path(&oss::resource(request));
    let query = query(&request.query);
    // The empty line would list headers that are signed besides.
    format!("{}\n{path}\n{query}\n{headers}\n\n{PAYLOAD}", request.method)
}

/// Sorted; a parameter without a value has no equals sign.
fn query(parameters: &[(String, String)]) -> String {
    let mut parameters: Vec<_> =
        parameters.iter().map(|(name, value)| (encode(name), encode(value))).collect();
    parameters.sort_unstable();
    let pairs: Vec<_> = parameters
        .into_iter()
        .map(|(name, value)| if value.is_empty() { name } else { format!("{name}={value}") })
        .collect();
    pairs.join("&")
}

fn mac(key: &[u8], text: &str) -> Result<Output<Sha256>, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|_| Error::defect("a key of this length cannot sign"))?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::credential;
    use wharf_sdk::types::pairs;

    /// The request of the SDKs' tests.
    fn documented() -> UnsignedRequest {
        let host = "bucket.oss-cn-hangzhou.aliyuncs.com";
        UnsignedRequest {
            query: pairs([
                ("param1", "value1"),
                ("+param1", "value3"),
                ("|param1", "value4"),
                ("+param2", ""),
                ("|param2", ""),
                ("param2", ""),
            ]),
            headers: pairs([
                ("x-oss-head1", "value"),
                ("abc", "value"),
                ("ZAbc", "value"),
                ("XYZ", "value"),
                ("content-type", "text/plain"),
            ]),
            ..oss::tests::request(host, "/1234%2B-/123/1.txt", "bucket")
        }
    }

    fn signed(request: &UnsignedRequest, token: &str, now_ms: u64) -> Signature {
        let keys = credential("ak", "sk", token);
        sign(request, &Keys::of(&keys).unwrap(), now_ms).unwrap()
    }

    #[test]
    fn the_documented_request_has_the_documented_signature() {
        let signature = signed(&documented(), "", 1_702_743_657_000);
        assert_eq!(
            signature.headers.value("authorization"),
            Some(
                "OSS4-HMAC-SHA256 Credential=ak/20231216/cn-hangzhou/oss/aliyun_v4_request,\
                 Signature=e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe"
            )
        );
        assert_eq!(signature.headers.value("x-oss-date"), Some("20231216T162057Z"));
        assert!(signature.query.is_empty());
    }

    #[test]
    fn the_documented_request_with_a_token_has_the_documented_signature() {
        let signature = signed(&documented(), "token", 1_702_784_856_000);
        assert_eq!(
            signature.headers.value("authorization"),
            Some(
                "OSS4-HMAC-SHA256 Credential=ak/20231217/cn-hangzhou/oss/aliyun_v4_request,\
                 Signature=b94a3f999cf85bcdc00d332fbd3734ba03e48382c36fa4d5af5df817395bd9ea"
            )
        );
        assert_eq!(signature.headers.value("x-oss-security-token"), Some("token"));
    }

    #[test]
    fn every_part_of_the_request_is_signed() {
        let authorization = |request: &UnsignedRequest| {
            let signature = signed(request, "", 1_702_743_657_000);
            signature.headers.value("authorization").map(str::to_owned)
        };
        let changes: [fn(&mut UnsignedRequest); 7] = [
            |request| request.method = "GET".into(),
            |request| request.path.push('x'),
            |request| request.api = pairs([("bucket", "bucket"), ("region", "cn-shanghai")]),
            |request| request.query.push(("acl".into(), String::new())),
            |request| request.headers[0].1.push('x'),
            |request| request.headers[4].1.push('x'),
            |request| request.body.push(1),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut request = documented();
            change(&mut request);
            assert_ne!(authorization(&request), authorization(&documented()), "change {index}");
        }
    }

    #[test]
    fn the_region_may_come_from_the_settings_and_has_to_come_from_somewhere() {
        let mut request = documented();
        request.api = pairs([("bucket", "bucket")]);
        request.settings = pairs([("region", "cn-hangzhou")]);
        let signature = signed(&request, "", 1_702_743_657_000);
        assert_eq!(signature.headers, signed(&documented(), "", 1_702_743_657_000).headers);
        request.settings.clear();
        let keys = credential("ak", "sk", "");
        let error = sign(&request, &Keys::of(&keys).unwrap(), 0).unwrap_err();
        assert!(error.message.contains("region"), "{error:?}");
    }
}
