//! One test for each bound: it is applied, and the error says which one it was.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use wharf_core::manifest::World;
use wharf_core::ports::Call;
use wharf_core::types::{
    AccessMode, AccessType, Answer, Caller, Capability, Observation, ResourceId, VolumeId,
};
use wharf_core::verbs::{
    AskExt as _, DescribeNode, List, ListRequest, Observe, PlanStage, Read, StageRequest,
    Translate, TranslateRequest,
};
use wharf_core::{Blame, Effect, Error, ErrorKind};
use wharf_runtime::{BackendCode, Outcome, WasmBackend};

use crate::fixture::{Bench, ENGINE, SLEEPER, does, manifest, ok};

fn stage(volume: &str) -> StageRequest {
    StageRequest {
        volume: VolumeId::new(volume),
        capability: Capability { access: AccessType::Block, mode: AccessMode::SingleNodeWriter },
        context: vec![],
        publish_context: vec![],
        caller: Caller::default(),
    }
}

fn volume(id: &str) -> ResourceId {
    ResourceId::volume(&VolumeId::new(id))
}

fn lost(_: &wharf_runtime::Request) -> Result<wharf_runtime::Response, Error> {
    Err(Error::unavailable("no answer").with_unknown_effect())
}

#[test]
fn a_guest_that_computes_for_ever_is_stopped_by_its_processor_time() {
    let error =
        Bench::limited(|limits| limits.cpu = Duration::from_millis(50)).does("spin").unwrap_err();
    assert_eq!(
        (error.kind, error.blame, error.effect),
        (ErrorKind::Internal, Blame::Backend, Effect::None)
    );
    assert!(
        error.message.contains("computed for longer than 0.05 s")
            && error.message.contains("`delete`"),
        "{error}"
    );
}

#[test]
fn a_guest_is_stopped_by_the_bound_on_its_whole_time() {
    let error =
        Bench::limited(|limits| limits.wall = Duration::from_millis(50)).does("spin").unwrap_err();
    assert!(error.message.contains("took longer than 0.05 s"), "{error}");
}

#[test]
fn a_guest_is_stopped_at_the_callers_deadline() {
    let bench = Bench::new();
    let error =
        does(&bench.backend(), &bench.call_of(Duration::from_millis(50)), "spin").unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::DeadlineExceeded, Effect::None));
    let late = does(&bench.backend(), &Call::until(Duration::ZERO), "nothing").unwrap_err();
    assert_eq!(late.kind, ErrorKind::DeadlineExceeded);
}

#[test]
fn a_guest_is_stopped_when_nobody_waits_for_it_any_more() {
    for (effect, expected) in [("read", Effect::None), ("mutate", Effect::Unknown)] {
        let bench = Bench::new();
        let call = bench.call();
        let caller = call.clone();
        let bench = bench.answering(move |_| {
            caller.cancel();
            Ok(ok())
        });
        let error =
            does(&bench.backend(), &call, &format!("spin-after cloud - {effect} - GET /ok"))
                .unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Aborted, expected));
    }
}

#[test]
fn a_guest_that_sleeps_in_wasi_is_stopped_with_its_call() {
    let bench = Bench::new();
    let code = BackendCode::link(&ENGINE, &SLEEPER, manifest(World::Backend), 1).unwrap();
    let backend = WasmBackend::new(bench.ports.clone(), Arc::new(code));
    let error = does(&backend, &bench.call_of(Duration::from_millis(100)), "sleep").unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded, "{error}");
    does(&backend, &bench.call(), "nothing").unwrap();
}

#[test]
fn memory_is_bounded() {
    let error =
        Bench::limited(|limits| limits.memory_bytes = 8 << 20).does("allocate").unwrap_err();
    assert!(error.message.contains("bytes of memory, at most 8388608"), "{error}");
}

#[test]
fn what_crosses_to_the_host_is_bounded() {
    let error = Bench::new().does("cross").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.message.contains("fuel") || error.message.contains("exhausted"), "{error}");
}

