//! ACS3-HMAC-SHA256, "request syntax and signature method V3".

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::{Claim, Proof, SignedRequest, bad_timestamp, incomplete, mismatch};
use crate::answer::ApiError;
use crate::clock::parse_iso8601;
use crate::text::percent_encode;

const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// Headers that a signature must cover, so that nothing that decides the call can be changed on the
/// way.
const ALWAYS_SIGNED: &[&str] =
    &["x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"];

pub(super) fn claim(request: &SignedRequest<'_>, authorization: &str) -> Result<Claim, ApiError> {
    let Some(fields) = authorization.strip_prefix(ALGORITHM) else {
        return Err(ApiError::new(
            400,
            "InvalidSignatureMethod",
            "Specified signature method is not supported.",
        ));
    };
    let field = |name: &str| {
        let found =
            fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| incomplete(&format!("Authorization has no {name}.")))
    };
    let header =
        |name: &str| request.headers.get(name).cloned().ok_or_else(|| ApiError::missing(name));
    let date = header("x-acs-date")?;
    Ok(Claim {
        access_key_id: field("Credential")?.to_owned(),
        security_token: request
            .headers
            .get("x-acs-security-token")
            .cloned()
            .filter(|token| !token.is_empty()),
        timestamp: parse_iso8601(&date).ok_or_else(|| bad_timestamp("x-acs-date"))?,
        nonce: header("x-acs-signature-nonce")?,
        proof: Proof::Acs3 {
            signed_headers: field("SignedHeaders")?.split(';').map(str::to_owned).collect(),
            signature: field("Signature")?.to_owned(),
        },
    })
}

pub(super) fn verify(
    request: &SignedRequest<'_>,
    signed: &[String],
    signature: &str,
    secret: &str,
) -> Result<(), ApiError> {
    let token =
        request.headers.contains_key("x-acs-security-token").then_some("x-acs-security-token");
    for name in ALWAYS_SIGNED.iter().copied().chain(token) {
        if !signed.iter().any(|header| header == name) {
            return Err(incomplete(&format!("SignedHeaders does not cover {name}.")));
        }
    }
    let payload = const_hex::encode(Sha256::digest(request.body));
    if request.headers.get("x-acs-content-sha256").is_some_and(|claimed| *claimed != payload) {
        return Err(mismatch(&format!("x-acs-content-sha256 of the body is {payload}")));
    }
    let canonical = canonical_request(request, signed, &payload);
    let string_to_sign =
        format!("{ALGORITHM}\n{}", const_hex::encode(Sha256::digest(canonical.as_bytes())));
    let given = const_hex::decode(signature);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|error| ApiError::internal(&error))?;
    mac.update(string_to_sign.as_bytes());
    match given {
        Ok(given) if mac.verify_slice(&given).is_ok() => Ok(()),
        _ => Err(mismatch(&format!("{string_to_sign}, server canonical request is:{canonical}"))),
    }
}

fn canonical_request(request: &SignedRequest<'_>, signed: &[String], payload: &str) -> String {
    // By name, as the official SDKs do it: sorted as whole pairs, `Tag` and `Tag.1.Key` would
    // change places.
    let mut pairs: Vec<_> = request.query.iter().collect();
    pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
    let query: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
        .collect();
    let mut names: Vec<&str> = signed.iter().map(String::as_str).collect();
    names.sort_unstable();
    let headers: String = names
        .iter()
        .map(|name| {
            format!(
                "{name}:{}\n",
                request.headers.get(*name).map(|value| value.trim()).unwrap_or_default()
            )
        })
        .collect();
    let path = if request.path.is_empty() { "/" } else { request.path };
    format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{payload}",
        request.method,
        query.join("&"),
        names.join(";")
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{SignedRequest, claim, verify};

    // The example of Alibaba Cloud's page "Request body and signature mechanism for V3".
    const SIGNATURE: &str = "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0";

    const IMAGE: &str = "win2019_1809_x64_dtc_zh-cn_40G_alibase_20230811.vhd";
    const SIGNED: &str =
        "host;x-acs-action;x-acs-content-sha256;x-acs-date;x-acs-signature-nonce;x-acs-version";

    fn check(secret: &str, image: &str) -> Result<(), crate::answer::ApiError> {
        check_with(secret, image, SIGNED, b"")
    }

    fn check_with(
        secret: &str,
        image: &str,
        signed: &str,
        body: &[u8],
    ) -> Result<(), crate::answer::ApiError> {
        let query = vec![
            ("ImageId".to_owned(), image.to_owned()),
            ("RegionId".to_owned(), "cn-shanghai".to_owned()),
        ];
        let authorization = format!(
            "ACS3-HMAC-SHA256 \
             Credential=YourAccessKeyId,SignedHeaders={signed},Signature={SIGNATURE}"
        );
        let headers = [
            ("authorization", authorization.as_str()),
            ("host", "ecs.cn-shanghai.aliyuncs.com"),
            ("x-acs-action", "RunInstances"),
            (
                "x-acs-content-sha256",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
            ("x-acs-date", "2023-10-26T10:22:32Z"),
            ("x-acs-signature-nonce", "3156853299f313e23d1673dc12e1703d"),
            ("x-acs-version", "2014-05-26"),
        ];
        let headers: BTreeMap<_, _> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let params = query.iter().cloned().collect();
        let request = SignedRequest {
            method: "POST",
            path: "/",
            query: &query,
            params: &params,
            headers: &headers,
            body,
        };
        let claim = claim(&request)?.unwrap();
        assert_eq!(claim.access_key_id, "YourAccessKeyId");
        assert_eq!(claim.timestamp, 1_698_315_752_000);
        verify(&request, &claim, secret)
    }

    #[test]
    fn the_published_example_verifies() {
        check("YourAccessKeySecret", IMAGE).unwrap();
    }

    #[test]
    fn another_secret_or_another_parameter_does_not() {
        assert_eq!(check("other", IMAGE).unwrap_err().code, "SignatureDoesNotMatch");
        assert_eq!(
            check("YourAccessKeySecret", "linux").unwrap_err().code,
            "SignatureDoesNotMatch"
        );
    }

    #[test]
    fn a_body_other_than_the_announced_one_does_not() {
        let error = check_with("YourAccessKeySecret", IMAGE, SIGNED, b"Size=20").unwrap_err();
        assert!(
            error.code == "SignatureDoesNotMatch"
                && error.message.contains("x-acs-content-sha256 of the body"),
            "{error:?}"
        );
    }

    #[test]
    fn what_decides_the_call_must_be_signed() {
        let error = check_with("YourAccessKeySecret", IMAGE, "host;x-acs-date", b"").unwrap_err();
        assert!(
            error.code == "IncompleteSignature" && error.message.contains("x-acs-action"),
            "{error:?}"
        );
    }
}
