//! The contract's rules, held against every backend that there is: the disk backend (Wasm, against
//! a simulated region), the smallest example (Wasm), and the fake that other tests trust.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_cloudsim::{Delays, Devices, Region, RegionOptions};
use wharf_core::Secret;
use wharf_core::policy::EndpointGrant;
use wharf_core::ports::{Backend, Call, Clock};
use wharf_core::types::{AccessMode, AccessType, Capability, NodeId};
use wharf_runtime::{
    Account, Accounts, AuthCode, AuthPorts, BackendCode, BackendPorts, CallPorts, Endpoint, Engine,
    EngineMode, HttpEgress, Limits, Share, ShareLimits, Source, WasmAuthenticator, WasmBackend,
};
use wharf_testing::bed::Parts;
use wharf_testing::conformance::{Subject, breaches, rules};
use wharf_testing::fakes::{FakeBackend, FakeClock};

const GIB: u64 = 1 << 30;

struct RealClock(Instant);

impl Clock for RealClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration, _call: &Call) {
        std::thread::sleep(duration);
    }
}

fn subject<'a>(
    backend: &'a dyn Backend,
    clock: &'a dyn Clock,
    nodes: [&str; 2],
    missing: &str,
) -> Subject<'a> {
    Subject {
        backend,
        clock,
        parameters: Vec::new(),
        capability: Capability {
            access: AccessType::Mount { fs_type: "ext4".into(), flags: vec![], group: None },
            mode: AccessMode::SingleNodeWriter,
        },
        bytes: GIB,
        nodes: nodes.map(NodeId::new),
        unknown_parameter: Some("noSuchParameter".to_owned()),
        missing: missing.to_owned(),
        prefix: "pvc-conformance".to_owned(),
    }
}

fn call_ports(clock: &Arc<dyn Clock>) -> CallPorts {
    CallPorts {
        clock: Arc::clone(clock),
        limits: Limits::default(),
        observer: None,
        share: Share::new("conformance", ShareLimits::default()),
    }
}

fn load(engine: &Engine, name: &str) -> (wharf_runtime::Component, wharf_core::manifest::Manifest) {
    let bytes = std::fs::read(Parts::find().unwrap().component(name)).unwrap();
    (engine.load_wasm(&bytes).unwrap(), wharf_modules::read_manifest(&bytes).unwrap())
}

fn backend(engine: &Engine, name: &str, ports: BackendPorts) -> WasmBackend {
    let (component, manifest) = load(engine, name);
    WasmBackend::new(ports, Arc::new(BackendCode::link(engine, &component, manifest, 1).unwrap()))
}

#[test]
fn the_fake_backend_keeps_the_contract() {
    let (backend, clock) = (FakeBackend::new("fake.example"), FakeClock::default());
    for rounds in [0, 3] {
        backend.take_rounds(rounds);
        let mut subject = subject(&backend, &clock, ["node-1", "node-2"], "no-such-volume");
        subject.prefix = format!("pvc-{rounds}");
        // It hands every parameter on, so that front ends can be tested with any.
        subject.unknown_parameter = None;
        assert_eq!(breaches(&subject), []);
    }
}

#[test]
fn the_smallest_backend_keeps_the_contract() {
    let clock: Arc<dyn Clock> = Arc::new(RealClock(Instant::now()));
    let engine = Engine::new(EngineMode::OnDemand).unwrap();
    let config = vec![("node-name".to_owned(), "node-1".to_owned())];
    let ports = BackendPorts {
        calls: call_ports(&clock),
        egress: None,
        signer: None,
        grants: Vec::new(),
        config,
    };
    let backend = backend(&engine, "hello", ports);
    assert_eq!(
        breaches(&subject(&backend, clock.as_ref(), ["node-1", "node-2"], "no-such-volume")),
        []
    );
}

#[test]
fn the_disk_backend_keeps_the_contract_in_a_simulated_region() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = RegionOptions::new(directory.path());
    options.devices = Devices::Absent;
    options.delays =
        Delays { create: 5, attach: 20, detach: 20, snapshot: 20, modify: 20, ..Delays::none() };
    let region = Region::start(options).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(RealClock(Instant::now()));
    let engine = Engine::new(EngineMode::OnDemand).unwrap();
    let backend = backend(&engine, "disk", disk_ports(&engine, &region, &clock));
    let instances = &region.description().instances;
    let mut subject = subject(
        &backend,
        clock.as_ref(),
        [&instances[0].id, &instances[1].id],
        "d-0000000000000000000x",
    );
    subject.parameters = vec![("type".to_owned(), "cloud_auto".to_owned())];
    assert_eq!(breaches(&subject), []);
    assert!(rules() > 20);
    assert_eq!(region.disks(), [], "the suite takes away what it makes");
}

fn disk_ports(engine: &Engine, region: &Region, clock: &Arc<dyn Clock>) -> BackendPorts {
    let described = region.description();
    let (instance, endpoints) = (&described.instances[0], &described.endpoints);
    let endpoint = |id: &str, url: &str| Endpoint::new(id, url).unwrap().allow_private();
    let endpoints = [endpoint("ecs", &endpoints.ecs), endpoint("metadata", &instance.metadata)];
    let egress = Arc::new(HttpEgress::new(endpoints, None));
    let grant = |endpoint: &str, account: Option<&str>| EndpointGrant {
        endpoint: endpoint.to_owned(),
        account: account.map(str::to_owned),
        actions: vec!["*".to_owned()],
        paths: vec!["*?*".to_owned()],
    };
    let (component, manifest) = load(engine, "auth");
    let code = Arc::new(AuthCode::link(engine, &component, manifest, 1).unwrap());
    let ports = AuthPorts {
        calls: call_ports(clock),
        egress: Some(egress.clone()),
        grants: vec![grant("metadata", None)],
    };
    let keys = instance.keys.clone();
    let source = move || {
        let value = |name: &str, value: &str| (name.to_owned(), Secret::new(value.to_owned()));
        let values = vec![
            value("access-key-id", &keys.access_key_id),
            value("access-key-secret", &keys.access_key_secret),
        ];
        Ok(Source { kind: "static".to_owned(), values })
    };
    let account = Account::new(
        Arc::new(WasmAuthenticator::new(ports, code)),
        vec![Box::new(source)],
        Vec::new(),
    );
    BackendPorts {
        calls: call_ports(clock),
        egress: Some(egress),
        signer: Some(Arc::new(Accounts::new([("cloud".to_owned(), account)], Arc::clone(clock)))),
        grants: vec![grant("ecs", Some("cloud")), grant("metadata", None)],
        config: vec![("region".to_owned(), described.region.clone())],
    }
}
