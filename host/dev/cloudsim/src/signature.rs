//! Who signed a request, and whether they did: ACS3-HMAC-SHA256 ("V3") and the older RPC HMAC-SHA1.
//! Pure; the secrets come from the caller.

mod acs3;
mod rpc;

use std::collections::BTreeMap;

use crate::answer::ApiError;
use crate::clock::Millis;

/// One HTTP request as signatures see it.
#[derive(Debug)]
pub(crate) struct SignedRequest<'a> {
    /// `GET`, `POST`.
    pub(crate) method: &'a str,
    /// The path, as sent.
    pub(crate) path: &'a str,
    /// Decoded query.
    pub(crate) query: &'a [(String, String)],
    /// Query and form together.
    pub(crate) params: &'a BTreeMap<String, String>,
    /// Header names in lower case. Repeated headers are joined by commas.
    pub(crate) headers: &'a BTreeMap<String, String>,
    /// The body, as sent.
    pub(crate) body: &'a [u8],
}

/// What a request says about its signer, before any of it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Who.
    pub(crate) access_key_id: String,
    /// The token that goes with temporary keys.
    pub(crate) security_token: Option<String>,
    /// When, by the client's clock.
    pub(crate) timestamp: Millis,
    /// Never used twice.
    pub(crate) nonce: String,
    proof: Proof,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    Acs3 { signed_headers: Vec<String>, signature: String },
    Rpc { signature: String },
}

/// Reads the claim; `None` for a request that nobody signed.
pub(crate) fn claim(request: &SignedRequest<'_>) -> Result<Option<Claim>, ApiError> {
    match request.headers.get("authorization") {
        Some(authorization) => acs3::claim(request, authorization).map(Some),
        None if request.params.contains_key("Signature")
            || request.params.contains_key("AccessKeyId") =>
        {
            rpc::claim(request).map(Some)
        }
        None => Ok(None),
    }
}

/// Checks a claim against the secret of its access key.
pub(crate) fn verify(
    request: &SignedRequest<'_>,
    claim: &Claim,
    secret: &str,
) -> Result<(), ApiError> {
    match &claim.proof {
        Proof::Acs3 { signed_headers, signature } => {
            acs3::verify(request, signed_headers, signature, secret)
        }
        Proof::Rpc { signature } => rpc::verify(request, signature, secret),
    }
}

fn mismatch(string_to_sign: &str) -> ApiError {
    let message = format!(
        "Specified signature is not matched with our calculation. server string to sign \
         is:{string_to_sign}"
    );
    ApiError::new(400, "SignatureDoesNotMatch", message)
}

fn bad_timestamp(name: &str) -> ApiError {
    ApiError::new(
        400,
        "InvalidTimeStamp.Format",
        format!("Specified time stamp or date value is not well formatted ({name})."),
    )
}

fn incomplete(reason: &str) -> ApiError {
    ApiError::new(
        400,
        "IncompleteSignature",
        format!("The request signature does not conform to Aliyun standards. {reason}"),
    )
}
