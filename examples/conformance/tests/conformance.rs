//! Holds a backend's component against the contract's rules.
//!
//! `cargo test` looks at the component that `WHARF_COMPONENT` names.

use std::sync::Arc;

use wharf_core::ports::Clock;
use wharf_core::types::{AccessMode, AccessType, Capability, NodeId};
use wharf_runtime::{
    BackendCode, BackendPorts, CallPorts, Engine, EngineMode, Limits, Share, ShareLimits,
    WasmBackend,
};
use wharf_testing::conformance::{Subject, breaches};
use wharf_testing::fakes::RealClock;

#[test]
fn the_backend_keeps_the_contract() {
    let file = std::env::var_os("WHARF_COMPONENT").expect("WHARF_COMPONENT names the component");
    let bytes = std::fs::read(&file).expect("the component can be read");
    let engine = Engine::new(EngineMode::OnDemand).unwrap();
    let component = engine.load_wasm(&bytes).unwrap();
    let manifest = wharf_modules::read_manifest(&bytes).unwrap();
    let code = BackendCode::link(&engine, &component, manifest, 1).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(RealClock::default());
    let ports = BackendPorts {
        calls: CallPorts {
            clock: clock.clone(),
            limits: Limits::default(),
            observer: None,
            share: Share::new("conformance", ShareLimits::default()),
        },
        // A backend that asks a cloud gets an `HttpEgress`, `Accounts` and grants here, as in
        // host/dev/testing/tests/conformance/in_process.rs.
        egress: None,
        signer: None,
        grants: Vec::new(),
        // The operator's settings.
        config: vec![("node-name".to_owned(), "node-1".to_owned())],
    };
    let backend = WasmBackend::new(ports, Arc::new(code));
    let access = AccessType::Mount { fs_type: "ext4".to_owned(), flags: vec![], group: None };
    let subject = Subject {
        backend: &backend,
        clock: clock.as_ref(),
        // A volume that can be created, and how it is used.
        parameters: Vec::new(),
        capability: Capability { access, mode: AccessMode::SingleNodeWriter },
        bytes: 1 << 30,
        nodes: ["node-1", "node-2"].map(NodeId::new),
        // What the backend refuses, and what it does not find.
        unknown_parameter: Some("noSuchParameter".to_owned()),
        missing: "no-such-volume".to_owned(),
        prefix: "pvc-conformance".to_owned(),
    };
    assert_eq!(breaches(&subject), []);
}
