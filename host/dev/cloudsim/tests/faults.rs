//! Faults as a client meets them, and the administration of a running region. Needs no root.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "the helpers of tests fail as tests do"
)]

mod client;

use std::time::{Duration, Instant};

use client::{Client, http};
use serde_json::{Value, json};
use wharf_cloudsim::{Delays, Devices, Fault, FaultRule, HoldPoint, Region, RegionOptions};

fn with(test: impl FnOnce(&Region, &Client)) {
    let directory = tempfile::tempdir().unwrap();
    let options = RegionOptions {
        devices: Devices::Absent,
        delays: Delays::none(),
        ..RegionOptions::new(directory.path())
    };
    let region = Region::start(options).unwrap();
    test(&region, &Client::ecs(&region));
}

const DISK: [(&str, &str); 3] =
    [("ZoneId", "cn-wharf-1a"), ("Size", "20"), ("DiskCategory", "cloud_essd")];

fn faults(region: &Region, fault: Fault) {
    region.set_faults(vec![FaultRule::new("CreateDisk", fault).times(1)]);
}

#[test]
fn a_refusal_and_a_throttling_do_nothing() {
    with(|region, client| {
        faults(region, Fault::fail(403, "Forbidden.RAM"));
        assert_eq!(client.error("CreateDisk", &DISK), (403, "Forbidden.RAM".into()));
        faults(region, Fault::Throttle);
        assert_eq!(client.error("CreateDisk", &DISK), (400, "Throttling.User".into()));
        assert!(region.disks().is_empty());
        client.ok("CreateDisk", &DISK);
        let journal = region.journal();
        let told: Vec<_> =
            journal.iter().map(|entry| (entry.status, entry.fault.as_deref())).collect();
        assert_eq!(told, [(403, Some("fail")), (400, Some("throttle")), (200, None)]);
        region.clear_journal();
        assert!(region.journal().is_empty());
    });
}

#[test]
fn a_dropped_answer_leaves_the_work_done() {
    with(|region, client| {
        faults(region, Fault::DropAnswer);
        assert!(client.send("CreateDisk", &DISK).is_err());
        assert_eq!(region.disks().len(), 1);
        assert_eq!(
            (region.journal()[0].status, region.journal()[0].fault.as_deref()),
            (200, Some("drop-answer"))
        );
    });
}

#[test]
fn a_dropped_request_leaves_nothing_done() {
    with(|region, client| {
        faults(region, Fault::DropRequest);
        assert!(client.send("CreateDisk", &DISK).is_err());
        assert!(region.disks().is_empty());
        assert_eq!(
            (region.journal()[0].status, region.journal()[0].fault.as_deref()),
            (0, Some("drop-request"))
        );
    });
}

#[test]
fn a_truncated_answer_ends_in_its_body() {
    with(|region, client| {
        faults(region, Fault::TruncateAnswer);
        let error = client.send("CreateDisk", &DISK).unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::UnexpectedEof,
            "head whole, body short: {error}"
        );
        assert_eq!(region.disks().len(), 1);
    });
}

#[test]
fn a_garbage_answer_is_not_json() {
    with(|region, client| {
        faults(region, Fault::GarbageAnswer);
        let (status, body) = client.send("CreateDisk", &DISK).unwrap();
        assert_eq!(status, 200);
        assert!(serde_json::from_str::<Value>(&body).is_err());
        assert_eq!(region.disks().len(), 1);
    });
}

#[test]
fn a_delay_takes_its_time() {
    with(|region, client| {
        faults(region, Fault::Delay { ms: 150 });
        let start = Instant::now();
        client.ok("CreateDisk", &DISK);
        assert!(start.elapsed() >= Duration::from_millis(150));
        assert!(region.journal()[0].took_ms >= 150);
    });
}

#[test]
fn a_held_call_waits_where_it_was_told_to() {
    for (point, done) in [(HoldPoint::Before, 0), (HoldPoint::After, 1)] {
        with(|region, client| {
            faults(region, Fault::Hold(point));
            std::thread::scope(|scope| {
                let call = scope.spawn(|| client.ok("CreateDisk", &DISK));
                let held = region.wait_for_held(1, Duration::from_secs(10));
                assert_eq!((held[0].action.as_str(), held[0].point), ("CreateDisk", point));
                assert_eq!(region.disks().len(), done);
                assert!(region.release(held[0].id));
                assert!(call.join().unwrap()["DiskId"].is_string());
            });
            assert_eq!(region.disks().len(), 1);
            assert!(region.held().is_empty() && !region.release(1));
        });
    }
}

#[test]
fn a_held_call_goes_on_although_its_client_has_gone() {
    with(|region, client| {
        faults(region, Fault::Hold(HoldPoint::Before));
        let form = client.sign("CreateDisk", &DISK);
        let connection = client::begin(&client.base, "POST", "/", &[client::FORM], &form).unwrap();
        region.wait_for_held(1, Duration::from_secs(10));
        drop(connection);
        // Other calls come and go, so that the region has time to notice that this client is gone.
        for _ in 0..20 {
            client.ok("DescribeRegions", &[]);
        }
        assert_eq!(region.release_all(), 1);
        client::eventually(|| (region.disks().len() == 1).then_some(()), "the call goes on");
    });
}

