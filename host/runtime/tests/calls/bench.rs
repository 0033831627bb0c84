//! The measurement measures.

use std::sync::Arc;

use wharf_core::manifest::World;
use wharf_runtime::{BackendCode, Engine, EngineMode, WasmBackend, measure};

use crate::fixture::{Bench, build, manifest};

#[test]
fn every_mode_is_measured_on_as_many_threads_as_asked() {
    let wasm = build(None);
    for mode in [EngineMode::OnDemand, EngineMode::Pooled { slots: 8 }] {
        let engine = Engine::new(mode).unwrap();
        let code = BackendCode::link(
            &engine,
            &engine.load_wasm(&wasm).unwrap(),
            manifest(World::Backend),
            1,
        )
        .unwrap();
        let bench = Bench::new();
        let mut ports = bench.ports.clone();
        ports.calls.observer = None;
        let backend = WasmBackend::new(ports, Arc::new(code));
        let measured = measure(&backend, bench.clock.as_ref(), 2, 2000).unwrap();
        println!(
            "{:?}: p50 {:?}, p99 {:?}, {:.0} calls/s",
            engine.mode(),
            measured.p50,
            measured.p99,
            measured.calls_per_second
        );
        assert!(measured.p50 <= measured.p99 && measured.calls_per_second > 0.0);
        assert_eq!(backend.code().health().0, 4001);
    }
}

#[test]
fn a_call_that_finds_the_pool_full_gets_memory_of_its_own() {
    let engine = Engine::new(EngineMode::Pooled { slots: 1 }).unwrap();
    if engine.mode() == EngineMode::OnDemand {
        println!("this kernel gives no pool");
        return;
    }
    let code = BackendCode::link(
        &engine,
        &engine.load_wasm(&build(None)).unwrap(),
        manifest(World::Backend),
        1,
    )
    .unwrap();
    let inner = Arc::new(std::sync::OnceLock::<(WasmBackend, wharf_core::ports::Call)>::new());
    let bench = Bench::new();
    let call = bench.call();
    let again = Arc::clone(&inner);
    let bench = bench.answering(move |_| {
        let (backend, call) = again.get().unwrap();
        crate::fixture::does(backend, call, "nothing").map(|_| crate::fixture::ok())
    });
    inner.set((WasmBackend::new(bench.ports.clone(), Arc::new(code)), call)).ok().unwrap();
    let (backend, call) = inner.get().unwrap();
    for _ in 0..3 {
        let sent = crate::fixture::does(backend, call, "send cloud - read - GET /ok");
        let said = sent.unwrap_err();
        assert!(said.message.starts_with("status 200"), "{said}");
    }
    assert_eq!(backend.code().health(), (6, 0), "those beyond the pool count too");
}
