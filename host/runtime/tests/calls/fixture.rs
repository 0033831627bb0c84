//! Builds the guests in `tests/guests`, once for each test run, and puts calls around them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use wharf_core::manifest::{EndpointRequest, Manifest, NodeRequest, World};
use wharf_core::policy::EndpointGrant;
use wharf_core::ports::{Ask, Call, Clock};
use wharf_core::types::{Caller, Progress, VolumeId};
use wharf_core::verbs::{Delete, DeleteRequest};
use wharf_core::{Error, types};
use wharf_runtime::{
    BackendCode, BackendPorts, CallEvent, CallPorts, Component, Egress, Engine, EngineMode, Limits,
    Outcome, Request, Response, RuntimeObserver, Scope, Share, ShareLimits, WasmBackend,
};
use wit_component::ComponentEncoder;

pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineMode::OnDemand).unwrap());
pub static BACKEND: LazyLock<Component> = LazyLock::new(|| ENGINE.load_wasm(&build(None)).unwrap());
pub static AUTH: LazyLock<Component> =
    LazyLock::new(|| ENGINE.load_wasm(&build(Some("auth"))).unwrap());
pub static SLEEPER: LazyLock<Component> =
    LazyLock::new(|| ENGINE.load_wasm(&build(Some("wasi"))).unwrap());

/// Builds the fixture with a feature and wraps it into a component.
pub fn build(feature: Option<&str>) -> Vec<u8> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/misbehaving");
    build_in(&guest, "misbehaving", feature)
}

/// The same as somebody builds it who has the contract in this directory.
pub fn build_with_contract(feature: Option<&str>, contract: &Path) -> Vec<u8> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/misbehaving");
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(copy.path().join("src")).unwrap();
    let sources = fs::read_dir(guest.join("src")).unwrap().map(|file| file.unwrap().file_name());
    let sources = sources.map(|name| Path::new("src").join(name));
    for file in sources.chain(["Cargo.toml", "Cargo.lock"].map(PathBuf::from)) {
        let text = fs::read_to_string(guest.join(&file)).unwrap();
        let text = text.replace("../../../../../wit", contract.to_str().unwrap());
        // Under the same name cargo would take one for the other.
        let text = text.replace("name = \"misbehaving\"", "name = \"elsewhere\"");
        fs::write(copy.path().join(&file), text).unwrap();
    }
    build_in(copy.path(), "elsewhere", feature)
}

/// Builds share a directory for what they make, so one at a time.
fn build_in(guest: &Path, name: &str, feature: Option<&str>) -> Vec<u8> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args([
            "build",
            "--quiet",
            "--locked",
            "--release",
            "--target",
            "wasm32-unknown-unknown",
            "--target-dir",
        ])
        .arg(&target);
    cargo.args(feature.map(|feature| format!("--features={feature}")));
    cargo.current_dir(guest);
    assert!(
        cargo.status().unwrap().success(),
        "the guest does not build; is the target there? `rustup target add wasm32-unknown-unknown`"
    );
    let module = target.join(format!("wasm32-unknown-unknown/release/{name}.wasm"));
    let module = fs::read(module).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}

pub fn manifest(world: World) -> Manifest {
    let words = |words: &[&str]| words.iter().map(|it| it.parse().unwrap()).collect();
    let asks = |endpoint: &str, signed, actions: &[&str], paths: &[&str]| EndpointRequest {
        endpoint: endpoint.parse().unwrap(),
        signed,
        actions: words(actions),
        paths: words(paths),
    };
    Manifest {
        name: "misbehaving".parse().unwrap(),
        version: "0.1.0".parse().unwrap(),
        world,
        contract: "0.1.0".parse().unwrap(),
        request: vec![
            asks("cloud", false, &[], &["GET /*", "POST /*"]),
            asks("cloud", true, &["*"], &["*"]),
            asks("second", false, &[], &["GET /*"]),
        ],
        node: NodeRequest { steps: vec!["check".parse().unwrap()], ..NodeRequest::default() },
    }
}

