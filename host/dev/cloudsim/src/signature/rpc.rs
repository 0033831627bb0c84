//! The RPC signature, version 1.0: HMAC-SHA1 over all parameters of query and form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::{Claim, Proof, SignedRequest, bad_timestamp, mismatch};
use crate::answer::ApiError;
use crate::clock::parse_iso8601;
use crate::text::percent_encode;

pub(super) fn claim(request: &SignedRequest<'_>) -> Result<Claim, ApiError> {
    let value = |name: &str| {
        request
            .params
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
            .ok_or_else(|| ApiError::missing(name))
    };
    let access_key_id = value("AccessKeyId").map_err(|_| {
        ApiError::new(400, "MissingAccessKeyId", "AccessKeyId is mandatory for this action.")
    })?;
    if value("SignatureMethod")? != "HMAC-SHA1" || value("SignatureVersion")? != "1.0" {
        return Err(ApiError::new(
            400,
            "InvalidSignatureMethod",
            "Specified signature method is not supported.",
        ));
    }
    Ok(Claim {
        access_key_id,
        security_token: value("SecurityToken").ok(),
        timestamp: parse_iso8601(&value("Timestamp")?).ok_or_else(|| bad_timestamp("Timestamp"))?,
        nonce: value("SignatureNonce")?,
        proof: Proof::Rpc { signature: value("Signature")? },
    })
}

pub(super) fn verify(
    request: &SignedRequest<'_>,
    signature: &str,
    secret: &str,
) -> Result<(), ApiError> {
    let mut pairs: Vec<_> =
        request.params.iter().filter(|(name, _)| *name != "Signature").collect();
    pairs.sort();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
        .collect();
    let string_to_sign = format!("{}&%2F&{}", request.method, percent_encode(&pairs.join("&")));
    let mut mac = Hmac::<Sha1>::new_from_slice(format!("{secret}&").as_bytes())
        .map_err(|error| ApiError::internal(&error))?;
    mac.update(string_to_sign.as_bytes());
    match STANDARD.decode(signature) {
        Ok(given) if mac.verify_slice(&given).is_ok() => Ok(()),
        _ => Err(mismatch(&string_to_sign)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{SignedRequest, claim, verify};

    // The example of the ECS API reference, "Request signatures".
    const QUERY: &str = "Action=DescribeRegions&Format=XML&Version=2014-05-26&AccessKeyId=testid&\
                         SignatureMethod=HMAC-SHA1&Timestamp=2016-02-23T12%3A46%3A24Z&\
                         SignatureNonce=3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf&SignatureVersion=1.0&\
                         Signature=OLeaidS1JvxuMvnyHOwuJ%2BuX5qY%3D";

    fn check(method: &str, secret: &str) -> Result<(), crate::answer::ApiError> {
        let query = crate::text::decode_pairs(QUERY);
        let params = query.iter().cloned().collect();
        let request = SignedRequest {
            method,
            path: "/",
            query: &query,
            params: &params,
            headers: &BTreeMap::new(),
            body: b"",
        };
        let claim = claim(&request)?.unwrap();
        assert_eq!(claim.access_key_id, "testid");
        verify(&request, &claim, secret)
    }

    #[test]
    fn the_published_example_verifies() {
        check("GET", "testsecret").unwrap();
    }

    #[test]
    fn another_secret_or_method_does_not() {
        assert_eq!(check("GET", "other").unwrap_err().code, "SignatureDoesNotMatch");
        assert_eq!(check("POST", "testsecret").unwrap_err().code, "SignatureDoesNotMatch");
    }
}
