//! Credentials and signatures against the simulated region, which checks signatures with code of
//! its own: what is signed here, it accepts; what was changed afterwards, it refuses. The sources
//! that ask the metadata service and the token service ask the region's.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;
use wharf_backend_auth::canonical::query;
use wharf_backend_auth::keys::{Keys, credential};
use wharf_backend_auth::{Alicloud, acs3, rpc_sha1};
use wharf_cloudsim::{Devices, OidcProvider, Region, RegionOptions};
use wharf_sdk::auth::{Authenticator, Credential, Source, UnsignedRequest};
use wharf_sdk::http::{Request, Response};
use wharf_sdk::testing::FakeHost;
use wharf_sdk::types::{Parameters, pairs};
use wharf_sdk::{Error, ErrorKind};

const SIGNATURES: [&str; 2] = [acs3::NAME, rpc_sha1::NAME];
const PROVIDER: &str = "acs:ram::1:oidc-provider/cluster";

fn region(change: impl FnOnce(&mut RegionOptions)) -> (TempDir, Region) {
    let directory = tempfile::tempdir().unwrap();
    let provider = OidcProvider {
        arn: PROVIDER.into(),
        issuer: "https://cluster".into(),
        audiences: vec!["sts.aliyuncs.com".into()],
        subjects: Default::default(),
    };
    let mut options = RegionOptions {
        devices: Devices::Absent,
        oidc_providers: vec![provider],
        ..RegionOptions::new(directory.path())
    };
    change(&mut options);
    let region = Region::start(options).unwrap();
    (directory, region)
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A request to ECS whose parameters need every kind of encoding.
fn describe_disks(region: &Region, signature: &str) -> UnsignedRequest {
    UnsignedRequest {
        action: "DescribeDisks".into(),
        api: pairs([("version", "2014-05-26")]),
        settings: pairs([("signature", signature)]),
        method: "POST".into(),
        host: authority(&region.description().endpoints.ecs).to_owned(),
        path: "/".into(),
        query: pairs([
            ("RegionId", "cn-wharf-1"),
            ("DiskName", "a b*c~d/e+f&g=h:中"),
            ("Tag.1.Key", "k"),
            ("Tag.1.Value", ""),
        ]),
        headers: pairs([("accept", "application/json")]),
        body: Vec::new(),
        extensions: Vec::new(),
    }
}

fn get_caller_identity(region: &Region, signature: &str) -> UnsignedRequest {
    UnsignedRequest {
        action: "GetCallerIdentity".into(),
        api: pairs([("version", "2015-04-01")]),
        host: authority(&region.description().endpoints.sts).to_owned(),
        query: Parameters::new(),
        ..describe_disks(region, signature)
    }
}

/// Signs, lets `tamper` change what is sent, sends it as the host would, and returns status and
/// body.
fn send(
    mut request: UnsignedRequest,
    keys: &Credential,
    tamper: impl FnOnce(&mut UnsignedRequest),
) -> (u16, Value) {
    static NONCE: AtomicU64 = AtomicU64::new(1);
    let nonce = format!("{}-{}", std::process::id(), NONCE.fetch_add(1, Ordering::Relaxed));
    let signed = Alicloud::sign(request.clone(), keys.clone(), now_ms(), &nonce).unwrap();
    request.headers.extend(signed.headers);
    request.query.extend(signed.query);
    tamper(&mut request);
    let (status, body) = http(
        &request.host,
        &request.method,
        &request.path,
        &request.query,
        &request.headers,
        &request.body,
    );
    (status, serde_json::from_str(&body).unwrap())
}

fn http(
    host: &str,
    method: &str,
    path: &str,
    parameters: &Parameters,
    headers: &Parameters,
    body: &[u8],
) -> (u16, String) {
    let parameters = query(parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path}?{parameters} HTTP/1.1\r\nhost: {host}\r\nconnection: \
         close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(host).unwrap();
    // Far longer than loopback takes; a test that would hang fails instead.
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn authority(base: &str) -> &str {
    base.trim_start_matches("http://")
}

/// A host whose endpoints lead to the region.
fn host_beside(region: &Region) -> FakeHost {
    let endpoints = region.description().endpoints.clone();
    FakeHost::install().handling(move |request: &Request| {
        let base = match request.endpoint.as_str() {
            "metadata" => &endpoints.metadata,
            "sts" => &endpoints.sts,
            _ => return None,
        };
        let (status, body) = http(
            authority(base),
            &request.method,
            &request.path,
            &request.query,
            &request.headers,
            &request.body,
        );
        Some(Ok(Response::new(status, body)))
    })
}

fn admin(region: &Region) -> Credential {
    let keys = &region.description().admin;
    credential(&keys.access_key_id, &keys.access_key_secret, "")
}

#[test]
fn both_signatures_are_accepted_whatever_the_parameters_hold() {
    let (_directory, region) = region(|_| ());
    for signature in SIGNATURES {
        for method in ["POST", "GET"] {
            let request =
                UnsignedRequest { method: method.into(), ..describe_disks(&region, signature) };
            let (status, body) = send(request, &admin(&region), |_| ());
            assert_eq!(
                (status, body["TotalCount"].as_u64()),
                (200, Some(0)),
                "{signature} {method}: {body}"
            );
        }
    }
}

#[test]
fn a_body_is_covered_by_the_newer_signature() {
    let (_directory, region) = region(|_| ());
    let request = || UnsignedRequest {
        headers: pairs([("content-type", "application/x-www-form-urlencoded")]),
        body: b"PageSize=10".to_vec(),
        ..describe_disks(&region, acs3::NAME)
    };
    assert_eq!(send(request(), &admin(&region), |_| ()).0, 200);
    let (_, refused) =
        send(request(), &admin(&region), |request| request.body = b"PageSize=50".to_vec());
    assert_eq!(refused["Code"], "SignatureDoesNotMatch");
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let (_directory, region) = region(|_| ());
    for signature in SIGNATURES {
        let changes: [fn(&mut UnsignedRequest); 3] = [
            |request| request.query[1].1.push('x'),
            |request| request.query.push(("DryRun".into(), "true".into())),
            |request| request.method = "GET".into(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let (status, body) = send(describe_disks(&region, signature), &admin(&region), change);
            assert_eq!(
                (status, body["Code"].as_str()),
                (400, Some("SignatureDoesNotMatch")),
                "{signature}, change {index}"
            );
        }
    }
}

#[test]
fn a_wrong_secret_is_refused() {
    let (_directory, region) = region(|_| ());
    let wrong = credential(&region.description().admin.access_key_id, "wrong", "");
    for signature in SIGNATURES {
        assert_eq!(
            send(describe_disks(&region, signature), &wrong, |_| ()).1["Code"],
            "SignatureDoesNotMatch",
            "{signature}"
        );
    }
}

#[test]
fn the_machine_s_role_signs_with_its_token_and_not_without() {
    let (_directory, region) = region(|_| ());
    let _host = host_beside(&region);
    let keys = Alicloud::obtain(Source::new("ecs-ram-role", []), now_ms()).unwrap();
    assert!(keys.expires_at_ms.unwrap() > now_ms());
    let without = {
        let keys = Keys::of(&keys).unwrap();
        credential(keys.id, keys.secret.expose(), "")
    };
    for signature in SIGNATURES {
        let (status, body) = send(get_caller_identity(&region, signature), &keys, |_| ());
        assert!(
            status == 200 && body["Arn"].as_str().unwrap().contains(":assumed-role/WharfNodeRole/"),
            "{signature}: {body}"
        );
        assert_eq!(
            send(get_caller_identity(&region, signature), &without, |_| ()).1["Code"],
            "MissingSecurityToken",
            "{signature}"
        );
    }
}

#[test]
fn a_machine_without_a_role_leaves_the_question_to_the_next_source() {
    let (_directory, region) = region(|options| options.instance_role = None);
    let _host = host_beside(&region);
    assert_eq!(
        Alicloud::obtain(Source::new("ecs-ram-role", []), now_ms()).unwrap_err().kind,
        ErrorKind::NotFound
    );
    assert_eq!(
        Alicloud::obtain(Source::new("ecs-ram-role", [("role", "other")]), now_ms())
            .unwrap_err()
            .kind,
        ErrorKind::NotFound
    );
}

fn assume(region: &Region, token: &str) -> Result<Credential, Error> {
    let role = format!("acs:ram::{}:role/storage", region.description().account);
    Alicloud::obtain(
        Source::new(
            "oidc",
            [("role-arn", &role), ("oidc-provider-arn", PROVIDER), ("token", token)],
        ),
        now_ms(),
    )
}

#[test]
fn a_workload_s_token_becomes_a_credential_that_signs() {
    let (_directory, region) = region(|_| ());
    let _host = host_beside(&region);
    let keys =
        assume(&region, &region.oidc_token(0, "system:serviceaccount:kube-system:wharf").unwrap())
            .unwrap();
    for signature in SIGNATURES {
        let (status, body) = send(get_caller_identity(&region, signature), &keys, |_| ());
        assert!(
            status == 200 && body["Arn"].as_str().unwrap().ends_with(":assumed-role/storage/wharf"),
            "{signature}: {body}"
        );
    }
}

#[test]
fn a_token_that_the_service_refuses_is_an_error_that_does_not_quote_it() {
    let (_directory, region) = region(|_| ());
    let _host = host_beside(&region);
    let token = region.oidc_token(0, "somebody").unwrap();
    region.advance(Duration::from_secs(7200));
    let error = assume(&region, &token).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_deref()),
        (ErrorKind::Unauthenticated, Some("AuthenticationFail.OIDCToken.Expired"))
    );
    assert!(!format!("{error:?}").contains(&token));
}
