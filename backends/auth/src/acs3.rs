//! Signature version 3, `ACS3-HMAC-SHA256`: everything in headers.
//!
//! Source: "Request syntax and signature method V3" in the cloud's SDK documentation, whose example
//! is a test below.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use wharf_alicloud::timestamp;
use wharf_sdk::auth::{Signature, UnsignedRequest};
use wharf_sdk::{Error, Pairs};

use crate::canonical::query;
use crate::keys::Keys;

/// As the setting `signature` names it.
pub const NAME: &str = "acs3-hmac-sha256";
const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// Signs the request.
///
/// # Errors
/// The key is of no use.
pub fn sign(
    request: &UnsignedRequest,
    keys: &Keys<'_>,
    now_ms: u64,
    nonce: &str,
) -> Result<Signature, Error> {
    let payload = format!("{:x}", Sha256::digest(&request.body));
    let mut added = vec![
        ("x-acs-action", request.action.clone()),
        ("x-acs-content-sha256", payload.clone()),
        ("x-acs-date", timestamp::format(now_ms)),
        ("x-acs-signature-nonce", nonce.to_owned()),
        ("x-acs-version", request.api.value("version").unwrap_or_default().to_owned()),
    ];
    added.extend(keys.token.map(|token| ("x-acs-security-token", token.expose().to_owned())));
    let (canonical, signed) = canonical_headers(request, &added);
    let parameters = query(request.query.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let path = if request.path.is_empty() { "/" } else { &request.path };
    let canonical =
        format!("{}\n{path}\n{parameters}\n{canonical}\n{signed}\n{payload}", request.method);
    let signature = hmac_sha256(
        keys.secret.expose(),
        &format!("{ALGORITHM}\n{:x}", Sha256::digest(canonical)),
    )?;
    let authorization =
        format!("{ALGORITHM} Credential={},SignedHeaders={signed},Signature={signature}", keys.id);
    let answer = added
        .into_iter()
        .fold(Signature::new(), |answer, (name, value)| answer.with_header(name, value));
    Ok(answer.with_header("authorization", authorization))
}

/// The headers that are signed, as lines and as a list of names: host, content type, and everything
/// of the cloud's own.
fn canonical_headers(request: &UnsignedRequest, added: &[(&str, String)]) -> (String, String) {
    let content_type = request
        .headers
        .value_in_any_case("content-type")
        .map(|value| ("content-type", value.trim()));
    let mut headers: Vec<(&str, &str)> = added
        .iter()
        .map(|(name, value)| (*name, value.trim()))
        .chain([("host", request.host.trim())])
        .chain(content_type)
        .collect();
    headers.sort_unstable();
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    (lines, names.join(";"))
}

fn hmac_sha256(key: &str, text: &str) -> Result<String, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .map_err(|_| Error::defect("a key of this length cannot sign"))?;
    mac.update(text.as_bytes());
    Ok(format!("{:x}", mac.finalize().into_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::keys::credential;
    use wharf_sdk::types::pairs;

    /// The request of the documentation's example.
    pub(crate) fn documented(settings: &[(&str, &str)]) -> UnsignedRequest {
        UnsignedRequest {
            action: "RunInstances".into(),
            api: pairs([("version", "2014-05-26")]),
            settings: pairs(settings.iter().copied()),
            method: "POST".into(),
            host: "ecs.cn-shanghai.aliyuncs.com".into(),
            path: "/".into(),
            query: pairs([
                ("RegionId", "cn-shanghai"),
                ("ImageId", "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd"),
            ]),
            headers: Vec::new(),
            body: Vec::new(),
            extensions: Vec::new(),
        }
    }

    const AT: u64 = 1_698_315_752_000;
    const NONCE: &str = "3156853299f313e23d1673dc12e1703d";

    fn signed(request: &UnsignedRequest, token: &str) -> Signature {
        let credential = credential("YourAccessKeyId", "YourAccessKeySecret", token);
        sign(request, &Keys::of(&credential).unwrap(), AT, NONCE).unwrap()
    }

    #[test]
    fn the_documented_request_has_the_documented_signature() {
        let signature = signed(&documented(&[]), "");
        assert_eq!(
            signature.headers.value("authorization"),
            Some(
                "ACS3-HMAC-SHA256 \
                 Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;\
                 x-acs-date;x-acs-signature-nonce;x-acs-version,\
                 Signature=06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0"
            )
        );
        assert_eq!(signature.headers.value("x-acs-date"), Some("2023-10-26T10:22:32Z"));
        assert_eq!(
            signature.headers.value("x-acs-content-sha256"),
            Some("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        );
        assert!(signature.query.is_empty());
    }

    #[test]
    fn a_token_and_a_content_type_are_signed() {
        let mut request = documented(&[]);
        request.headers =
            pairs([("Content-Type", "application/json"), ("accept", "application/json")]);
        let signature = signed(&request, "token");
        let authorization = signature.headers.value("authorization").unwrap();
        assert!(authorization.contains(
            "SignedHeaders=content-type;host;x-acs-action;x-acs-content-sha256;x-acs-date;\
             x-acs-security-token;x-acs-signature-nonce;x-acs-version,"
        ));
        assert_eq!(signature.headers.value("x-acs-security-token"), Some("token"));
    }

    #[test]
    fn every_part_of_the_request_is_signed() {
        let plain = signed(&documented(&[]), "").headers.value("authorization").map(str::to_owned);
        let changes: [fn(&mut UnsignedRequest); 6] = [
            |request| request.action.push('X'),
            |request| request.host.push('x'),
            |request| request.path.push('x'),
            |request| request.method = "GET".into(),
            |request| request.query.push(("a".into(), "b".into())),
            |request| request.body.push(1),
        ];
        for (index, change) in changes.iter().enumerate() {
            let mut request = documented(&[]);
            change(&mut request);
            assert_ne!(
                signed(&request, "").headers.value("authorization").map(str::to_owned),
                plain,
                "change {index}"
            );
        }
    }
}
