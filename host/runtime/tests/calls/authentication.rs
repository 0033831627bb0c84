//! Accounts, and the component that sees keys.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wharf_core::manifest::World;
use wharf_core::ports::{Call, CallSecrets, Clock};
use wharf_core::types::Parameters;
use wharf_core::{Error, ErrorKind, Secret};
use wharf_runtime::{
    Account, Accounts, AuthCode, AuthDescription, AuthPorts, Authenticator, CALL_SOURCE,
    Credential, CredentialFile, Rendered, Reserved, Signature, Signer, Source, SourceReader,
    Unsigned, WasmAuthenticator,
};

use crate::fixture::{AUTH, Bench, ENGINE, RealClock, grants, manifest};
use crate::server::Server;

const KEY: &str = "hunter2-and-more";

fn source(kind: &str) -> Source {
    Source { kind: kind.into(), values: vec![("secret".into(), Secret::new(KEY))] }
}

fn reader(kind: &'static str) -> Box<dyn SourceReader> {
    Box::new(move || Ok(source(kind)))
}

fn authenticator(bench: &Bench, server: Option<&Server>) -> Arc<WasmAuthenticator> {
    let code = AuthCode::link(&ENGINE, &AUTH, manifest(World::CloudAuth), 1).unwrap();
    let egress = server.map(|server| Arc::new(server.egress()) as Arc<dyn wharf_runtime::Egress>);
    Arc::new(WasmAuthenticator::new(
        AuthPorts { calls: bench.ports.calls.clone(), egress, grants: grants() },
        Arc::new(code),
    ))
}

fn unsigned<'a>(action: &'a str, none: &'a Parameters) -> Unsigned<'a> {
    Unsigned {
        action,
        api: none,
        method: "GET",
        host: "ecs.example.com",
        path: "/ok",
        query: none,
        headers: none,
        body: b"",
    }
}

fn far() -> Call {
    Call::until(Duration::from_secs(3600))
}

#[test]
fn a_component_signs_what_a_backend_asks_for_and_the_backend_sees_no_key() {
    let server = Server::start();
    let mut bench = Bench::new();
    let account =
        Account::new(authenticator(&bench, None), vec![reader("none"), reader("key")], vec![]);
    bench.ports.signer =
        Some(Arc::new(Accounts::new([("main".to_owned(), account)], bench.clock.clone())));
    bench.ports.egress = Some(Arc::new(server.egress()));
    let answer = bench.does("send cloud main read DescribeDisks GET /ok").unwrap_err();
    assert!(answer.message.starts_with("status 200"), "{answer}");
    let head = server.heads.lock().unwrap()[0].clone();
    assert!(
        head.starts_with("GET /ok?Signature=s%2B%2F%3D HTTP/1.1")
            && head.contains("authorization: by the signer"),
        "{head}"
    );
    let heard = bench.heard.0.lock().unwrap().clone();
    let functions: Vec<&str> = heard.iter().map(|heard| heard.function).collect();
    assert_eq!(functions, ["describe", "obtain", "obtain", "sign", "delete"]);
    // The time of the authenticator is told once, with the authenticator.
    let (delete, inside) = heard.split_last().unwrap();
    let of_others = inside.iter().filter(|other| other.began >= delete.began);
    let [whole, waited, nested] = delete.times;
    assert_eq!(nested, of_others.map(|other| other.times[0]).sum::<Duration>());
    assert!(!nested.is_zero() && !waited.is_zero() && waited + nested < whole, "{heard:?}");
    for reserved in ["x-signed-nonce=1", "authorization=1"] {
        assert!(
            bench
                .does(&format!("send cloud main read DescribeDisks GET /ok {reserved}"))
                .unwrap_err()
                .message
                .contains("only the account's signer")
        );
    }
    assert_eq!(server.hits(), 1);
}

/// In hexadecimal, every bit turned round: the text itself never goes into the guest.
fn inverted(text: &str) -> String {
    text.bytes().map(|byte| format!("{:02x}", !byte)).collect()
}

