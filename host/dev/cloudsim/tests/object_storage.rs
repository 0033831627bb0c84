//! Object storage as a client meets it where the official SDKs do not look: faults, rates, the
//! journal, restarts, connections that end too early. Needs no root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod client;
mod objects;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime};

use client::{Client, eventually, http};
use objects::{Objects, element};
use wharf_cloudsim::{
    Devices, Fault, FaultRule, HoldPoint, Limit, RateLimits, Region, RegionOptions,
};

fn start(directory: &Path) -> Region {
    let options = RegionOptions {
        devices: Devices::Absent,
        foreign_buckets: vec!["of-another".to_owned()],
        ..RegionOptions::new(directory)
    };
    Region::start(options).unwrap()
}

/// With a bucket `b-1` that has an object `key`, and an empty one, `open`, that everybody may
/// write.
fn with(test: impl FnOnce(&Region, &Objects)) {
    let directory = tempfile::tempdir().unwrap();
    let region = start(directory.path());
    let client = Objects::of(&region);
    client.ok("PUT", "/b-1", "");
    client.ok("PUT", "/b-1/key", "content");
    let public = [("x-oss-acl", "public-read-write")];
    assert_eq!(client.send_with("PUT", "/open", &public, "").unwrap().0, 200);
    region.clear_journal();
    test(&region, &client);
}

fn keys(region: &Region) -> Vec<String> {
    let buckets = region.buckets();
    buckets.into_iter().flat_map(|bucket| bucket.objects).map(|object| object.key).collect()
}

#[test]
fn a_region_that_starts_again_has_its_buckets_objects_and_uploads() {
    let directory = tempfile::tempdir().unwrap();
    let region = start(directory.path());
    let client = Objects::of(&region);
    client.ok("PUT", "/b-1", "");
    client.ok("PUT", "/b-1/../..//odd", "odd");
    client.ok("PUT", "/b-1/replaced", "first");
    client.ok("PUT", "/b-1/replaced", "second");
    client.ok("PUT", "/b-1/gone", "");
    client.ok("DELETE", "/b-1/gone", "");
    let upload = client.ok("POST", "/b-1/parts?uploads", "");
    let upload = element(&upload, "UploadId").unwrap().to_owned();
    let part = format!("/b-1/parts?partNumber=1&uploadId={upload}");
    client.ok("PUT", &part, "in a part");
    let before = region.buckets();
    region.stop().unwrap();

    let region = start(directory.path());
    let client = Objects::of(&region);
    assert_eq!(region.buckets(), before);
    assert_eq!(client.ok("GET", "/b-1/replaced", ""), "second");
    assert_eq!(client.ok("GET", "/b-1/../..//odd", ""), "odd");
    let whole = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>\
                 <ETag>2C4C3EBE3B6DDBBE9A5BE8DBB4F9A2F1</ETag></Part></CompleteMultipartUpload>";
    let complete = format!("/b-1/parts?uploadId={upload}");
    assert_eq!(client.error("POST", &complete, whole), (400, "InvalidPart".into()));
    let listed = client.ok("GET", &complete, "");
    let etag = element(&listed, "ETag").unwrap();
    let whole = whole.replace("2C4C3EBE3B6DDBBE9A5BE8DBB4F9A2F1", etag);
    client.ok("POST", &complete, &whole);
    assert_eq!(client.ok("GET", "/b-1/parts", ""), "in a part");
    region.reset().unwrap();
    assert!(region.buckets().is_empty());
    let left = std::fs::read_dir(directory.path().join("oss/buckets")).unwrap().count();
    assert_eq!(left, 0, "no file is left of what was reset");
}

#[test]
fn a_test_writes_and_reads_objects_without_http() {
    with(|region, client| {
        region.make_bucket("b-2").unwrap();
        region.make_bucket("b-2").unwrap();
        region.put_object("b-2", "dir/key", b"from a test").unwrap();
        assert_eq!(client.ok("GET", "/b-2/dir/key", ""), "from a test");
        client.ok("PUT", "/b-2/dir/key", "from a client");
        assert_eq!(region.object("b-2", "dir/key").unwrap().unwrap(), b"from a client");
        assert_eq!(region.object("b-2", "none").unwrap(), None);
        let told = region.put_object("none-there", "key", b"").unwrap_err().to_string();
        assert!(told.contains("NoSuchBucket") && told.contains("none-there"), "{told}");
        assert!(region.make_bucket("UPPER").is_err());
    });
}

