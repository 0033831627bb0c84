//! The pace of requests, over a real network: what teaches it, and whom it holds up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_runtime::{Egress, Endpoint, HttpEgress, Share, ShareLimits};

use crate::fixture::{Bench, does};
use crate::requests::signer;
use crate::server::Server;

/// The pause after a first refusal.
const PAUSE: Duration = Duration::from_millis(250);
/// Far above what an answer takes on a busy machine, and far below what would hold it up here.
const SOON: Duration = Duration::from_secs(5);

/// Two backends on one way out.
fn pair(egress: HttpEgress) -> (Bench, Bench) {
    let egress: Arc<dyn Egress> = Arc::new(egress);
    let bench = |owner: &str| {
        let mut bench = Bench::new();
        bench.ports.egress = Some(Arc::clone(&egress));
        bench.ports.calls.share = Share::new(owner, ShareLimits::default());
        bench
    };
    (bench("one"), bench("other"))
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn sends(bench: &Bench, request: &str, status: u16) {
    let error = bench.does(&format!("send {request}")).unwrap_err();
    assert!(error.message.starts_with(&format!("status {status} ")), "{request}: {error}");
}

#[test]
fn what_asks_the_cloud_nothing_does_not_undo_a_refusal() {
    let (one, other) = pair(Server::start().egress());
    let took = time(|| {
        sends(&one, "cloud - read - GET /throttle", 429);
        (0..28).for_each(|_| drop(other.does("nothing").unwrap()));
        sends(&other, "cloud - read - GET /ok", 200);
    });
    assert!(took >= PAUSE, "the other request went after {took:?}");
}

#[test]
fn a_refusal_with_one_of_the_signers_codes_spaces_requests_of_its_action_alone() {
    let server = Server::start();
    let (mut bench, _) = pair(server.egress());
    bench.ports.signer = Some(signer(0));
    let start = Instant::now();
    sends(&bench, "cloud main read DescribeDisks GET /throttling-code", 400);
    sends(&bench, "cloud main read DescribeZones GET /ok", 200);
    sends(&bench, "cloud main read DescribeDisks GET /ok", 200);
    assert!(start.elapsed() >= PAUSE, "it went after {:?}", start.elapsed());
}

#[test]
fn a_backend_that_says_throttled_slows_no_other() {
    let (one, other) = pair(Server::start().egress());
    for _ in 0..20 {
        let said = one.does("say-throttled cloud - read - GET /ok").unwrap_err();
        assert_eq!(said.kind, wharf_core::ErrorKind::Throttled);
    }
    let took = time(|| sends(&other, "cloud - read - GET /ok", 200));
    assert!(took < SOON, "{took:?}");
}

#[test]
fn an_endpoint_that_hangs_holds_up_no_other_endpoint() {
    let (good, hanging) = (Server::start(), Server::start());
    let endpoint =
        |id: &str, server: &Server| Endpoint::new(id, &server.base()).unwrap().allow_private();
    let endpoints = [endpoint("cloud", &hanging), endpoint("second", &good)];
    let (one, other) = pair(HttpEgress::new(endpoints, None));
    let call = one.call();
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| does(&one.backend(), &call, "send cloud - read - GET /slow"));
        }
        while hanging.hits() < wharf_runtime::REQUESTS_AT_ONCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = time(|| sends(&other, "second - read - GET /ok", 200));
        assert!(took < SOON, "{took:?}");
        assert_eq!(hanging.hits(), wharf_runtime::REQUESTS_AT_ONCE, "the rest waits");
        call.cancel();
    });
}