#[test]
fn a_stop_ends_held_calls() {
    let directory = tempfile::tempdir().unwrap();
    let options =
        RegionOptions { devices: Devices::Absent, ..RegionOptions::new(directory.path()) };
    let region = Region::start(options).unwrap();
    let client = Client::ecs(&region);
    faults(&region, Fault::Hold(HoldPoint::Before));
    std::thread::scope(|scope| {
        let call = scope.spawn(|| client.send("CreateDisk", &DISK));
        region.wait_for_held(1, Duration::from_secs(10));
        region.stop().unwrap();
        let ended = call.join().unwrap();
        assert!(ended.is_err() || ended.is_ok_and(|(status, _)| status == 503));
    });
}

#[test]
fn faults_strike_the_metadata_service_too() {
    with(|region, _| {
        region.set_faults(vec![
            FaultRule::new("PUT /latest/api/token", Fault::fail(503, "ServiceUnavailable"))
                .times(1),
        ]);
        let ttl = [("X-aliyun-ecs-metadata-token-ttl-seconds", "60")];
        let base = &region.description().endpoints.metadata;
        assert_eq!(http(base, "PUT", "/latest/api/token", &ttl, "").unwrap().0, 503);
        assert_eq!(http(base, "PUT", "/latest/api/token", &ttl, "").unwrap().0, 200);
    });
}

#[test]
fn a_region_is_administered_over_http() {
    with(|region, client| {
        let base = &region.description().endpoints.ecs;
        let ask = |method: &str, path: &str, body: &str| -> (u16, Value) {
            let (status, body) =
                http(base, method, &format!("/_region/{path}"), &[], body).unwrap();
            (status, serde_json::from_str(&body).unwrap())
        };
        let plan = r#"[{ "action": "CreateDisk", "count": 1, "fault": { "fail": { "status": 403, "code": "Forbidden.RAM" } } }]"#;
        assert_eq!(ask("PUT", "faults", plan).0, 200);
        assert_eq!(ask("GET", "faults", "").1[0]["action"], "CreateDisk");
        assert_eq!(client.error("CreateDisk", &DISK).1, "Forbidden.RAM");
        assert_eq!(ask("PUT", "faults", "[{}]").0, 400);
        client.ok("CreateDisk", &DISK);
        let disk = ask("GET", "disks", "").1[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(ask("PUT", &format!("disks/{disk}/arrears"), "true"), (200, json!({})));
        assert_eq!(
            client.error("ResizeDisk", &[("DiskId", &disk), ("NewSize", "30")]).1,
            "DiskInArrears"
        );
        assert_eq!(ask("PUT", "disks/d-none/arrears", "true").0, 404);
        let instance = &region.description().instances[0].id;
        assert_eq!(
            ask("PUT", &format!("instances/{instance}"), r#"{ "locked_for_security": true }"#).0,
            200
        );
        assert_eq!(
            client.error("AttachDisk", &[("InstanceId", instance), ("DiskId", &disk)]).1,
            "InstanceLockedForSecurity"
        );
        assert_eq!(ask("PUT", "delays", r#"{ "create": 5000 }"#).1["create"], 5000);
        let delays = ask("PUT", "delays", r#"{ "attach": 7 }"#).1;
        assert_eq!((&delays["attach"], &delays["create"]), (&json!(7), &json!(5000)));
        assert_eq!(ask("PUT", "delays", r#"{ "atach": 7 }"#).0, 400);
        assert_eq!(ask("PUT", "quotas", r#"{ "disks": 1 }"#).1["disks"], 1);
        assert_eq!(client.error("CreateDisk", &DISK).1, "QuotaExceed.PostPaidDisk");
        let denied = r#"{ "users": { "Version": "1", "Statement": [] } }"#;
        assert_eq!(ask("PUT", "policies", denied).1["users"]["Version"], "1");
        assert_eq!(ask("PUT", "policies", r#"{ "user": null }"#).0, 400);
        assert_eq!(ask("POST", "advance", r#"{ "ms": 1 }"#).0, 200);
        assert_eq!(ask("GET", "journal", "").1.as_array().unwrap().len(), 5);
        assert_eq!(ask("GET", "holds", "").1, json!([]));
        assert_eq!(ask("POST", "holds/release", "").1["released"], 0);
        assert_eq!(ask("POST", "reset", "").0, 200);
        assert!(region.disks().is_empty());
        assert_eq!(ask("GET", "journal", "").1, json!([]));
        assert_eq!(ask("GET", "nothing", "").0, 404);
    });
    let directory = tempfile::tempdir().unwrap();
    let options = RegionOptions {
        devices: Devices::Absent,
        admin_api: false,
        ..RegionOptions::new(directory.path())
    };
    let region = Region::start(options).unwrap();
    assert_ne!(
        http(&region.description().endpoints.ecs, "GET", "/_region/journal", &[], "").unwrap().0,
        200
    );
}