#[test]
fn the_default_rate_is_not_for_object_storage() {
    with(|region, client| {
        let default = Some(Limit { calls: 1, seconds: 60 });
        region.set_rate_limits_used_up(RateLimits { default, ..RateLimits::none() });
        assert_eq!(client.ok("GET", "/b-1/key", ""), "content");
    });
}

#[test]
fn no_name_leads_out_of_the_store() {
    with(|region, client| {
        for bucket in ["..", "%2e%2e", "a%2Fb", "UPPER", "a", "-a-"] {
            let (status, code) = client.error("PUT", &format!("/{bucket}"), "");
            assert!(
                status == 400 && code == "InvalidBucketName" || status == 403,
                "{bucket}: {code}"
            );
        }
        let long = format!("/b-1/{}", "k".repeat(1024));
        assert_eq!(client.error("PUT", &long, ""), (400, "InvalidObjectName".into()));
        assert_eq!(client.error("PUT", "/b-1//slash", ""), (400, "InvalidObjectName".into()));
        assert_eq!(keys(region), ["key"]);
    });
}

#[test]
fn a_refusal_and_a_throttling_do_nothing() {
    with(|region, client| {
        let fault = |fault| region.set_faults(vec![FaultRule::new("PutObject", fault).times(1)]);
        fault(Fault::fail(403, "AccessDenied"));
        assert_eq!(client.error("PUT", "/b-1/new", "x"), (403, "AccessDenied".into()));
        fault(Fault::Throttle);
        assert_eq!(client.error("PUT", "/b-1/new", "x"), (503, "ServiceUnavailable".into()));
        let limit = RateLimits { default: None, ..RateLimits::none() };
        let actions = [("PutObject".to_owned(), Limit { calls: 1, seconds: 60 })].into();
        region.set_rate_limits_used_up(RateLimits { actions, ..limit });
        assert_eq!(client.error("PUT", "/b-1/new", "x"), (503, "ServiceUnavailable".into()));
        assert_eq!(keys(region), ["key"]);
        let journal = region.journal();
        let told: Vec<_> = journal
            .iter()
            .map(|entry| (entry.action.as_str(), entry.status, entry.fault.as_deref()))
            .collect();
        let put = "PutObject";
        assert_eq!(
            told,
            [(put, 403, Some("fail")), (put, 503, Some("throttle")), (put, 503, None)]
        );
    });
}

#[test]
fn the_s3_face_is_told_to_slow_down() {
    with(|region, client| {
        region.set_faults(vec![FaultRule::new("GetObject", Fault::Throttle)]);
        let headers = [("x-amz-date", "20260101T000000Z")];
        let (status, answer) = http(&client.base, "GET", "/open/key", &headers, "").unwrap();
        assert_eq!((status, element(&answer, "Code")), (503, Some("SlowDown")), "{answer}");
    });
}

#[test]
fn faults_are_chosen_by_bucket_and_key() {
    with(|region, client| {
        let rule = FaultRule::new("*", Fault::fail(500, "InternalError"));
        region.set_faults(vec![rule.with("bucket", "b-1").with("key", "other")]);
        assert_eq!(client.ok("GET", "/b-1/key", ""), "content");
        assert_eq!(client.error("GET", "/b-1/other", "").0, 500);
    });
}

#[test]
fn a_dropped_answer_leaves_the_work_done_and_a_dropped_request_does_not() {
    with(|region, client| {
        region.set_faults(vec![FaultRule::new("PutObject", Fault::DropAnswer).times(1)]);
        assert!(client.send("PUT", "/b-1/answer", "x").is_err());
        region.set_faults(vec![FaultRule::new("PutObject", Fault::DropRequest).times(1)]);
        assert!(client.send("PUT", "/b-1/request", "x").is_err());
        assert_eq!(keys(region), ["answer", "key"]);
    });
}

#[test]
fn an_answer_can_end_in_the_middle_or_be_garbage() {
    with(|region, client| {
        let long = "0123456789".repeat(100_000);
        client.ok("PUT", "/b-1/long", &long);
        region.set_faults(vec![FaultRule::new("GetObject", Fault::TruncateAnswer).times(1)]);
        assert!(client.send("GET", "/b-1/long", "").is_err());
        assert_eq!(client.ok("GET", "/b-1/long", ""), long);
        region.set_faults(vec![FaultRule::new("GetObject", Fault::GarbageAnswer).times(1)]);
        assert!(client.ok("GET", "/b-1/long", "").starts_with("<html>"));
    });
}

