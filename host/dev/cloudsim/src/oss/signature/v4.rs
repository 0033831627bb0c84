//! HMAC-SHA256 with a key for a day, a region and a service: OSS's V4 and AWS's signature 4.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::{Claim, Time, mismatch, security_token};
use crate::clock::{Millis, parse_iso8601};
use crate::oss::error::OssError;
use crate::oss::request::{Face, Head};
use crate::text::{percent_encode, percent_encode_path};

/// Longest life of a signed URL: seven days.
const LONGEST_LIFE: u64 = 7 * 24 * 3600;

/// What the two call things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Words {
    algorithm: &'static str,
    secret_prefix: &'static str,
    service: &'static str,
    end: &'static str,
    /// The list of signed headers, in `Authorization`.
    headers: &'static str,
    signature_parameter: &'static str,
}

const OSS: Words = Words {
    algorithm: "OSS4-HMAC-SHA256",
    secret_prefix: "aliyun_v4",
    service: "oss",
    end: "aliyun_v4_request",
    headers: "AdditionalHeaders",
    signature_parameter: "x-oss-signature",
};

const AWS: Words = Words {
    algorithm: "AWS4-HMAC-SHA256",
    secret_prefix: "AWS4",
    service: "s3",
    end: "aws4_request",
    headers: "SignedHeaders",
    signature_parameter: "X-Amz-Signature",
};

fn words(face: Face) -> &'static Words {
    match face {
        Face::Native => &OSS,
        Face::S3 => &AWS,
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof {
    /// `20231216T162057Z`.
    time: String,
    day: String,
    region: String,
    /// OSS: those beside the ones that are always signed. AWS: all.
    headers: Vec<String>,
    signature: String,
}

pub(super) fn claim_of_header(head: &Head, fields: &str) -> Result<Claim, OssError> {
    let words = words(head.face);
    let field = |name: &str| {
        fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let need = |name: &str| {
        let message = format!("Authorization header is invalid: it has no {name}.");
        field(name).ok_or_else(|| OssError::argument("Authorization", fields, message))
    };
    let time = head.own_header("date").unwrap_or_default();
    let (at, time) = basic_time(time)
        .ok_or_else(|| OssError::denied("A signature needs the time at which it was made."))?;
    let headers = field(words.headers).unwrap_or_default();
    let proof = Proof {
        time,
        headers: names(headers),
        signature: need("Signature")?.to_owned(),
        ..scope(words, need("Credential")?)?
    };
    finish(head, need("Credential")?, proof, Time::Signed(at))
}

pub(super) fn claim_of_query(head: &Head) -> Result<Claim, OssError> {
    let words = words(head.face);
    let name = |native: &'static str, s3: &'static str| match head.face {
        Face::Native => native,
        Face::S3 => s3,
    };
    let need = |name: &'static str| {
        let message = format!("Query-string authentication requires {name}.");
        head.parameter(name).ok_or_else(|| OssError::argument(name, "", message))
    };
    let credential = need(name("x-oss-credential", "X-Amz-Credential"))?;
    let time = need(name("x-oss-date", "X-Amz-Date"))?;
    let (at, time) = basic_time(time)
        .ok_or_else(|| OssError::argument("x-oss-date", time, "Invalid time in the query."))?;
    let expires = need(name("x-oss-expires", "X-Amz-Expires"))?;
    let life = expires.parse().ok().filter(|life| (1..=LONGEST_LIFE).contains(life));
    let life = life.ok_or_else(|| {
        OssError::argument("x-oss-expires", expires, "Invalid expiration: 1 to 604800 seconds.")
    })?;
    let headers = head.parameter(name("x-oss-additional-headers", "X-Amz-SignedHeaders"));
    let proof = Proof {
        time,
        headers: names(headers.unwrap_or_default()),
        signature: need(words.signature_parameter)?.to_owned(),
        ..scope(words, credential)?
    };
    finish(head, credential, proof, Time::Until(at.saturating_add(life * 1000)))
}

fn finish(head: &Head, credential: &str, proof: Proof, time: Time) -> Result<Claim, OssError> {
    if !proof.time.starts_with(&proof.day) {
        let message = "Invalid signing date: it is not the day of the request.";
        return Err(OssError::argument("Credential", credential, message));
    }
    Ok(Claim {
        access_key_id: credential.split('/').next().unwrap_or_default().to_owned(),
        security_token: security_token(head),
        time,
        proof: super::Proof::V4(proof),
    })
}

/// Day and region of `<id>/<day>/<region>/<service>/<end>`.
fn scope(words: &Words, credential: &str) -> Result<Proof, OssError> {
    let parts: Vec<&str> = credential.split('/').collect();
    match parts.as_slice() {
        [_, day, region, service, end] if *service == words.service && *end == words.end => {
            Ok(Proof {
                time: String::new(),
                day: (*day).to_owned(),
                region: (*region).to_owned(),
                headers: Vec::new(),
                signature: String::new(),
            })
        }
        _ => {
            let message = format!(
                "Invalid Credential: it is <AccessKeyId>/<date>/<region>/{}/{}.",
                words.service, words.end
            );
            Err(OssError::argument("Credential", credential, message))
        }
    }
}

pub(super) fn verify(
    head: &Head,
    claim: &Claim,
    proof: &Proof,
    secret: &str,
    region: &str,
) -> Result<(), OssError> {
    let words = words(head.face);
    // S3's face takes any region, as the real one does: `s3fs` says `us-east-1` unless it is told.
    if head.face == Face::Native && proof.region != region {
        let message = "Invalid signing region in Authorization header.";
        return Err(OssError::argument("Credential", &proof.region, message));
    }
    let canonical = canonical_request(head, words, proof);
    let text = format!(
        "{}\n{}\n{}/{}/{}/{}\n{}",
        words.algorithm,
        proof.time,
        proof.day,
        proof.region,
        words.service,
        words.end,
        const_hex::encode(Sha256::digest(&canonical))
    );
    let key = format!("{}{secret}", words.secret_prefix).into_bytes();
    let key = [&proof.day, &proof.region, words.service, words.end]
        .into_iter()
        .try_fold(key, |key, part| Ok(mac(&key, part)?.finalize().into_bytes().to_vec()))?;
    let given = const_hex::decode(&proof.signature);
    match given {
        Ok(given) if mac(&key, &text)?.verify_slice(&given).is_ok() => Ok(()),
        _ => Err(mismatch(claim, &proof.signature, &text).with("CanonicalRequest", canonical)),
    }
}

fn mac(key: &[u8], text: &str) -> Result<Hmac<Sha256>, OssError> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).map_err(|error| OssError::internal(&error))?;
    mac.update(text.as_bytes());
    Ok(mac)
}