#[test]
fn no_key_is_in_a_backend_s_memory_after_its_request_was_signed_with_it() {
    let server = Server::start();
    let mut bench = Bench::new();
    let account = Account::new(authenticator(&bench, None), vec![reader("key")], vec![]);
    bench.ports.signer =
        Some(Arc::new(Accounts::new([("main".to_owned(), account)], bench.clock.clone())));
    bench.ports.egress = Some(Arc::new(server.egress()));
    let search = |text: &str| {
        bench
            .does(&format!(
                "send-and-search {} cloud main read DescribeDisks GET /ok",
                inverted(text)
            ))
            .unwrap_err()
            .message
    };
    assert_eq!(search(KEY), "answered true, found 0");
    assert_eq!(
        search("by the signer"),
        "answered true, found 0",
        "nor what the signer put on the request"
    );
    assert!(!search("DescribeDisks").ends_with("found 0"), "the search finds what is there");
    assert_eq!(server.hits(), 3);
}

#[test]
fn a_signer_cannot_turn_a_request_to_another_host() {
    let server = Server::start();
    let mut bench = Bench::new();
    let account = Account::new(authenticator(&bench, None), vec![reader("key")], vec![]);
    bench.ports.signer =
        Some(Arc::new(Accounts::new([("main".to_owned(), account)], bench.clock.clone())));
    bench.ports.egress = Some(Arc::new(server.egress()));
    assert!(
        bench
            .does("send cloud main read steal-host GET /ok")
            .unwrap_err()
            .message
            .contains("`host`")
    );
    assert_eq!(server.hits(), 0);
}

#[test]
fn signing_has_no_network_and_obtaining_has_what_is_granted() {
    let server = Server::start();
    let bench = Bench::new();
    let authenticator = authenticator(&bench, Some(&server));
    let obtained = authenticator.obtain(&bench.call(), &source("ask"), 0).unwrap();
    assert_eq!((obtained.values[0].0.as_str(), obtained.values[0].1.expose()), ("status", "200"));
    assert!(server.heads.lock().unwrap()[0].contains("authorization: by the authenticator itself"));
    let none = Parameters::new();
    let credential = Credential { values: source("key").values, expires_at_ms: None };
    let error = authenticator
        .sign(&bench.call(), &unsigned("leak", &none), &none, &credential, 0, "n")
        .unwrap_err();
    assert!(error.message.contains("`sign` must not send requests"), "{error}");
    assert_eq!(server.hits(), 1);
}

#[test]
fn keys_are_struck_out_of_errors_and_panics() {
    let bench = Bench::new();
    let (authenticator, none) = (authenticator(&bench, None), Parameters::new());
    let credential = Credential { values: source("key").values, expires_at_ms: None };
    let errors = [
        authenticator.obtain(&bench.call(), &source("tell"), 0).err().unwrap(),
        authenticator.obtain(&bench.call(), &source("panic"), 0).err().unwrap(),
        authenticator
            .sign(&bench.call(), &unsigned("tell", &none), &none, &credential, 0, "n")
            .err()
            .unwrap(),
    ];
    for error in errors {
        assert!(error.message.contains("[hidden]") && !error.message.contains(KEY), "{error}");
    }
}

#[test]
fn a_credential_has_a_bound() {
    let bench = Bench::new();
    let error =
        authenticator(&bench, None).obtain(&bench.call(), &source("huge"), 0).err().unwrap();
    assert!(error.message.contains("33 values"), "{error}");
}

/// Counts what it is asked for; its credentials live as long as it says.
#[derive(Default)]
struct FakeAuthenticator {
    obtained: AtomicUsize,
    life_ms: AtomicU64,
    broken: AtomicUsize,
    generation: AtomicU64,
    calls: Mutex<Vec<Call>>,
    gate: Option<Gate>,
}

/// Holds a caller inside `obtain`.
struct Gate {
    entered: Barrier,
    leaving: Barrier,
}

