//! HMAC-SHA1 over method, two content headers, date, own headers and resource: OSS's V1 and AWS's
//! signature 2.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::{Claim, Proof, Time, mismatch, security_token};
use crate::clock::Millis;
use crate::oss::error::OssError;
use crate::oss::request::{Face, Head};

/// Query parameters that belong to OSS's resource, as the official SDKs have them.
const OSS_SUBRESOURCES: &[&str] = &[
    "accessPoint",
    "accessPointPolicy",
    "acl",
    "append",
    "asyncFetch",
    "bucketArchiveDirectRead",
    "bucketInfo",
    "callback",
    "callback-var",
    "cloudboxes",
    "cname",
    "comp",
    "continuation-token",
    "cors",
    "delete",
    "encryption",
    "endTime",
    "group",
    "httpsConfig",
    "inventory",
    "inventoryId",
    "lifecycle",
    "link",
    "live",
    "location",
    "logging",
    "metaQuery",
    "objectInfo",
    "objectMeta",
    "partNumber",
    "policy",
    "position",
    "publicAccessBlock",
    "qos",
    "qosInfo",
    "qosRequester",
    "redundancyTransition",
    "referer",
    "regionList",
    "replication",
    "replicationLocation",
    "replicationProgress",
    "requestPayment",
    "requesterQosInfo",
    "resourceGroup",
    "resourcePool",
    "resourcePoolBuckets",
    "resourcePoolInfo",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "security-token",
    "sequential",
    "startTime",
    "stat",
    "status",
    "style",
    "styleName",
    "symlink",
    "tagging",
    "transferAcceleration",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "vod",
    "website",
    "worm",
    "wormExtend",
    "wormId",
    "x-oss-ac-forward-allow",
    "x-oss-ac-source-ip",
    "x-oss-ac-subnet-mask",
    "x-oss-ac-vpc-id",
    "x-oss-access-point-name",
    "x-oss-async-process",
    "x-oss-process",
    "x-oss-redundancy-transition-taskid",
    "x-oss-request-payer",
    "x-oss-target-redundancy-type",
    "x-oss-traffic-limit",
    "x-oss-write-get-object-response",
];

/// The same of S3's.
const S3_SUBRESOURCES: &[&str] = &[
    "acl",
    "delete",
    "lifecycle",
    "location",
    "logging",
    "notification",
    "partNumber",
    "policy",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "torrent",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "website",
];

pub(super) fn claim_of_header(head: &Head, fields: &str) -> Result<Claim, OssError> {
    let (id, signature) = fields.split_once(':').ok_or_else(|| {
        OssError::argument("Authorization", fields, "Authorization header is invalid.")
    })?;
    let own = head.own_header("date");
    let date = own.or_else(|| head.header("date")).unwrap_or_default();
    let at = http_date(date)
        .ok_or_else(|| OssError::denied("OSS authentication requires a valid Date."))?;
    // AWS leaves the line empty when its own date is among the headers.
    let date = if head.face == Face::S3 && own.is_some() { "" } else { date };
    Ok(Claim {
        access_key_id: id.to_owned(),
        security_token: security_token(head),
        time: Time::Signed(at),
        proof: Proof::Older { date: date.to_owned(), signature: signature.to_owned() },
    })
}

pub(super) fn claim_of_query(head: &Head) -> Result<Claim, OssError> {
    let id = match head.face {
        Face::Native => "OSSAccessKeyId",
        Face::S3 => "AWSAccessKeyId",
    };
    let need = |name: &'static str| {
        let message = "Query-string authentication requires the Signature, Expires and \
                       access key id parameters.";
        head.parameter(name).ok_or_else(|| OssError::denied(message))
    };
    let expires = need("Expires")?;
    let seconds: Millis = expires
        .parse()
        .map_err(|_| OssError::denied("Invalid date (should be seconds since epoch)."))?;
    Ok(Claim {
        access_key_id: need(id)?.to_owned(),
        security_token: security_token(head),
        time: Time::Until(seconds.saturating_mul(1000)),
        proof: Proof::Older { date: expires.to_owned(), signature: need("Signature")?.to_owned() },
    })
}

pub(super) fn verify(
    head: &Head,
    claim: &Claim,
    date: &str,
    signature: &str,
    secret: &str,
) -> Result<(), OssError> {
    let text = string_to_sign(head, date);
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .map_err(|error| OssError::internal(&error))?;
    mac.update(text.as_bytes());
    match STANDARD.decode(signature) {
        Ok(given) if mac.verify_slice(&given).is_ok() => Ok(()),
        _ => Err(mismatch(claim, signature, &text)),
    }
}

fn string_to_sign(head: &Head, date: &str) -> String {
    let header = |name: &str| head.header(name).unwrap_or_default();
    let own: String = head
        .headers
        .iter()
        .filter(|(name, _)| name.starts_with(head.face.prefix()))
        .map(|(name, value)| format!("{name}:{}\n", value.trim()))
        .collect();
    format!(
        "{}\n{}\n{}\n{date}\n{own}{}",
        head.method,
        header("content-md5"),
        header("content-type"),
        resource(head)
    )
}