#[test]
fn a_panics_text_survives_and_the_next_call_works() {
    let bench = Bench::new();
    let backend = bench.backend();
    let error = does(&backend, &bench.call(), "panic").unwrap_err();
    assert!(
        error.message.contains("it panicked: the author's own words at src/lib.rs:1"),
        "{error}"
    );
    assert!(error.message.contains("misbehaving 0.1.0 (generation 1) in `delete`"), "{error}");
    assert!(does(&backend, &bench.call(), "trap").unwrap_err().message.contains("trapped"));
    does(&backend, &bench.call(), "nothing").unwrap();
    assert_eq!(backend.code().health(), (3, 2));
    let outcomes: Vec<Outcome> =
        bench.heard.0.lock().unwrap().iter().map(|heard| heard.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Broken(ErrorKind::Internal),
            Outcome::Broken(ErrorKind::Internal),
            Outcome::Answered
        ]
    );
}

#[test]
fn a_defect_after_a_mutating_request_is_never_final() {
    let bench = Bench::new().answering(|_| Ok(ok()));
    for deed in ["trap-after", "huge-resume-after"] {
        let error = bench.does(&format!("{deed} cloud - mutate - POST /ok")).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Effect::Unknown), "{deed}");
        let error = bench.does(&format!("{deed} cloud - read - GET /ok")).unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::None), "{deed}");
    }
}

#[test]
fn a_mutating_request_that_never_left_leaves_a_defect_final() {
    let bench = Bench::new().answering(|_| Err(Error::denied("not granted")));
    let error = bench.does("trap-after cloud - mutate - POST /ok").unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Internal, Effect::None));
}

#[test]
fn the_host_knows_better_than_a_guest_that_calls_an_unanswered_request_harmless() {
    let error =
        Bench::new().answering(lost).does("fail-after cloud - mutate - POST /ok").unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::Other, Effect::Unknown));
    let error = Bench::new()
        .answering(|_| Ok(ok()))
        .does("fail-after cloud - mutate - POST /ok")
        .unwrap_err();
    assert_eq!(error.effect, Effect::None);
}

#[test]
fn requests_of_one_call_are_counted() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&sent);
    let bench = Bench::limited(|limits| limits.http_requests = 5).answering(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(ok())
    });
    bench.does("send-many 5 cloud - read - GET /ok").unwrap();
    assert_eq!(sent.swap(0, Ordering::Relaxed), 5);
    let error = bench.does("send-many 6 cloud - read - GET /ok").unwrap_err();
    assert_eq!((error.kind, sent.load(Ordering::Relaxed)), (ErrorKind::ResourceExhausted, 5));
    let heard = bench.heard.0.lock().unwrap().last().unwrap().clone();
    assert_eq!((heard.generation, heard.http_requests), (1, 5));
}

#[test]
fn parallel_requests_are_bounded() {
    let bench = Bench::new().answering(|_| Ok(ok()));
    assert_eq!(
        bench.does("send-all 16 cloud - read - GET /ok").unwrap_err().message,
        "16 answered"
    );
    assert!(
        bench
            .does("send-all 17 cloud - read - GET /ok")
            .unwrap_err()
            .message
            .contains("at most 16")
    );
}

#[test]
fn random_bytes_are_bounded() {
    assert_eq!(Bench::new().does("random 4096").unwrap_err().message, "4096 bytes");
    assert!(Bench::new().does("random 4097").unwrap_err().message.contains("at most 4096"));
}

#[test]
fn log_text_is_bounded_and_the_loss_is_told() {
    let log = Log::default();
    let lines = Arc::clone(&log.0);
    tracing::subscriber::with_default(log, || {
        Bench::limited(|limits| limits.log_bytes = 10 << 10).does("log").unwrap()
    });
    let lines = lines.lock().unwrap();
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("xxx")).count(),
        8,
        "1024 bytes and 128 for each line"
    );
    assert!(
        lines.last().unwrap().contains(&format!("992 lines ({} bytes)", 992 << 10)),
        "{:?}",
        lines.last()
    );
}

#[test]
fn empty_log_lines_are_bounded_too() {
    let log = Log::default();
    let lines = Arc::clone(&log.0);
    tracing::subscriber::with_default(log, || {
        Bench::limited(|limits| limits.log_bytes = 10 << 10).does("log-nothing").unwrap()
    });
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 80 + 1);
    assert!(lines.last().unwrap().contains("99920 lines (0 bytes)"), "{:?}", lines.last());
}