pub fn grants() -> Vec<EndpointGrant> {
    let words = |words: &[&str]| words.iter().map(|&it| it.into()).collect();
    let grant =
        |endpoint: &str, account: Option<&str>, actions: &[&str], paths: &[&str]| EndpointGrant {
            endpoint: endpoint.into(),
            account: account.map(Into::into),
            actions: words(actions),
            paths: words(paths),
        };
    vec![
        grant(
            "cloud",
            None,
            &[],
            &["GET /*", "POST /ok", "POST /slow", "POST /drop", "POST /truncated"],
        ),
        grant(
            "cloud",
            Some("main"),
            &["Describe*", "leak", "steal-host", "tell", "unbound"],
            &["GET /ok"],
        ),
        grant("second", None, &[], &["GET /*"]),
    ]
}

pub fn code(generation: u64) -> Arc<BackendCode> {
    Arc::new(BackendCode::link(&ENGINE, &BACKEND, manifest(World::Backend), generation).unwrap())
}

pub struct RealClock(Instant);

impl Default for RealClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, duration: Duration, _: &Call) {
        std::thread::sleep(duration);
    }
}

/// Answers every request the same way, after doing something.
pub struct FakeEgress<F>(pub F);

impl<F: Fn(&Request) -> Result<Response, Error> + Send + Sync> Egress for FakeEgress<F> {
    fn send_all(&self, _: &Scope<'_>, requests: Vec<Request>) -> Vec<Result<Response, Error>> {
        requests.iter().map(&self.0).collect()
    }
}

pub fn ok() -> Response {
    Response { status: 200, headers: vec![], body: b"ok".to_vec() }
}

/// What was heard of one call.
#[derive(Debug, Clone)]
pub struct HeardCall {
    pub generation: u64,
    pub function: &'static str,
    pub http_requests: u32,
    pub outcome: Outcome,
    pub began: Instant,
    /// Whole, waited for requests, and in other components.
    pub times: [Duration; 3],
}

/// Keeps what it hears of.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<HeardCall>>);

impl RuntimeObserver for Heard {
    fn called(&self, event: &CallEvent<'_>) {
        self.0.lock().unwrap().push(HeardCall {
            generation: event.generation,
            function: event.function,
            http_requests: event.http_requests,
            outcome: event.outcome,
            began: event.began,
            times: [event.duration, event.waited, event.nested],
        });
    }
}

/// A backend around the fixture, and what its calls are made of.
pub struct Bench {
    pub clock: Arc<RealClock>,
    pub heard: Arc<Heard>,
    pub ports: BackendPorts,
}

impl Bench {
    pub fn new() -> Self {
        let (clock, heard) = (Arc::new(RealClock::default()), Arc::new(Heard::default()));
        let calls = CallPorts {
            clock: clock.clone(),
            limits: Limits::default(),
            observer: Some(heard.clone()),
            share: Share::new("misbehaving", ShareLimits::default()),
        };
        let ports = BackendPorts {
            calls,
            egress: None,
            signer: None,
            grants: grants(),
            config: vec![("zone".into(), "a".into()), ("x".into(), "y".into())],
        };
        Self { clock, heard, ports }
    }

    pub fn limited(limit: impl FnOnce(&mut Limits)) -> Self {
        let mut bench = Self::new();
        limit(&mut bench.ports.calls.limits);
        bench
    }

    pub fn answering(
        mut self,
        answer: impl Fn(&Request) -> Result<Response, Error> + Send + Sync + 'static,
    ) -> Self {
        self.ports.egress = Some(Arc::new(FakeEgress(answer)));
        self
    }

    pub fn backend(&self) -> WasmBackend {
        WasmBackend::new(self.ports.clone(), code(1))
    }

    pub fn call(&self) -> Call {
        self.call_of(Duration::from_secs(30))
    }

    pub fn call_of(&self, time: Duration) -> Call {
        Call::until(self.clock.now() + time)
    }

    /// Has the guest do something.
    pub fn does(&self, deed: &str) -> Result<types::Answer<()>, Error> {
        does(&self.backend(), &self.call(), deed)
    }
}

pub fn does(backend: &WasmBackend, call: &Call, deed: &str) -> Result<types::Answer<()>, Error> {
    let request = DeleteRequest { volume: VolumeId::new(deed), caller: Caller::default() };
    let progress = Progress { observed: vec![], resume: Some("token".into()) };
    Ask::<Delete>::ask(backend, call, &request, &progress)
}