fn resource(head: &Head) -> String {
    let (path, known) = match head.face {
        Face::Native => match &head.bucket {
            Some(bucket) => (format!("/{bucket}/{}", head.key), OSS_SUBRESOURCES),
            None => ("/".to_owned(), OSS_SUBRESOURCES),
        },
        Face::S3 if head.by_host => (format!("/{}{}", head.bucket(), head.path), S3_SUBRESOURCES),
        Face::S3 => (head.path.clone(), S3_SUBRESOURCES),
    };
    let mut parameters: Vec<_> = head.query.iter().collect();
    parameters.retain(|(name, _)| known.contains(&name.as_str()));
    parameters.sort();
    let parameters: Vec<_> = parameters
        .into_iter()
        .map(|(name, value)| match value.as_str() {
            "" => name.clone(),
            value => format!("{name}={value}"),
        })
        .collect();
    if parameters.is_empty() { path } else { format!("{path}?{}", parameters.join("&")) }
}

/// `Fri, 24 Feb 2012 06:38:30 GMT`.
fn http_date(text: &str) -> Option<Millis> {
    let at = httpdate::parse_http_date(text).ok()?;
    at.duration_since(std::time::UNIX_EPOCH).ok().map(crate::clock::millis)
}

#[cfg(test)]
mod tests {
    use super::super::{Claim, claim, verify};
    use super::*;

    fn head(host: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> Head {
        let mut request = axum::http::Request::builder().method(method).uri(target);
        for (name, value) in headers.iter().chain([&("host", host)]) {
            request = request.header(*name, *value);
        }
        Head::read(0, &request.body(()).unwrap().into_parts().0, "cn-hangzhou")
    }

    fn claimed(head: &Head) -> Claim {
        claim(head).unwrap().unwrap()
    }

    // The example of "Include a V1 signature in the Authorization header".
    #[test]
    fn the_published_example_of_v1_verifies_and_no_other_secret() {
        let head = head(
            "oss-example.oss-cn-hangzhou.aliyuncs.com",
            "PUT",
            "/nelson",
            &[
                ("authorization", "OSS 44CF9590006BF252F707:26NBxoKdsyly4EDv6inkoDft/yA="),
                ("content-md5", "ODBGOERFMDMzQTczRUY3NUE3NzA5QzdFNUYzMDQxNEM="),
                ("content-type", "text/html"),
                ("date", "Thu, 17 Nov 2005 18:49:58 GMT"),
                ("x-oss-meta-author", "foo@bar.com"),
                ("x-oss-magic", "abracadabra"),
            ],
        );
        let (claim, now) = (claimed(&head), 1_132_253_398_000);
        let secret = "OtxrzxIsfpFjA7SwPzILwy8Bw21TLhquhboDYROV";
        assert_eq!(claim.access_key_id, "44CF9590006BF252F707");
        verify(&head, &claim, secret, "cn-hangzhou", now).unwrap();
        let wrong = verify(&head, &claim, "other", "cn-hangzhou", now).unwrap_err();
        assert_eq!((wrong.status, wrong.code.as_str()), (403, "SignatureDoesNotMatch"));
        let late = verify(&head, &claim, secret, "cn-hangzhou", now + 901_000).unwrap_err();
        assert_eq!((late.status, late.code.as_str()), (403, "RequestTimeTooSkewed"));
    }

    // "Signing and authenticating REST requests", object PUT and list. Their dates are in a form
    // that this service does not take, so only the signature is looked at.
    #[test]
    fn the_published_examples_of_aws_2_verify() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let put = "/awsexamplebucket1/photos/puppy.jpg";
        let list = "/awsexamplebucket1/?prefix=photos&max-keys=50&marker=puppy";
        for (method, target, signature, time, content_type) in [
            ("PUT", put, "iqRzw+ileNPu1fhspnRs8nOjjIA=", "21:15:45", Some("image/jpeg")),
            ("GET", list, "m0WP8eCtspQl5Ahe6L1SozdX9YA=", "19:42:41", None),
        ] {
            let authorization = format!("AWS AKIAIOSFODNN7EXAMPLE:{signature}");
            let date = format!("Tue, 27 Mar 2007 {time} GMT");
            let mut headers = vec![("authorization", authorization.as_str()), ("date", &date)];
            headers.extend(content_type.map(|kind| ("content-type", kind)));
            let head = head("127.0.0.1:1", method, target, &headers);
            let date = date.replace("GMT", "+0000");
            super::verify(&head, &claimed(&head), &date, signature, secret).unwrap();
            super::verify(&head, &claimed(&head), &date, signature, "other").unwrap_err();
        }
    }

    #[test]
    fn a_signed_url_ends_and_covers_its_sub_resources() {
        let target = "/b-1/key?acl&Expires=1000&OSSAccessKeyId=id&Signature=AAAA";
        let head = head("127.0.0.1:1", "GET", target, &[]);
        assert_eq!(string_to_sign(&head, "1000"), "GET\n\n\n1000\n/b-1/key?acl");
        let claim = claimed(&head);
        let late = verify(&head, &claim, "secret", "", 1_000_001).unwrap_err();
        assert_eq!(late.code, "AccessDenied");
        let wrong = verify(&head, &claim, "secret", "", 999_000).unwrap_err();
        assert_eq!(wrong.code, "SignatureDoesNotMatch");
    }
}
