//! Backends without a server around them: the contract's rules, held against every backend that
//! there is (the disk backend, Wasm, against a simulated region; the smallest example, Wasm; the
//! fake that other tests trust), and what a throttled cloud is asked.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of tests fail as tests do"
)]

mod conformance {
    pub mod in_process;
    mod throttled;
}

use std::sync::Arc;

use wharf_cloudsim::{Delays, Devices, Region, RegionOptions};
use wharf_core::ports::{Backend, Clock};
use wharf_core::types::{AccessMode, AccessType, Capability, NodeId};
use wharf_runtime::{BackendPorts, Engine, EngineMode};
use wharf_testing::conformance::{Subject, breaches, rules};
use wharf_testing::fakes::{FakeBackend, FakeClock, RealClock};

use conformance::in_process::{Cloud, backend, call_ports};

const GIB: u64 = 1 << 30;

/// What a backend asks to wait for is over sooner, and what the region takes is a few real
/// milliseconds.
const SPEED: u32 = 10;

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
    let clock: Arc<dyn Clock> = Arc::new(RealClock::with_speed(SPEED));
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
    let clock: Arc<dyn Clock> = Arc::new(RealClock::with_speed(SPEED));
    let engine = Engine::new(EngineMode::OnDemand).unwrap();
    let cloud = Cloud::of(&engine, &region, &clock);
    let backend = backend(&engine, "disk", cloud.ports());
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
