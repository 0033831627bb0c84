//! Who signed a request to object storage, and whether they did: OSS signatures V1 and V4, and AWS
//! signatures 2 and 4, in headers and in the query. Pure; secrets and time come from the caller.
//!
//! Sources: "Include a V1 signature in the Authorization header" and the same of V4 in the OSS
//! developer reference, and "Signing and authenticating REST requests" in S3's for both of its
//! signatures. V1 and AWS 2 differ in words, and so do V4 and AWS 4.

mod older;
mod v4;

use super::error::OssError;
use super::request::{Face, Head};
use crate::clock::Millis;

/// How far a client's clock may be from the machine's.
const WINDOW: Millis = 15 * 60 * 1000;

/// What a request says about its signer, before any of it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Who.
    pub(crate) access_key_id: String,
    /// The token that goes with temporary keys.
    pub(crate) security_token: Option<String>,
    time: Time,
    proof: Proof,
}

/// When a signature is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    /// Around the time at which it was made.
    Signed(Millis),
    /// Until then: a signed URL.
    Until(Millis),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Proof {
    Older { date: String, signature: String },
    V4(v4::Proof),
}

/// Reads the claim; `None` for a request that nobody signed.
pub(crate) fn claim(head: &Head) -> Result<Option<Claim>, OssError> {
    let Some(authorization) = head.header("authorization") else {
        return match head.face {
            _ if head.has("x-oss-signature") || head.has("X-Amz-Signature") => {
                v4::claim_of_query(head).map(Some)
            }
            _ if head.has("Signature") => older::claim_of_query(head).map(Some),
            Face::Native | Face::S3 => Ok(None),
        };
    };
    let (method, fields) = authorization.split_once(' ').unwrap_or((authorization, ""));
    match method {
        "OSS" | "AWS" => older::claim_of_header(head, fields).map(Some),
        "OSS4-HMAC-SHA256" | "AWS4-HMAC-SHA256" => v4::claim_of_header(head, fields).map(Some),
        _ => Err(OssError::argument(
            "Authorization",
            method,
            "Authorization header is invalid: unsupported signing algorithm.",
        )),
    }
}

/// Checks a claim's time against the machine's clock, and its signature against the secret of its
/// access key.
pub(crate) fn verify(
    head: &Head,
    claim: &Claim,
    secret: &str,
    region: &str,
    now: Millis,
) -> Result<(), OssError> {
    match claim.time {
        Time::Signed(at) if at.abs_diff(now) > WINDOW => {
            let message = "The difference between the request time and the current time is too \
                           large.";
            return Err(OssError::new(403, "RequestTimeTooSkewed", message)
                .with("MaxAllowedSkewMilliseconds", WINDOW.to_string())
                .with("RequestTime", super::summary::iso8601_millis(at))
                .with("ServerTime", super::summary::iso8601_millis(now)));
        }
        Time::Until(end) if end < now => return Err(OssError::denied("Request has expired.")),
        Time::Signed(_) | Time::Until(_) => {}
    }
    match &claim.proof {
        Proof::Older { date, signature } => older::verify(head, claim, date, signature, secret),
        Proof::V4(proof) => v4::verify(head, claim, proof, secret, region),
    }
}

/// A security token that came with the request, wherever the client put it.
fn security_token(head: &Head) -> Option<String> {
    let token = match head.face {
        Face::Native => head
            .header("x-oss-security-token")
            // The second official Python SDK names it so where it signs with V1.
            .or_else(|| head.header("security-token"))
            .or_else(|| head.parameter("x-oss-security-token"))
            .or_else(|| head.parameter("security-token")),
        Face::S3 => head
            .header("x-amz-security-token")
            .or_else(|| head.parameter("X-Amz-Security-Token"))
            .or_else(|| head.parameter("x-amz-security-token")),
    };
    token.filter(|token| !token.is_empty()).map(str::to_owned)
}

fn mismatch(claim: &Claim, provided: &str, string_to_sign: &str) -> OssError {
    let message = "The request signature we calculated does not match the signature you provided. \
                   Check your key and signing method.";
    OssError::new(403, "SignatureDoesNotMatch", message)
        .with("OSSAccessKeyId", &claim.access_key_id)
        .with("SignatureProvided", provided)
        .with("StringToSign", string_to_sign)
}
