//! What a guest's requests may do, over a real network with a bad-mannered server at the other end.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use wharf_core::ports::Call;
use wharf_core::{Effect, Error, ErrorKind, Secret};
use wharf_runtime::{
    AuthDescription, Credential, Endpoint, HttpEgress, RequestEvent, Reserved, RuntimeObserver,
    Signature, Signer, Unsigned,
};

use crate::fixture::{Bench, does};
use crate::server::{BIG, Server};

fn bench(server: &Server) -> Bench {
    let mut bench = Bench::new();
    bench.ports.egress = Some(Arc::new(server.egress()));
    bench
}

fn sends(bench: &Bench, request: &str) -> Error {
    bench.does(&format!("send {request}")).unwrap_err()
}

#[test]
fn a_granted_request_is_answered() {
    let server = Server::start();
    assert!(
        sends(&bench(&server), "cloud - read - GET /ok accept=text/plain")
            .message
            .starts_with("status 200 with 2 bytes")
    );
    let head = server.heads.lock().unwrap()[0].clone();
    assert!(
        head.starts_with("GET /ok HTTP/1.1\r\n") && head.contains("accept: text/plain"),
        "{head}"
    );
}

#[test]
fn what_is_not_granted_is_not_sent() {
    let server = Server::start();
    let bench = bench(&server);
    for (request, reason) in [
        ("other - read - GET /ok", "no endpoint `other`"),
        ("cloud - mutate - DELETE /ok", "not in the component's manifest"),
        ("cloud - mutate - POST /secret", "not granted"),
        ("cloud main read DescribeDisks GET /ok", "no account `main`"),
        ("cloud - read DescribeDisks GET /ok", "must not name an action"),
        ("cloud main read - GET /other", "`GET /other` on endpoint `cloud`"),
        ("cloud - read - BREW /ok", "method"),
        ("cloud - read - GET /a/../ok", "`..`"),
        ("cloud - read - GET /ok Authorization=x", "only the account's signer"),
        ("cloud - read - GET /ok Host=x", "belongs to the host"),
        ("cloud main read Describe\nDisks GET /ok", "control characters"),
        ("cloud - read - GET /\u{1b}[31mok", "control characters"),
        (
            format!("cloud main read {} GET /ok", "A".repeat(257)).as_str(),
            "action is longer than 256",
        ),
        (format!("{} - read - GET /ok", "e".repeat(257)).as_str(), "endpoint is longer than 256"),
        (
            format!("cloud - read - GET /{}", "p".repeat(8 << 10)).as_str(),
            "path is longer than 8192",
        ),
    ] {
        let error = sends(&bench, request);
        assert!(error.message.contains(reason), "{request}: {error}");
        assert_eq!(error.effect, Effect::None);
    }
    assert_eq!(server.hits(), 0);
}

#[test]
fn redirects_are_answers_and_not_followed() {
    let server = Server::start();
    assert!(
        sends(&bench(&server), "cloud - read - GET /redirect").message.starts_with("status 302")
    );
    assert_eq!(server.hits(), 1);
}

#[test]
fn cookies_do_not_reach_the_guest() {
    let answer = sends(&bench(&Server::start()), "cloud - read - GET /cookie");
    assert!(
        answer.message.contains("x-request-id") && !answer.message.contains("set-cookie"),
        "{answer}"
    );
}

#[test]
fn a_body_above_the_endpoints_bound_is_an_error_and_not_a_cut() {
    let server = Server::start();
    let error = sends(&bench(&server), "cloud - read - GET /big");
    assert!(error.message.contains("longer than 4194304 bytes"), "{error}");
    let mut wide = bench(&server);
    let endpoint =
        Endpoint::new("cloud", &server.base()).unwrap().allow_private().with_body_bytes(BIG);
    wide.ports.egress = Some(Arc::new(HttpEgress::new([endpoint], None)));
    assert!(
        sends(&wide, "cloud - read - GET /big")
            .message
            .starts_with(&format!("status 200 with {BIG} bytes"))
    );
    wide.ports.calls.limits.http_bytes = BIG - 1;
    assert!(
        sends(&wide, "cloud - read - GET /big").message.contains("longer than one call may take")
    );
}

#[test]
fn an_endpoint_that_does_not_answer_costs_no_more_than_the_call() {
    let server = Server::start();
    let bench = bench(&server);
    for (request, effect) in [
        ("cloud - read - GET /slow", Effect::None),
        ("cloud - mutate - POST /slow", Effect::Unknown),
    ] {
        let error = does(
            &bench.backend(),
            &bench.call_of(Duration::from_secs(3)),
            &format!("send {request}"),
        )
        .unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, effect), "{error}");
        assert!(error.message.contains("did not answer in the time of this call"), "{error}");
    }
}