#[test]
fn a_held_call_waits_until_it_is_released() {
    with(|region, client| {
        for (point, there) in [(HoldPoint::Before, false), (HoldPoint::After, true)] {
            region.set_faults(vec![FaultRule::new("PutObject", Fault::Hold(point)).times(1)]);
            let key = format!("held-{there}");
            std::thread::scope(|scope| {
                let put = scope.spawn(|| client.ok("PUT", &format!("/b-1/{key}"), "x"));
                let held = region.wait_for_held(1, Duration::from_secs(10));
                assert_eq!(held[0].parameters["key"], key);
                assert_eq!(keys(region).contains(&key), there);
                region.release_all();
                put.join().unwrap();
            });
            assert!(keys(region).contains(&key));
        }
    });
}

#[test]
fn a_stop_ends_held_calls() {
    let directory = tempfile::tempdir().unwrap();
    let region = start(directory.path());
    region.make_bucket("b-1").unwrap();
    let client = Objects::of(&region);
    region.set_faults(vec![FaultRule::new("PutObject", Fault::Hold(HoldPoint::Before))]);
    std::thread::scope(|scope| {
        let call = scope.spawn(|| client.send("PUT", "/b-1/key", "x"));
        region.wait_for_held(1, Duration::from_secs(10));
        region.stop().unwrap();
        let ended = call.join().unwrap();
        assert!(ended.is_err() || ended.is_ok_and(|(status, _)| status == 503));
    });
    assert!(keys(&start(directory.path())).is_empty());
}

#[test]
fn an_answer_can_be_slow() {
    with(|region, client| {
        region.set_faults(vec![FaultRule::new("GetObject", Fault::Delay { ms: 30 }).times(1)]);
        client.ok("GET", "/b-1/key", "");
        let entry = &region.journal()[0];
        assert!(entry.took_ms >= 30 && entry.fault.as_deref() == Some("delay"), "{entry:?}");
    });
}

#[test]
fn the_journal_names_bucket_and_key_and_no_signature() {
    with(|region, client| {
        let base = &client.base;
        let url = "/b-1/key?Expires=1&OSSAccessKeyId=LTAI&Signature=c2VjcmV0&security-token=tok";
        http(base, "GET", url, &[], "").unwrap();
        client.ok("GET", "/b-1/?prefix=k", "");
        let journal = region.journal();
        let parameters = |n: usize| -> Vec<_> {
            let all = journal[n].parameters.iter();
            all.map(|(name, value)| (name.as_str(), value.as_str())).collect()
        };
        assert_eq!(parameters(0), [("bucket", "b-1"), ("key", "key")]);
        assert_eq!(parameters(1), [("bucket", "b-1"), ("prefix", "k")]);
        let told = (journal[1].action.as_str(), journal[1].listener.as_str());
        assert_eq!(told, ("ListObjects", "oss"));
        assert_eq!(journal[1].caller.as_deref(), Some(client.id.as_str()));
    });
}

#[test]
fn a_token_ends_with_its_session() {
    with(|region, _| {
        let role = format!("acs:ram::{}:role/oss", region.description().account);
        let assume = [("RoleArn", role.as_str()), ("RoleSessionName", "s1")];
        let keys = Client::sts(region).ok("AssumeRole", &assume)["Credentials"].clone();
        let text = |name: &str| keys[name].as_str().unwrap().to_owned();
        let client = Objects {
            id: text("AccessKeyId"),
            secret: text("AccessKeySecret"),
            token: Some(text("SecurityToken")),
            ..Objects::of(region)
        };
        assert_eq!(client.ok("GET", "/b-1/key", ""), "content");
        region.advance(Duration::from_secs(3601));
        assert_eq!(client.error("GET", "/b-1/key", ""), (403, "SecurityTokenExpired".into()));
    });
}

