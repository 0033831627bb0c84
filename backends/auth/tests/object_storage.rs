//! Signatures of object storage against the simulated region, which checks them with code of its
//! own: what is signed here, it accepts; what was changed afterwards, it refuses.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use wharf_backend_auth::canonical::query;
use wharf_backend_auth::keys::credential;
use wharf_backend_auth::{Alicloud, oss_v1, oss_v4};
use wharf_cloudsim::{Devices, Region, RegionOptions};
use wharf_sdk::auth::{Authenticator, Credential, UnsignedRequest};
use wharf_sdk::types::pairs;

const SIGNATURES: [&str; 2] = [oss_v4::NAME, oss_v1::NAME];

fn region() -> (TempDir, Region) {
    let directory = tempfile::tempdir().unwrap();
    let options =
        RegionOptions { devices: Devices::Absent, ..RegionOptions::new(directory.path()) };
    let region = Region::start(options).unwrap();
    (directory, region)
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn admin(region: &Region) -> Credential {
    let keys = &region.description().admin;
    credential(&keys.access_key_id, &keys.access_key_secret, "")
}

/// A request to the region by the bucket's own name, or by its address and with the bucket in the
/// path.
fn request(region: &Region, by_host: bool, method: &str, key: &str) -> UnsignedRequest {
    let address = region.description().endpoints.oss.trim_start_matches("http://").to_owned();
    let (host, path) = match by_host {
        true => ("bucket-1.oss-cn-wharf-1.aliyuncs.com".to_owned(), format!("/{key}")),
        false => (address, format!("/bucket-1/{key}")),
    };
    UnsignedRequest {
        action: String::new(),
        api: pairs([("bucket", "bucket-1"), ("region", "cn-wharf-1")]),
        settings: Vec::new(),
        method: method.into(),
        host,
        path,
        query: Vec::new(),
        headers: Vec::new(),
        body: Vec::new(),
        extensions: Vec::new(),
    }
}

/// Signs, lets `tamper` change what is sent, sends it as the host would, and returns status and
/// body.
fn send(
    region: &Region,
    signature: &str,
    mut request: UnsignedRequest,
    keys: &Credential,
    tamper: impl FnOnce(&mut UnsignedRequest),
) -> (u16, String) {
    request.settings = pairs([("signature", signature)]);
    let signed = Alicloud::sign(request.clone(), keys.clone(), now_ms(), "n").unwrap();
    request.headers.extend(signed.headers);
    request.query.extend(signed.query);
    tamper(&mut request);
    let parameters =
        query(request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let headers: String =
        request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{} {}?{parameters} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: \
         {}\r\n{headers}\r\n",
        request.method,
        request.path,
        request.host,
        request.body.len()
    );
    let address = region.description().endpoints.oss.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    // Far longer than loopback takes; a test that would hang fails instead.
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&request.body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn code(body: &str) -> &str {
    body.split_once("<Code>").unwrap().1.split_once("</Code>").unwrap().0
}

#[test]
fn both_signatures_are_accepted_whatever_the_request_holds() {
    let (_directory, region) = region();
    let keys = admin(&region);
    for signature in SIGNATURES {
        for by_host in [true, false] {
            let ask = |method: &str, key: &str, query: &[(&str, &str)], body: &str| {
                let request = UnsignedRequest {
                    query: pairs(query.iter().copied()),
                    headers: pairs([("content-type", "text/x; a=b"), ("x-oss-meta-a", " b ")]),
                    body: body.as_bytes().to_vec(),
                    ..request(&region, by_host, method, key)
                };
                let (status, answer) = send(&region, signature, request, &keys, |_| ());
                assert!(status < 300, "{signature} {by_host} {method} {key} {query:?}: {answer}");
                answer
            };
            ask("PUT", "", &[], "");
            ask("GET", "", &[("bucketInfo", "")], "");
            ask("PUT", "", &[("tagging", "")], "<Tagging><TagSet></TagSet></Tagging>");
            ask("PUT", "a%20b/%2B~%E4%B8%AD%2A%27", &[], "content");
            assert_eq!(ask("GET", "a%20b/%2B~%E4%B8%AD%2A%27", &[], ""), "content");
            let page = [("list-type", "2"), ("prefix", "a b/+~中"), ("start-after", "a &b=c")];
            assert!(ask("GET", "", &page, "").contains("<KeyCount>1</KeyCount>"));
            ask("DELETE", "a%20b/%2B~%E4%B8%AD%2A%27", &[], "");
            ask("DELETE", "", &[], "");
        }
    }
    assert!(region.buckets().is_empty());
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let (_directory, region) = region();
    let keys = admin(&region);
    for signature in SIGNATURES {
        let changes: [fn(&mut UnsignedRequest); 5] = [
            |request| request.path.push('x'),
            |request| request.method = "DELETE".into(),
            |request| request.query.push(("acl".into(), String::new())),
            |request| request.headers.push(("x-oss-acl".into(), "public-read".into())),
            |request| request.host = request.host.replacen("bucket-1", "bucket-2", 1),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let request = request(&region, true, "PUT", "key");
            let (status, body) = send(&region, signature, request, &keys, change);
            let refused = (status, code(&body));
            assert_eq!(refused, (403, "SignatureDoesNotMatch"), "{signature}, change {index}");
        }
    }
}

#[test]
fn another_body_than_the_signed_one_is_refused() {
    let (_directory, region) = region();
    let keys = admin(&region);
    send(&region, oss_v4::NAME, request(&region, true, "PUT", ""), &keys, |_| ());
    for signature in SIGNATURES {
        let put = UnsignedRequest { body: b"12".to_vec(), ..request(&region, true, "PUT", "key") };
        let (status, body) =
            send(&region, signature, put, &keys, |request| request.body = b"21".to_vec());
        assert_eq!((status, code(&body)), (400, "InvalidDigest"), "{signature}");
    }
    assert!(region.buckets()[0].objects.is_empty());
}

#[test]
fn a_wrong_secret_is_refused_and_so_is_a_token_that_is_missing() {
    let (_directory, region) = region();
    let wrong = credential(&region.description().admin.access_key_id, "wrong", "");
    let forged = credential(&region.description().admin.access_key_id, "wrong", "forged");
    for signature in SIGNATURES {
        let ask = |keys| send(&region, signature, request(&region, true, "GET", ""), keys, |_| ());
        assert_eq!(code(&ask(&wrong).1), "SignatureDoesNotMatch", "{signature}");
        assert_eq!(code(&ask(&forged).1), "InvalidSecurityToken", "{signature}");
    }
}