#[test]
fn an_endpoint_that_does_not_answer_is_left_when_nobody_waits() {
    let server = Server::start();
    let bench = bench(&server);
    let call = bench.call();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            does(&bench.backend(), &call, "send cloud - mutate - POST /slow").unwrap_err()
        });
        while server.hits() == 0 {
            std::thread::yield_now();
        }
        call.cancel();
        assert_eq!(running.join().unwrap().effect, Effect::Unknown);
    });
}

#[test]
fn a_lost_answer_leaves_a_mutating_requests_effect_unknown() {
    let server = Server::start();
    for path in ["/drop", "/truncated"] {
        let mutating = sends(&bench(&server), &format!("cloud - mutate - POST {path}"));
        assert_eq!(
            (mutating.kind, mutating.effect),
            (ErrorKind::Unavailable, Effect::Unknown),
            "{mutating}"
        );
        assert_eq!(
            sends(&bench(&server), &format!("cloud - read - GET {path}")).effect,
            Effect::None
        );
    }
    assert_eq!(server.hits(), 4, "nothing is sent twice");
}

#[test]
fn a_request_that_never_left_changed_nothing() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut bench = Bench::new();
    bench.ports.egress = Some(Arc::new(HttpEgress::new(
        [Endpoint::new("cloud", &format!("http://{closed}")).unwrap().allow_private()],
        None,
    )));
    let error = sends(&bench, "cloud - mutate - POST /ok");
    assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::None));
    assert!(error.message.contains("cannot be reached"), "{error}");
}

#[test]
fn private_addresses_are_reached_only_where_that_is_granted() {
    let server = Server::start();
    for base in [server.base(), format!("http://localhost:{}", server.address.port())] {
        let mut bench = Bench::new();
        bench.ports.egress =
            Some(Arc::new(HttpEgress::new([Endpoint::new("cloud", &base).unwrap()], None)));
        let error = sends(&bench, "cloud - mutate - POST /ok");
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::PermissionDenied, Effect::None),
            "{base}: {error}"
        );
        assert!(error.message.contains("private address"), "{error}");
    }
    assert_eq!(server.hits(), 0);
}

#[test]
fn requests_of_one_batch_are_sent_at_once_and_answered_in_order() {
    let server = Server::start();
    assert_eq!(
        bench(&server).does("send-all 16 cloud - read - GET /ok").unwrap_err().message,
        "16 answered"
    );
    assert_eq!(server.hits(), 16);
}

#[test]
fn a_server_with_a_runtime_of_its_own_lends_it() {
    let server = Server::start();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let endpoint = Endpoint::new("cloud", &server.base()).unwrap().allow_private();
    let mut bench = Bench::new();
    bench.ports.egress =
        Some(Arc::new(HttpEgress::new([endpoint], Some(runtime.handle().clone()))));
    let answer = runtime.block_on(async {
        tokio::task::spawn_blocking(move || sends(&bench, "cloud - read - GET /ok")).await.unwrap()
    });
    assert!(answer.message.starts_with("status 200"), "{answer}");
}

/// Keeps what is said of requests.
#[derive(Default)]
struct Requested(Mutex<Vec<String>>);

impl RuntimeObserver for Requested {
    fn requested(&self, event: &RequestEvent<'_>) {
        self.0.lock().unwrap().push(event.action.to_owned());
    }
}

#[test]
fn what_is_said_of_a_request_is_one_short_line() {
    let (server, requested) = (Server::start(), Arc::new(Requested::default()));
    let endpoint = Endpoint::new("cloud", &server.base()).unwrap().allow_private();
    let mut bench = Bench::new();
    bench.ports.egress = Some(Arc::new(
        HttpEgress::new([endpoint], None)
            .with_observer(Arc::clone(&requested) as Arc<dyn RuntimeObserver>),
    ));
    for path in [format!("/{}", "p".repeat(7 << 10)), "/a\nb\u{1b}[31m".to_owned()] {
        let error = sends(&bench, &format!("cloud - read - GET {path}"));
        assert!(error.message.len() < 4 << 10, "{error}");
    }
    let said = requested.0.lock().unwrap();
    assert_eq!((said[0].len(), said[1].as_str()), (256, "GET /a b [31m"));
}

/// Signs with a counter, and lets a refused credential be replaced so many times.
pub struct CountingSigner {
    signed: AtomicUsize,
    renewals: AtomicUsize,
    ends: Mutex<Vec<Duration>>,
}

