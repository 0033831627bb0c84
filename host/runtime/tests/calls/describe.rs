//! What a component says of itself: asked while it is checked, and never again.

use std::sync::Arc;
use std::time::Duration;

use wharf_core::manifest::World;
use wharf_core::ports::Describe as _;
use wharf_runtime::{
    AuthCode, AuthDescription, AuthPorts, Authenticator as _, BackendCode, WasmAuthenticator,
    WasmBackend,
};

use crate::contract::checked;
use crate::fixture::{AUTH, BACKEND, Bench, ENGINE, code, manifest};

fn asked(bench: &Bench) -> usize {
    let heard = bench.heard.0.lock().unwrap();
    heard.iter().filter(|heard| heard.function == "describe").count()
}

/// The fixture behaves as long as it sees no configuration, and nobody sees one while it is
/// checked.
fn in_service(describes: &str) -> Bench {
    let mut bench = Bench::limited(|limits| limits.cpu = Duration::from_millis(50));
    bench.ports.config = vec![("describe".into(), describes.into())];
    bench
}

#[test]
fn a_component_that_answers_otherwise_or_never_after_its_check_is_believed_what_it_said_then() {
    let said = checked();
    for describes in ["otherwise", "never"] {
        let bench = in_service(describes);
        let code = BackendCode::link(&ENGINE, &BACKEND, manifest(World::Backend), 1).unwrap();
        let code = code.described(said.clone());
        let backend = WasmBackend::new(bench.ports.clone(), Arc::new(code));
        for _ in 0..3 {
            assert_eq!(*backend.description(&bench.call()).unwrap(), said);
            assert_eq!(backend.description_at_hand().as_deref(), Some(&said));
        }
        assert_eq!(asked(&bench), 0, "{describes}");
        // What it would have said.
        match backend.ask_description(&bench.call()) {
            Ok(now) => assert_ne!(now, said, "{describes}"),
            Err(error) => assert!(describes == "never", "{error}"),
        }
    }
}

#[test]
fn a_component_without_a_record_is_asked_once_however_many_want_to_know() {
    let bench = Bench::new();
    let backend = WasmBackend::new(bench.ports.clone(), code(1));
    assert_eq!(backend.description_at_hand(), None);
    for _ in 0..3 {
        assert_eq!(*backend.description(&bench.call()).unwrap(), checked());
    }
    assert_eq!(asked(&bench), 1);
}

#[test]
fn an_authenticator_is_believed_what_it_said_when_it_was_checked() {
    let bench = Bench::new();
    let said = AuthDescription { forms: vec!["recorded".to_owned()], ..AuthDescription::default() };
    let code = AuthCode::link(&ENGINE, &AUTH, manifest(World::CloudAuth), 1).unwrap();
    let ports = AuthPorts { calls: bench.ports.calls.clone(), egress: None, grants: vec![] };
    let authenticator = WasmAuthenticator::new(ports, Arc::new(code.described(said.clone())));
    assert_eq!(authenticator.describe(&bench.call()).unwrap(), said);
    assert_eq!(asked(&bench), 0);
}