#[test]
fn a_policy_holds_users_to_what_it_allows() {
    with(|region, admin| {
        let keys = &region.description().instances[0].keys;
        let user = Objects {
            id: keys.access_key_id.clone(),
            secret: keys.access_key_secret.clone(),
            ..Objects::of(region)
        };
        let only_reading = r#"{ "users": { "Version": "1", "Statement": [
            { "Effect": "Allow", "Action": ["oss:GetObject", "oss:ListObjects"] }
        ] } }"#;
        region.set_policies(serde_json::from_str(only_reading).unwrap());
        let denied = (403, "AccessDenied".to_owned());
        assert_eq!(user.ok("GET", "/b-1/key", ""), "content");
        assert!(user.ok("GET", "/b-1/", "").contains("<Key>key</Key>"));
        for (method, target) in [
            ("PUT", "/b-1/key"),
            ("POST", "/b-1/key?uploads"),
            ("DELETE", "/b-1/key"),
            ("POST", "/b-1?delete"),
            ("PUT", "/b-2"),
            ("DELETE", "/b-1"),
        ] {
            assert_eq!(user.error(method, target, ""), denied, "{method} {target}");
        }
        admin.ok("PUT", "/b-1/key", "other");
    });
}

#[test]
fn a_clock_that_is_off_by_more_than_a_quarter_of_an_hour_is_told_so() {
    with(|region, _| {
        for (seconds, code) in [(890, None), (910, Some("RequestTimeTooSkewed"))] {
            let date = Some(SystemTime::now() - Duration::from_secs(seconds));
            let (status, answer) =
                Objects { date, ..Objects::of(region) }.send("GET", "/b-1/key", "").unwrap();
            assert_eq!(element(&answer, "Code"), code, "{seconds}: {status}");
        }
    });
}

#[test]
fn nobody_signs_and_nobody_gets_in() {
    with(|region, client| {
        let base = &client.base;
        for (method, target) in [
            ("GET", "/"),
            ("GET", "/b-1"),
            ("PUT", "/b-2"),
            ("GET", "/b-1/key"),
            ("PUT", "/b-1/new"),
            ("DELETE", "/b-1/key"),
            ("DELETE", "/b-1"),
            ("POST", "/b-1?delete"),
        ] {
            let (status, answer) = http(base, method, target, &[], "").unwrap();
            let code = element(&answer, "Code");
            assert_eq!((status, code), (403, Some("AccessDenied")), "{method} {target}");
        }
        assert_eq!(keys(region), ["key"]);
    });
}

#[test]
fn a_bucket_of_another_account_is_closed_and_its_name_is_taken() {
    with(|_, client| {
        let taken = (409, "BucketAlreadyExists".to_owned());
        assert_eq!(client.error("PUT", "/of-another", ""), taken);
        for target in ["/of-another", "/of-another/key", "/of-another?acl"] {
            assert_eq!(client.error("GET", target, ""), (403, "AccessDenied".into()), "{target}");
        }
    });
}

#[test]
fn an_upload_that_ends_too_early_leaves_nothing() {
    with(|region, client| {
        let directory = region.description().instances[0].config.ancestors().nth(2).unwrap();
        let drafts = || std::fs::read_dir(directory.join("oss/incoming")).unwrap().count();
        let mut stream = put(client, "/open/cut", 1_000_000);
        stream.write_all(b"part").unwrap();
        eventually(|| (drafts() == 1).then_some(()), "a draft");
        stream.shutdown(Shutdown::Both).unwrap();
        eventually(|| (drafts() == 0).then_some(()), "no draft");
        assert_eq!(keys(region), ["key"]);
    });
}

/// Begins to put so many bytes, as anybody may.
fn put(client: &Objects, target: &str, length: u64) -> TcpStream {
    let mut stream = TcpStream::connect(client.base.trim_start_matches("http://")).unwrap();
    let head = format!(
        "PUT {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: \
         {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[test]
fn more_than_one_request_may_bring_is_refused_before_it_is_sent() {
    with(|region, client| {
        let mut stream = put(client, "/open/huge", (5 << 30) + 1);
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(element(&answer, "Code"), Some("EntityTooLarge"), "{answer}");
        let document = "x".repeat((2 << 20) + 1);
        assert_eq!(client.error("POST", "/b-1?delete", &document), (400, "MalformedXML".into()));
        assert_eq!(keys(region), ["key"]);
    });
}

#[test]
fn what_is_not_simulated_says_so() {
    with(|_, client| {
        assert_eq!(client.error("GET", "/b-1/?lifecycle", "").0, 501);
        let headers = [("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")];
        let (status, answer) = http(&client.base, "PUT", "/open/key", &headers, "").unwrap();
        assert_eq!((status, element(&answer, "Code")), (501, Some("NotImplemented")), "{answer}");
        assert_eq!(client.error("PATCH", "/b-1/key", ""), (405, "MethodNotAllowed".into()));
    });
}