impl Signer for CountingSigner {
    fn describe(&self, _: &Call, _: &str) -> Result<AuthDescription, Error> {
        Ok(AuthDescription {
            reserved: Reserved { headers: vec!["x-signed-".into()], query: vec![] },
            throttling_codes: vec!["Throttling".into()],
            ..AuthDescription::default()
        })
    }
    fn sign(
        &self,
        call: &Call,
        account: &str,
        _: &[(String, Secret)],
        request: &Unsigned<'_>,
    ) -> Result<(Signature, Arc<Credential>), Error> {
        self.ends.lock().unwrap().push(call.deadline());
        let count = self.signed.fetch_add(1, Ordering::Relaxed);
        let text = format!(
            "{count} {account} {} {} {}{}",
            request.action, request.method, request.host, request.path
        );
        let signature = Signature {
            headers: vec![("x-signed-by".into(), text)],
            query: vec![("Sig".into(), "a+b".into())],
            binds_action: request.action != "unbound",
        };
        Ok((signature, Arc::new(Credential { values: vec![], expires_at_ms: None })))
    }
    fn refused(&self, _: &str, _: &Arc<Credential>) -> bool {
        self.renewals
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }
}

pub fn signer(renewals: usize) -> Arc<CountingSigner> {
    Arc::new(CountingSigner {
        signed: AtomicUsize::new(0),
        renewals: AtomicUsize::new(renewals),
        ends: Mutex::default(),
    })
}

fn signed(server: &Server, renewals: usize) -> Bench {
    let mut bench = bench(server);
    bench.ports.signer = Some(signer(renewals));
    bench
}

#[test]
fn a_signer_has_no_more_time_than_the_requests_of_the_call() {
    let (server, signer) = (Server::start(), signer(0));
    let mut bench = bench(&server);
    bench.ports.signer = Some(Arc::clone(&signer) as Arc<dyn Signer>);
    bench.ports.calls.limits.wall = Duration::from_secs(20);
    sends(&bench, "cloud main read DescribeDisks GET /ok");
    let end = signer.ends.lock().unwrap()[0];
    let now = wharf_core::ports::Clock::now(bench.clock.as_ref());
    assert!(end > Duration::from_secs(19) && end <= now + Duration::from_secs(20), "{end:?}");
}

#[test]
fn what_is_signed_is_what_is_sent() {
    let server = Server::start();
    assert!(
        sends(&signed(&server, 0), "cloud main read DescribeDisks GET /ok")
            .message
            .starts_with("status 200")
    );
    let head = server.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /ok?Sig=a%2Bb HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("x-signed-by: 0 main DescribeDisks GET {}/ok", server.address)),
        "{head}"
    );
    assert!(head.contains(&format!("host: {}", server.address)), "{head}");
}

#[test]
fn a_backend_cannot_name_a_header_that_its_accounts_signer_reserves() {
    let server = Server::start();
    let error = sends(&signed(&server, 0), "cloud main read DescribeDisks GET /ok X-Signed-By=me");
    assert_eq!(error.kind, ErrorKind::PermissionDenied, "{error}");
    assert!(
        sends(&signed(&server, 0), "cloud main mutate DeleteDisk POST /ok")
            .message
            .contains("not granted")
    );
    assert_eq!(server.hits(), 0);
}

#[test]
fn a_refused_signature_is_worth_another_call_only_if_another_credential_would_make_it() {
    let server = Server::start();
    let again = sends(&signed(&server, 9), "cloud main read DescribeDisks GET /refuse");
    assert_eq!((again.kind, again.effect), (ErrorKind::Unavailable, Effect::None), "{again}");
    assert_eq!(server.hits(), 1, "the backend is called again; the host sends nothing twice");
    assert_eq!(
        sends(&signed(&server, 0), "cloud main read DescribeDisks GET /refuse").kind,
        ErrorKind::Unauthenticated
    );
    assert_eq!(
        sends(&signed(&server, 9), "cloud - read - GET /refuse").kind,
        ErrorKind::Unauthenticated,
        "nobody signed it"
    );
}

#[test]
fn every_credential_of_a_batch_is_told_of_its_refusal() {
    let (server, signer) = (Server::start(), signer(3));
    let mut bench = bench(&server);
    bench.ports.signer = Some(Arc::clone(&signer) as Arc<dyn Signer>);
    bench.does("send-all-refused 3 cloud main read DescribeDisks GET /refuse").unwrap_err();
    assert_eq!(signer.renewals.load(Ordering::Relaxed), 0);
}

#[test]
fn an_action_that_the_signature_does_not_bind_says_nothing_and_is_not_sent() {
    let server = Server::start();
    let bench = signed(&server, 0);
    let refused = sends(&bench, "cloud main read unbound GET /ok");
    assert_eq!(refused.kind, ErrorKind::PermissionDenied);
    assert!(refused.message.contains("not part of what account `main` signs"), "{refused}");
    assert_eq!(server.hits(), 0);
    let answered = sends(&bench, "cloud main read - GET /ok");
    assert!(answered.message.starts_with("status 200"), "{answered}");
}