impl Authenticator for FakeAuthenticator {
    fn describe(&self, _: &Call) -> Result<AuthDescription, Error> {
        Ok(AuthDescription {
            name: "fake".into(),
            version: "1".into(),
            reserved: Reserved::default(),
            source_kinds: vec![],
            forms: vec![],
            throttling_codes: vec![],
        })
    }
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }
    fn obtain(&self, call: &Call, source: &Source, now_ms: u64) -> Result<Credential, Error> {
        self.calls.lock().unwrap().push(call.clone());
        if let Some(gate) = &self.gate {
            gate.entered.wait();
            gate.leaving.wait();
        }
        match source.kind.as_str() {
            "none" => Err(Error::not_found("no key in the environment")),
            _ if self.broken.load(Ordering::Relaxed) > 0 => {
                Err(Error::unavailable("the token service is down"))
            }
            _ => {
                self.obtained.fetch_add(1, Ordering::Relaxed);
                let life = self.life_ms.load(Ordering::Relaxed);
                Ok(Credential {
                    values: vec![],
                    expires_at_ms: (life > 0).then_some(now_ms + life),
                })
            }
        }
    }
    fn sign(
        &self,
        _: &Call,
        _: &Unsigned<'_>,
        _: &Parameters,
        _: &Credential,
        _: u64,
        nonce: &str,
    ) -> Result<Signature, Error> {
        Ok(Signature {
            headers: vec![("nonce".into(), nonce.into())],
            query: vec![],
            binds_action: true,
        })
    }
    fn render(
        &self,
        _: &Call,
        _: &Credential,
        _: &str,
        _: &Parameters,
    ) -> Result<Vec<CredentialFile>, Error> {
        Ok(vec![])
    }
}

fn accounts(fake: &Arc<FakeAuthenticator>, sources: Vec<Box<dyn SourceReader>>) -> Accounts {
    Accounts::new(
        [(
            "main".to_owned(),
            Account::new(Arc::clone(fake) as Arc<dyn Authenticator>, sources, vec![]),
        )],
        Arc::new(RealClock::default()),
    )
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn a_credential_is_kept_until_shortly_before_it_expires() {
    let fake = Arc::new(FakeAuthenticator::default());
    let accounts = accounts(&fake, vec![reader("key")]);
    let none = Parameters::new();
    let nonce = || {
        accounts.sign(&far(), "main", &[], &unsigned("a", &none)).unwrap().0.headers[0].1.clone()
    };
    fake.life_ms.store(3_600_000, Ordering::Relaxed);
    assert_ne!(nonce(), nonce());
    assert_eq!(fake.obtained.load(Ordering::Relaxed), 1);
    assert!(accounts.credential(&far(), "main", &[]).unwrap().expires_at_ms.unwrap() > now_ms());
    assert!(accounts.sign(&far(), "other", &[], &unsigned("a", &none)).is_err());
}

#[test]
fn an_expired_credential_is_obtained_anew_and_an_old_one_serves_while_there_is_no_new_one() {
    let fake = Arc::new(FakeAuthenticator::default());
    let accounts = accounts(&fake, vec![reader("key")]);
    fake.life_ms.store(1, Ordering::Relaxed);
    let first = accounts.credential(&far(), "main", &[]).unwrap().expires_at_ms.unwrap();
    while now_ms() <= first {
        std::thread::yield_now();
    }
    accounts.credential(&far(), "main", &[]).unwrap();
    assert_eq!(fake.obtained.load(Ordering::Relaxed), 2);
    fake.broken.store(1, Ordering::Relaxed);
    while now_ms() <= first + 1_000 && accounts.credential(&far(), "main", &[]).is_ok() {
        std::thread::yield_now();
    }
    let error = accounts.credential(&far(), "main", &[]).err().unwrap();
    assert!(error.message.contains("account `main`: the token service is down"), "{error}");
}

#[test]
fn sources_are_tried_in_order_and_read_anew() {
    let fake = Arc::new(FakeAuthenticator::default());
    let reads = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&reads);
    let counted = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Err::<Source, _>(Error::not_found("no such file"))
    };
    let empty = accounts(&fake, vec![Box::new(counted), reader("none")]);
    for expected in 1..3 {
        let error = empty.credential(&far(), "main", &[]).err().unwrap();
        assert_eq!(
            (error.kind, reads.load(Ordering::Relaxed)),
            (ErrorKind::Unauthenticated, expected)
        );
        assert!(error.message.contains("no such file; no key in the environment"), "{error}");
    }
    assert!(
        accounts(&fake, vec![reader("none"), reader("key")])
            .credential(&far(), "main", &[])
            .is_ok()
    );
}

