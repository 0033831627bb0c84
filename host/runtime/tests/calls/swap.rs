//! Another generation takes over while calls run.

use std::sync::{Arc, OnceLock};

use wharf_core::ErrorKind;
use wharf_core::manifest::{Manifest, NodeRequest, World};
use wharf_core::ports::Describe as _;
use wharf_core::types::{AccessMode, AccessType, Caller, Capability, VolumeId};
use wharf_core::verbs::{AskExt as _, PlanStage, StageRequest};
use wharf_runtime::{BackendCode, WasmBackend};

use crate::fixture::{BACKEND, Bench, ENGINE, code, does, manifest, ok};

#[test]
fn a_call_in_flight_ends_on_the_generation_that_it_began_with() {
    let backend = Arc::new(OnceLock::<WasmBackend>::new());
    let swapped = Arc::clone(&backend);
    let bench = Bench::new().answering(move |_| {
        swapped.get().unwrap().publish(code(2));
        Ok(ok())
    });
    let backend = backend.get_or_init(|| bench.backend());
    let old = Arc::downgrade(&backend.active());
    let answered = does(backend, &bench.call(), "send cloud - read - GET /ok").unwrap_err();
    assert!(answered.message.starts_with("status 200"), "{answered}");
    backend.description(&bench.call()).unwrap();
    let generations: Vec<u64> =
        bench.heard.0.lock().unwrap().iter().map(|heard| heard.generation).collect();
    assert_eq!(generations, [1, 2]);
    assert!(old.upgrade().is_none(), "the old generation is freed with its last call");
}

/// Does something when a guest writes a log line: the one thing that a pure function lets the
/// outside notice.
struct AtALine<F>(F);

impl<F: Fn() + Send + Sync + 'static> tracing::Subscriber for AtALine<F> {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "wharf::guest"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        (self.0)();
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_plan_is_judged_by_the_manifest_of_the_generation_that_made_it() {
    let backend = Arc::new(Bench::new().backend());
    let swapped = Arc::clone(&backend);
    let generous = Manifest {
        node: NodeRequest {
            steps: ["check", "format"].map(|it| it.parse().unwrap()).to_vec(),
            ..NodeRequest::default()
        },
        ..manifest(World::Backend)
    };
    let second = Arc::new(BackendCode::link(&ENGINE, &BACKEND, generous, 2).unwrap());
    let request = StageRequest {
        volume: VolumeId::new("unrequested-step"),
        capability: Capability { access: AccessType::Block, mode: AccessMode::SingleNodeWriter },
        context: vec![],
        publish_context: vec![],
        caller: Caller::default(),
    };
    let bench = Bench::new();
    let swap = AtALine(move || swapped.publish(Arc::clone(&second)));
    let refused = tracing::subscriber::with_default(swap, || {
        backend.call::<PlanStage>(&bench.call(), &request)
    })
    .unwrap_err();
    assert_eq!(refused.kind, ErrorKind::PermissionDenied, "{refused}");
    assert_eq!(backend.call::<PlanStage>(&bench.call(), &request).unwrap().steps.len(), 2);
}