#[test]
fn answers_are_bounded_and_the_bound_is_named() {
    let bench = Bench::new();
    assert!(
        bench
            .does("huge-resume")
            .unwrap_err()
            .message
            .contains("`resume (bytes)` is 4097 long, at most 4096")
    );
    assert_eq!(bench.does("huge-error").unwrap_err().message.len(), 4 << 10);
    let backend = bench.backend();
    let observe = |ids: &[&str]| {
        let asked: Vec<_> = ids.iter().map(|id| volume(id)).collect();
        backend.call::<Observe>(&bench.call(), &asked)
    };
    assert_eq!(observe(&["a", "b"]).unwrap().len(), 2);
    assert!(observe(&["huge-state"]).unwrap_err().message.contains("65537"));
    assert!(
        observe(&["a", "forgotten"])
            .unwrap_err()
            .message
            .contains("did not answer for `forgotten`")
    );
    let page = ListRequest { max_entries: 3, starting_token: None };
    let refused = backend.call::<List>(&bench.call(), &page).unwrap_err();
    assert!(refused.message.contains("4 long, at most 3"), "{refused}");
    let refused = backend.call::<DescribeNode>(&bench.call(), &()).unwrap_err();
    assert!(refused.message.contains("node-id"), "{refused}");
    let request =
        TranslateRequest { driver: "a/b".into(), options: vec![], volume_name: "v".into() };
    let refused = backend.call::<Translate>(&bench.call(), &request).unwrap_err();
    assert!(refused.message.contains("volume-id"), "{refused}");
}

#[test]
fn a_plan_has_only_steps_that_the_manifest_requests_and_not_too_many() {
    let bench = Bench::new();
    let plan = |volume: &str| bench.backend().call::<PlanStage>(&bench.call(), &stage(volume));
    assert_eq!(plan("fine").unwrap().steps.len(), 1);
    assert!(plan("many-steps").unwrap_err().message.contains("33"));
    let refused = plan("unrequested-step").unwrap_err();
    assert_eq!(refused.kind, ErrorKind::PermissionDenied);
    assert!(refused.message.contains("`format`"), "{refused}");
}

#[test]
fn pure_functions_have_no_network() {
    let bench = Bench::new().answering(|_| panic!("a pure function sent a request"));
    let refused = bench.backend().call::<PlanStage>(&bench.call(), &stage("network")).unwrap_err();
    assert!(refused.message.contains("`plan-stage` must not send requests"), "{refused}");
    let observed = Observation { of: volume("d"), found: true, state: vec![] };
    let refused = bench.backend().call::<Read>(&bench.call(), &observed).unwrap_err();
    assert!(refused.message.contains("`read`"), "{refused}");
}

#[test]
fn what_the_host_is_to_perform_is_held_to_the_manifest_and_to_the_bounds_too() {
    let bench = Bench::new();
    let Ok(Answer::Perform(perform)) = bench.does("perform") else {
        panic!("the plan is what the manifest requests")
    };
    assert_eq!((perform.plan.steps.len(), perform.resume.as_deref()), (1, Some("r")));
    let refused = bench.does("perform-unrequested").unwrap_err();
    assert_eq!(refused.kind, ErrorKind::PermissionDenied, "{refused}");
    assert!(bench.does("perform-huge-resume").unwrap_err().message.contains("4097"));
    let hoarded = bench.does("hoard-plans").unwrap_err();
    assert!(hoarded.message.contains("table"), "{hoarded}");
}

#[test]
fn configuration_and_resume_tokens_reach_the_guest() {
    assert_eq!(Bench::new().does("config").unwrap_err().message, "Some(\"a\") of 2");
    assert_eq!(Bench::new().does("resume").unwrap_err().message, "Some(\"token\")");
}

/// Keeps the lines that are logged.
#[derive(Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Message<'a>(&'a mut String);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            *self.0 = format!("{value:?}");
        }
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "wharf::guest"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = String::new();
        event.record(&mut Message(&mut line));
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}