#[test]
fn callers_wait_together_for_one_credential_and_no_longer_than_their_time() {
    let gate = Gate { entered: Barrier::new(2), leaving: Barrier::new(2) };
    let fake = Arc::new(FakeAuthenticator { gate: Some(gate), ..FakeAuthenticator::default() });
    let accounts = accounts(&fake, vec![reader("key")]);
    let gate = fake.gate.as_ref().unwrap();
    std::thread::scope(|scope| {
        let first = scope.spawn(|| accounts.credential(&far(), "main", &[]).map(drop));
        gate.entered.wait();
        let hasty = accounts.credential(&Call::until(Duration::ZERO), "main", &[]).err().unwrap();
        assert!(hasty.message.contains("stopped waiting"), "{hasty}");
        let second = scope.spawn(|| accounts.credential(&far(), "main", &[]).map(drop));
        gate.leaving.wait();
        assert!(first.join().unwrap().is_ok() && second.join().unwrap().is_ok());
    });
    assert_eq!(fake.obtained.load(Ordering::Relaxed), 1);
}

/// Stands still, and knows who looked at it: an account does so while it is locked.
#[derive(Default)]
struct WatchedClock(Mutex<HashSet<ThreadId>>);

impl WatchedClock {
    fn wait_for(&self, threads: usize) {
        while self.0.lock().unwrap().len() < threads {
            std::thread::yield_now();
        }
    }
}

impl Clock for WatchedClock {
    fn now(&self) -> Duration {
        self.0.lock().unwrap().insert(std::thread::current().id());
        Duration::ZERO
    }
    fn sleep(&self, _: Duration, _: &Call) {}
}

fn watched() -> (Arc<FakeAuthenticator>, Arc<WatchedClock>, Accounts) {
    let gate = Gate { entered: Barrier::new(2), leaving: Barrier::new(2) };
    let fake = Arc::new(FakeAuthenticator { gate: Some(gate), ..FakeAuthenticator::default() });
    let clock = Arc::new(WatchedClock::default());
    let account =
        Account::new(Arc::clone(&fake) as Arc<dyn Authenticator>, vec![reader("key")], vec![]);
    let accounts =
        Accounts::new([("main".to_owned(), account)], Arc::clone(&clock) as Arc<dyn Clock>);
    fake.broken.store(1, Ordering::Relaxed);
    (fake, clock, accounts)
}

#[test]
fn callers_who_waited_for_a_service_that_hangs_do_not_wait_again_one_after_the_other() {
    let (fake, clock, accounts) = watched();
    let gate = fake.gate.as_ref().unwrap();
    let asks = || accounts.credential(&far(), "main", &[]).map(drop);
    std::thread::scope(|scope| {
        let first = scope.spawn(asks);
        gate.entered.wait();
        let others: Vec<_> = (0..8).map(|_| scope.spawn(asks)).collect();
        clock.wait_for(9);
        gate.leaving.wait();
        for asked in others.into_iter().chain([first]) {
            let error = asked.join().unwrap().err().unwrap();
            assert!(error.message.contains("the token service is down"), "{error}");
        }
    });
    assert_eq!(fake.calls.lock().unwrap().len(), 1);
    // Whoever comes later asks anew.
    fake.broken.store(0, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let later = scope.spawn(asks);
        gate.entered.wait();
        gate.leaving.wait();
        later.join().unwrap().unwrap();
    });
}

#[test]
fn what_a_caller_without_time_or_interest_did_not_get_says_nothing_to_others() {
    for is_cancelled in [false, true] {
        let (fake, clock, accounts) = watched();
        let gate = fake.gate.as_ref().unwrap();
        let call = if is_cancelled { far() } else { Call::until(Duration::from_secs(2)) };
        std::thread::scope(|scope| {
            let first = scope.spawn(|| accounts.credential(&call, "main", &[]).map(drop));
            gate.entered.wait();
            let second = scope.spawn(|| accounts.credential(&far(), "main", &[]).map(drop));
            clock.wait_for(2);
            if is_cancelled {
                call.cancel();
            }
            gate.leaving.wait();
            assert!(first.join().unwrap().is_err());
            gate.entered.wait();
            fake.broken.store(0, Ordering::Relaxed);
            gate.leaving.wait();
            second.join().unwrap().unwrap();
        });
        assert_eq!(fake.calls.lock().unwrap().len(), 2, "cancelled: {is_cancelled}");
    }
}

/// Shows what it is set to.
#[derive(Default)]
struct SetClock(AtomicU64);

impl SetClock {
    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
    fn sleep(&self, _: Duration, _: &Call) {}
}