fn canonical_request(head: &Head, words: &Words, proof: &Proof) -> String {
    let path = match head.face {
        Face::S3 => percent_encode_path(&crate::text::decode_path(&head.path)),
        Face::Native => match &head.bucket {
            Some(bucket) => percent_encode_path(&format!("/{bucket}/{}", head.key)),
            None => "/".to_owned(),
        },
    };
    let is_signed = |name: &str| {
        proof.headers.iter().any(|signed| signed == name)
            || head.face == Face::Native
                && (name.starts_with("x-oss-") || matches!(name, "content-type" | "content-md5"))
    };
    let headers: String = head
        .headers
        .iter()
        .filter(|(name, _)| is_signed(name))
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    format!(
        "{}\n{path}\n{}\n{headers}\n{}\n{}",
        head.method,
        canonical_query(head, words),
        proof.headers.join(";"),
        head.own_header("content-sha256").unwrap_or("UNSIGNED-PAYLOAD"),
    )
}

fn canonical_query(head: &Head, words: &Words) -> String {
    let mut pairs: Vec<_> = head
        .query
        .iter()
        .filter(|(name, _)| name != words.signature_parameter)
        .map(|(name, value)| (percent_encode(name), percent_encode(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| match head.face {
            Face::Native if value.is_empty() => name,
            Face::Native | Face::S3 => format!("{name}={value}"),
        })
        .collect();
    pairs.join("&")
}

fn names(list: &str) -> Vec<String> {
    let mut names: Vec<_> =
        list.split(';').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort();
    names
}

/// `20231216T162057Z`.
fn basic_time(text: &str) -> Option<(Millis, String)> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    let part = |text: &str, from: usize, to: usize| text.get(from..to).map(str::to_owned);
    let (year, month, day) = (part(date, 0, 4)?, part(date, 4, 6)?, part(date, 6, 8)?);
    let (hour, minute, second) = (part(time, 0, 2)?, part(time, 2, 4)?, part(time, 4, 6)?);
    let at = parse_iso8601(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))?;
    Some((at, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::{claim, verify};
    use super::*;

    const QUERY: &str =
        "param1=value1&%2Bparam1=value3&%7Cparam1=value4&%2Bparam2&%7Cparam2&param2";
    const HOST: &str = "bucket.oss-cn-hangzhou.aliyuncs.com";

    fn head(host: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> Head {
        let mut request = axum::http::Request::builder().method(method).uri(target);
        for (name, value) in headers.iter().chain([&("host", host)]) {
            request = request.header(*name, *value);
        }
        Head::read(0, &request.body(()).unwrap().into_parts().0, "cn-hangzhou")
    }

    fn check(head: &Head, secret: &str, region: &str, now: Millis) -> Result<(), OssError> {
        verify(head, &claim(head)?.unwrap(), secret, region, now)
    }

    // From the unit tests of the official SDKs, which all have the same table.
    fn header(time: &str, authorization: &str) -> Head {
        head(
            HOST,
            "PUT",
            &format!("/1234%2B-/123/1.txt?{QUERY}"),
            &[
                ("x-oss-head1", "value"),
                ("abc", "value"),
                ("zabc", "value"),
                ("xyz", "value"),
                ("content-type", "text/plain"),
                ("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
                ("x-oss-date", time),
                ("authorization", authorization),
            ],
        )
    }

    #[test]
    fn the_official_sdks_examples_of_v4_in_headers_verify() {
        let plain = header(
            "20231216T162057Z",
            "OSS4-HMAC-SHA256 Credential=ak/20231216/cn-hangzhou/oss/aliyun_v4_request,\
             Signature=e21d18daa82167720f9b1047ae7e7f1ce7cb77a31e8203a7d5f4624fa0284afe",
        );
        check(&plain, "sk", "cn-hangzhou", 1_702_743_657_000).unwrap();
        let more = header(
            "20231216T172512Z",
            "OSS4-HMAC-SHA256 Credential=ak/20231216/cn-hangzhou/oss/aliyun_v4_request,\
             AdditionalHeaders=abc;zabc,\
             Signature=4a4183c187c07c8947db7620deb0a6b38d9fbdd34187b6dbaccb316fa251212f",
        );
        check(&more, "sk", "cn-hangzhou", 1_702_747_512_000).unwrap();
        let refused = |secret: &str, region: &str, now: Millis| {
            check(&more, secret, region, now).unwrap_err().code
        };
        let now = 1_702_747_512_000;
        assert_eq!(refused("other", "cn-hangzhou", now), "SignatureDoesNotMatch");
        assert_eq!(refused("sk", "cn-shanghai", now), "InvalidArgument");
        assert_eq!(refused("sk", "cn-hangzhou", now + 901_000), "RequestTimeTooSkewed");
    }

    #[test]
    fn the_official_sdks_example_of_v4_in_the_query_verifies_until_it_ends() {
        let target = format!(
            "/1234%2B-/123/1.txt?{QUERY}&x-oss-signature-version=OSS4-HMAC-SHA256&\
             x-oss-date=20231217T025437Z&x-oss-expires=599&\
             x-oss-credential=ak%2F20231217%2Fcn-hangzhou%2Foss%2Faliyun_v4_request&\
             x-oss-signature=a39966c61718be0d5b14e668088b3fa07601033f6518ac7b523100014269c0fe"
        );
        let headers = [("x-oss-head1", "value"), ("content-type", "application/octet-stream")];
        let head = head(HOST, "PUT", &target, &headers);
        check(&head, "sk", "cn-hangzhou", 1_702_781_677_000).unwrap();
        let late = check(&head, "sk", "cn-hangzhou", 1_702_781_677_000 + 600_000).unwrap_err();
        assert_eq!(late.code, "AccessDenied");
    }

    // "Authenticating requests: using the Authorization header", example GET bucket lifecycle, with
    // the bucket in the host; the path style has the same canonical form but for the path.
    #[test]
    fn the_published_example_of_aws_4_verifies() {
        let head = head(
            "examplebucket.s3.amazonaws.com",
            "GET",
            "/?lifecycle",
            &[
                ("x-amz-date", "20130524T000000Z"),
                (
                    "x-amz-content-sha256",
                    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                ),
                (
                    "authorization",
                    "AWS4-HMAC-SHA256 \
                     Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                     SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
                     Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
                ),
            ],
        );
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        check(&head, secret, "cn-hangzhou", 1_369_353_600_000).unwrap();
        let wrong = check(&head, "other", "cn-hangzhou", 1_369_353_600_000).unwrap_err();
        assert_eq!(wrong.code, "SignatureDoesNotMatch");
    }
}