/// One account with keys that do not expire, and its clock.
fn lasting(gate: Option<Gate>) -> (Arc<FakeAuthenticator>, Arc<SetClock>, Accounts) {
    let (fake, clock) = (
        Arc::new(FakeAuthenticator { gate, ..FakeAuthenticator::default() }),
        Arc::new(SetClock::default()),
    );
    let account =
        Account::new(Arc::clone(&fake) as Arc<dyn Authenticator>, vec![reader("key")], vec![]);
    let accounts =
        Accounts::new([("main".to_owned(), account)], Arc::clone(&clock) as Arc<dyn Clock>);
    (fake, clock, accounts)
}

#[test]
fn a_credential_without_an_end_is_obtained_again_and_kept_while_that_fails() {
    let (fake, clock, accounts) = lasting(None);
    let asked = |seconds| {
        clock.set(seconds);
        accounts.credential(&far(), "main", &[]).unwrap();
        fake.calls.lock().unwrap().len()
    };
    assert_eq!([asked(0), asked(59), asked(60), asked(61)], [1, 1, 2, 2]);
    fake.broken.store(1, Ordering::Relaxed);
    assert_eq!(
        [asked(119), asked(120), asked(149), asked(150)],
        [2, 3, 3, 4],
        "a service that fails is asked every thirty seconds"
    );
    fake.broken.store(0, Ordering::Relaxed);
    assert_eq!([asked(180), asked(239), asked(240)], [5, 5, 6]);
}

#[test]
fn a_refused_credential_is_dropped_unless_it_was_just_obtained() {
    let (fake, clock, accounts) = lasting(None);
    let none = Parameters::new();
    let signs = || accounts.sign(&far(), "main", &[], &unsigned("a", &none)).unwrap().1;
    let first = signs();
    clock.set(4);
    assert!(!accounts.refused("main", &first), "another one would be no better");
    clock.set(5);
    assert!(accounts.refused("main", &first));
    assert!(
        accounts.refused("main", &first),
        "another call of the same credential is worth repeating as well"
    );
    let second = signs();
    assert!(!Arc::ptr_eq(&first, &second));
    clock.set(20);
    assert!(accounts.refused("main", &first), "the newer one is not what was refused");
    assert!(Arc::ptr_eq(&second, &signs()));
    assert_eq!(fake.obtained.load(Ordering::Relaxed), 2);
    assert!(!accounts.refused("other", &first));
}

#[test]
fn another_generation_of_the_component_obtains_its_own_credential() {
    let (fake, _clock, accounts) = lasting(None);
    accounts.credential(&far(), "main", &[]).unwrap();
    fake.generation.store(1, Ordering::Relaxed);
    fake.broken.store(1, Ordering::Relaxed);
    assert!(accounts.credential(&far(), "main", &[]).is_err(), "the old one means nothing to it");
    fake.broken.store(0, Ordering::Relaxed);
    accounts.credential(&far(), "main", &[]).unwrap();
    assert_eq!(fake.obtained.load(Ordering::Relaxed), 2);
}

#[test]
fn a_service_that_hangs_holds_up_one_call_and_that_one_not_for_long() {
    let (fake, clock, accounts) =
        lasting(Some(Gate { entered: Barrier::new(2), leaving: Barrier::new(2) }));
    let gate = fake.gate.as_ref().unwrap();
    let obtains = |meanwhile: &dyn Fn()| {
        std::thread::scope(|scope| {
            let obtaining = scope.spawn(|| accounts.credential(&far(), "main", &[]).map(drop));
            gate.entered.wait();
            meanwhile();
            gate.leaving.wait();
            obtaining.join().unwrap().unwrap();
        });
    };
    obtains(&|| ());
    clock.set(60);
    obtains(&|| drop(accounts.credential(&Call::until(Duration::ZERO), "main", &[]).unwrap()));
    assert_eq!(fake.calls.lock().unwrap()[1].deadline(), Duration::from_secs(70));
}

#[test]
fn obtaining_leaves_time_for_the_request_and_ends_with_its_call() {
    let (fake, _clock, accounts) = lasting(None);
    let call = Call::until(Duration::from_secs(6));
    accounts.credential(&call, "main", &[]).unwrap();
    call.cancel();
    let obtaining = fake.calls.lock().unwrap()[0].clone();
    assert_eq!((obtaining.deadline(), obtaining.is_cancelled()), (Duration::from_secs(3), true));
}

/// Keeps what is said of requests.
#[derive(Default)]
struct Requested(Mutex<Vec<String>>);

impl wharf_runtime::RuntimeObserver for Requested {
    fn requested(&self, event: &wharf_runtime::RequestEvent<'_>) {
        self.0.lock().unwrap().push(event.action.to_owned());
    }
}

#[test]
fn keys_are_struck_out_of_what_is_said_of_a_request() {
    let (server, bench, requested) =
        (Server::start(), Bench::new(), Arc::new(Requested::default()));
    let egress = server
        .egress()
        .with_observer(Arc::clone(&requested) as Arc<dyn wharf_runtime::RuntimeObserver>);
    let code = AuthCode::link(&ENGINE, &AUTH, manifest(World::CloudAuth), 1).unwrap();
    let ports = AuthPorts {
        calls: bench.ports.calls.clone(),
        egress: Some(Arc::new(egress)),
        grants: grants(),
    };
    WasmAuthenticator::new(ports, Arc::new(code))
        .obtain(&bench.call(), &source("ask-with-key"), 0)
        .unwrap();
    assert_eq!(*requested.0.lock().unwrap(), ["GET /[hidden]"]);
}

/// The source that stands for the call's own secrets.
struct OfTheCall;

impl SourceReader for OfTheCall {
    fn is_call(&self) -> bool {
        true
    }
    fn read(&self) -> Result<Source, Error> {
        panic!("nothing is read for it")
    }
}

#[test]
fn secrets_of_a_call_sign_that_call_and_are_kept_for_none_after_it() {
    let fake = Arc::new(FakeAuthenticator::default());
    let accounts = accounts(&fake, vec![Box::new(OfTheCall), reader("key")]);
    let secrets = |value: &str| [("akId".to_owned(), Secret::new(value))];
    for (call_secrets, obtained) in [(secrets("a"), 1), (secrets("b"), 2), (secrets("a"), 3)] {
        accounts.credential(&far(), "main", &call_secrets).unwrap();
        assert_eq!(fake.obtained.load(Ordering::Relaxed), obtained);
    }
    accounts.credential(&far(), "main", &[]).unwrap();
    accounts.credential(&far(), "main", &[]).unwrap();
    assert_eq!(fake.obtained.load(Ordering::Relaxed), 4, "the operator's own is kept");
    assert_eq!(CALL_SOURCE, "call", "the contract's word");
}

#[test]
fn an_account_of_calls_has_no_credential_while_a_later_call_may_bring_one() {
    let bench = Bench::new();
    let account = |sources| Account::new(authenticator(&bench, None), sources, vec![]);
    let accounts = Accounts::new(
        [
            ("calls".to_owned(), account(vec![Box::new(OfTheCall), reader("key")])),
            ("own".to_owned(), account(vec![reader("key")])),
        ],
        bench.clock.clone(),
    );
    let render = |account: &str, secrets| {
        accounts.render(&bench.call(), account, secrets, "passwd", &vec![])
    };
    let refused = render("calls", CallSecrets::Later).err().unwrap();
    assert_eq!(refused.kind, ErrorKind::Unauthenticated, "{refused}");
    let renewed = |account, secrets| render(account, secrets).unwrap().renew_at_ms.is_some();
    assert!(!renewed("calls", CallSecrets::NONE), "it may come with a call");
    assert!(renewed("own", CallSecrets::Later));
}

#[test]
fn files_with_keys_are_rendered_by_the_component_and_named_plainly() {
    let bench = Bench::new();
    let account = Account::new(authenticator(&bench, None), vec![reader("key")], vec![]);
    let accounts = Accounts::new([("main".to_owned(), account)], bench.clock.clone());
    let values = vec![("bucket".to_owned(), "b".to_owned())];
    let render =
        |form: &str| accounts.render(&bench.call(), "main", CallSecrets::NONE, form, &values);
    let Rendered { files, renew_at_ms } = render("passwd").unwrap();
    assert!(renew_at_ms.is_some());
    let content = String::from_utf8(files[0].content.expose().to_vec()).unwrap();
    assert!(content.contains(KEY) && content.contains("bucket"));
    assert!(!format!("{files:?}").contains(KEY));
    let refused = |form: &str| render(form).err().unwrap();
    assert!(refused("climb").message.contains("plain"));
    assert!(refused("huge").message.contains("16385"));
    assert_eq!(refused("other").kind, ErrorKind::Unsupported);
}
