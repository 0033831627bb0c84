//! The loop against a backend that follows a script, with time that passes only when somebody
//! sleeps.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::backoff::tests::SteppedClock;
use crate::inflight::lock;
use crate::plan::Plan;
use crate::ports::Describe;
use crate::types::{AccessMode, AccessType, Caller, Capability, CapacityRange, Observation};
use crate::verbs::{
    Attach, AttachRequest, Attached, Capacity, Delete, DeleteRequest, DescribeNode, DescribeVolume,
    Detach, Expand, Modify, Observe, PlanExpand, PlanPublish, PlanStage, Translate, Validate,
};

type Script = VecDeque<Result<Answer<Attached>, Error>>;

/// Answers `attach` from a script and remembers what it was handed.
#[derive(Default)]
pub(crate) struct Scripted {
    script: Mutex<Script>,
    handed: Mutex<Vec<Progress>>,
    observe_calls: Mutex<Vec<Vec<String>>>,
    /// What observe calls fail with, one after the other; `None`: they do not.
    observe_errors: Mutex<VecDeque<Option<Error>>>,
    observing: AtomicUsize,
    /// Zero: batches of three.
    observe_batch: AtomicUsize,
    observe_panics: AtomicBool,
}

impl Scripted {
    pub(crate) fn new(
        script: impl IntoIterator<Item = Result<Answer<Attached>, Error>>,
    ) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(script.into_iter().collect()), ..Self::default() })
    }

    pub(crate) fn panic_at_the_next_observation(&self) {
        self.observe_panics.store(true, Ordering::SeqCst);
    }

    pub(crate) fn take_batches_of(&self, ids: usize) {
        self.observe_batch.store(ids, Ordering::SeqCst);
    }

    pub(crate) fn fail_the_next_observation(&self, error: Error) {
        lock(&self.observe_errors).push_back(Some(error));
    }

    /// The ids of each observe call so far.
    pub(crate) fn observed(&self) -> Vec<Vec<String>> {
        lock(&self.observe_calls).clone()
    }
}

impl Describe for Scripted {
    fn description(&self, _: &Call) -> Result<Arc<Description>, Error> {
        Ok(Arc::new(Description {
            name: "scripted".into(),
            version: "1".into(),
            drivers: vec![],
            capabilities: vec![],
            topology_keys: vec![],
            observe_batch: match self.observe_batch.load(Ordering::SeqCst) {
                0 => 3,
                batch => u32::try_from(batch).unwrap(),
            },
        }))
    }
}

impl Ask<Observe> for Scripted {
    fn ask(
        &self,
        _: &Call,
        resources: &[ResourceId],
        _: &Progress,
    ) -> Result<Vec<Observation>, Error> {
        assert!(
            !self.observe_panics.swap(false, Ordering::SeqCst),
            "a defect of the backend's adapter"
        );
        assert_eq!(self.observing.fetch_add(1, Ordering::SeqCst), 0, "one observe call at a time");
        lock(&self.observe_calls).push(resources.iter().map(|of| of.id.clone()).collect());
        self.observing.fetch_sub(1, Ordering::SeqCst);
        match lock(&self.observe_errors).pop_front().flatten() {
            Some(error) => Err(error),
            None => Ok(resources
                .iter()
                .rev()
                .map(|of| Observation {
                    of: of.clone(),
                    found: true,
                    state: of.id.clone().into_bytes(),
                })
                .collect()),
        }
    }
}

impl Ask<Read> for Scripted {
    fn ask(&self, _: &Call, observed: &Observation, _: &Progress) -> Result<Volume, Error> {
        Ok(Volume {
            id: VolumeId::new(&observed.of.id),
            capacity_bytes: 0,
            context: vec![],
            topology: vec![],
            source: None,
            attached_to: vec![NodeId::new(format!("node-of-{}", observed.of.id))],
            condition: None,
        })
    }
}

impl Ask<Create> for Scripted {
    fn ask(
        &self,
        _: &Call,
        _: &CreateRequest,
        progress: &Progress,
    ) -> Result<Answer<Volume>, Error> {
        lock(&self.handed).push(progress.clone());
        match lock(&self.script).pop_front() {
            Some(Ok(Answer::Pending(pending))) => Ok(Answer::Pending(pending)),
            Some(Ok(Answer::Perform(perform))) => Ok(Answer::Perform(perform)),
            Some(Err(error)) => Err(error),
            Some(Ok(Answer::Done(_))) | None => Err(Error::unsupported("not in this script")),
        }
    }
}

impl Ask<Delete> for Scripted {
    fn ask(&self, _: &Call, _: &DeleteRequest, _: &Progress) -> Result<Answer<()>, Error> {
        Ok(Answer::Done(()))
    }
}

impl Ask<Attach> for Scripted {
    fn ask(
        &self,
        _: &Call,
        _: &AttachRequest,
        progress: &Progress,
    ) -> Result<Answer<Attached>, Error> {
        lock(&self.handed).push(progress.clone());
        lock(&self.script).pop_front().unwrap_or(Ok(Answer::Done(Attached::default())))
    }
}

macro_rules! not_in_the_script {
    ($($verb:ty),+) => {
        $(impl Ask<$verb> for Scripted {
            fn ask(
                &self,
                _: &Call,
                _: &<$verb as Verb>::Request,
                _: &Progress,
            ) -> Result<<$verb as Verb>::Answer, Error> {
                Err(Error::unsupported("not in this script"))
            }
        })+
    };
}

not_in_the_script!(
    Detach,
    Expand,
    Modify,
    Validate,
    List,
    Capacity,
    DescribeNode,
    PlanStage,
    PlanPublish,
    PlanExpand,
    Translate,
    DescribeVolume
);

fn attach_request(volume: &str) -> AttachRequest {
    AttachRequest {
        volume: VolumeId::new(volume),
        node: NodeId::new("i-1"),
        capability: Capability { access: AccessType::Block, mode: AccessMode::SingleNodeWriter },
        read_only: false,
        context: vec![],
        caller: Caller::default(),
    }
}

fn pending(after_ms: u32, watch: &[&str], resume: &str) -> Result<Answer<Attached>, Error> {
    Ok(Answer::Pending(Pending {
        after_ms,
        watch: watch.iter().map(|id| ResourceId::volume(&VolumeId::new(*id))).collect(),
        resume: Some(resume.to_owned()),
        reason: "the disk is attaching".to_owned(),
    }))
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, Blame::Cloud, "scripted")
}

fn controller(backend: &Arc<Scripted>) -> (Controller, Arc<SteppedClock>) {
    let clock = Arc::new(SteppedClock::default());
    (
        Controller::new(
            "driver",
            Arc::clone(backend) as Arc<dyn Backend>,
            Arc::clone(&clock) as Arc<dyn Clock>,
        ),
        clock,
    )
}

#[test]
fn a_pending_operation_is_observed_and_called_again_with_its_token() {
    let backend =
        Scripted::new([pending(1000, &["d-1", "s-1"], "token"), pending(0, &[], "later")]);
    let (controller, clock) = controller(&backend);
    controller
        .change::<Attach>(&Call::until(Duration::from_secs(60)), &attach_request("d-1"))
        .unwrap();
    let handed = lock(&backend.handed);
    assert_eq!(handed.len(), 3);
    assert_eq!(handed[0].resume, None);
    assert_eq!(handed[1].resume.as_deref(), Some("token"));
    let ids = |progress: &Progress| {
        progress.observed.iter().map(|observed| observed.of.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        ids(&handed[1]),
        ["d-1", "s-1"],
        "observations come in the order asked for, whatever the backend's order"
    );
    assert_eq!(ids(&handed[2]), ["d-1", "s-1"], "an empty watch list means: what was watched last");
    assert!(clock.now() >= Duration::from_secs(1), "never earlier than the backend said");
}

#[test]
fn transient_failures_are_called_again_and_final_ones_are_returned() {
    for kind in [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Aborted] {
        let backend = Scripted::new([Err(failure(kind)), Err(failure(kind))]);
        let (controller, _) = controller(&backend);
        controller
            .change::<Attach>(&Call::until(Duration::from_secs(60)), &attach_request("d-1"))
            .unwrap();
        assert_eq!(lock(&backend.handed).len(), 3, "{kind:?}");
    }
    let backend = Scripted::new([Err(failure(ErrorKind::FailedPrecondition))]);
    let error = controller(&backend)
        .0
        .change::<Attach>(&Call::until(Duration::from_secs(60)), &attach_request("d-1"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::FailedPrecondition);
    assert!(error.message.contains("d-1") && error.message.contains("i-1"), "{error}");
}

/// What becomes of a final error that follows a change whose answer was lost.
fn effect_after_an_unanswered_change(error: Error) -> Effect {
    let backend =
        Scripted::new([Err(failure(ErrorKind::Unavailable).with_unknown_effect()), Err(error)]);
    controller(&backend)
        .0
        .change::<Attach>(&Call::until(Duration::from_secs(60)), &attach_request("d-1"))
        .unwrap_err()
        .effect
}

#[test]
fn a_refusal_after_an_unanswered_change_is_not_reported_as_final() {
    assert_eq!(
        effect_after_an_unanswered_change(failure(ErrorKind::InvalidArgument)),
        Effect::Unknown
    );
    for kind in [ErrorKind::FailedPrecondition, ErrorKind::NotFound, ErrorKind::AlreadyExists] {
        let by_the_cloud = Error::new(kind, Blame::User, "refused");
        assert_eq!(
            effect_after_an_unanswered_change(by_the_cloud),
            Effect::Unknown,
            "{kind:?} in the cloud's words"
        );
        assert_eq!(
            effect_after_an_unanswered_change(Error::new(kind, Blame::Host, "no certificates")),
            Effect::Unknown,
            "{kind:?} of the host"
        );
    }
}

#[test]
fn what_is_seen_after_an_unanswered_change_is_final() {
    for kind in [ErrorKind::FailedPrecondition, ErrorKind::NotFound, ErrorKind::AlreadyExists] {
        assert_eq!(
            effect_after_an_unanswered_change(Error::new(kind, Blame::User, "seen").as_observed()),
            Effect::None,
            "{kind:?}"
        );
    }
}

#[test]
fn an_operation_that_is_under_way_is_not_over_when_looking_at_it_is_refused() {
    let refused = || Some(failure(ErrorKind::PermissionDenied));
    for (begun, looks, effect) in
        [(true, vec![None, refused()], Effect::Unknown), (false, vec![refused()], Effect::None)]
    {
        let backend = Scripted::new(begun.then(|| pending(0, &[], "t")));
        lock(&backend.observe_errors).extend(looks);
        let error = controller(&backend)
            .0
            .change::<Attach>(&Call::until(Duration::from_secs(60)), &attach_request("d-1"))
            .unwrap_err();
        assert_eq!((error.kind, error.effect), (ErrorKind::PermissionDenied, effect));
    }
}

#[test]
fn an_operation_that_outlives_its_caller_says_what_it_waits_for() {
    let backend = Scripted::new([pending(5000, &[], "t")]);
    let (controller, clock) = controller(&backend);
    let error = controller
        .change::<Attach>(&Call::until(Duration::from_secs(2)), &attach_request("d-1"))
        .unwrap_err();
    assert_eq!((error.kind, error.effect), (ErrorKind::DeadlineExceeded, Effect::Unknown));
    assert!(error.message.contains("the disk is attaching"), "{error}");
    assert!(clock.now() < Duration::from_secs(2), "it does not sleep for nothing");
}

#[test]
fn a_create_that_outlived_its_caller_goes_on_where_it_stood() {
    let request = |gib: u64| CreateRequest {
        name: "pvc-1".into(),
        capacity: CapacityRange { required: Some(gib << 30), limit: None },
        capabilities: vec![],
        parameters: vec![],
        mutable_parameters: vec![],
        source: None,
        topology: None,
        caller: Caller::default(),
    };
    let script = || [pending(0, &["d-1"], "second"), pending(5000, &[], "third")];
    for (again, resume, watch) in [(20, Some("third"), 1), (40, None, 0)] {
        let backend = Scripted::new(script());
        let (controller, clock) = controller(&backend);
        let soon = |clock: &SteppedClock| Call::until(clock.now() + Duration::from_secs(2));
        let error = controller.create(&soon(&clock), &request(20)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
        controller.create(&soon(&clock), &request(again)).unwrap_err();
        // What ended is forgotten: the next call begins anew.
        controller.create(&soon(&clock), &request(20)).unwrap_err();
        let handed = lock(&backend.handed);
        assert_eq!(handed[2].resume.as_deref(), resume);
        assert_eq!(handed[2].observed.len(), watch);
        assert_eq!((handed[3].resume.as_deref(), handed[3].observed.len()), (None, 0));
    }
}

#[test]
fn a_backend_that_is_always_pending_is_bounded_by_the_deadline() {
    let backend = Scripted::new((0..100_000).map(|_| pending(0, &[], "t")));
    let (controller, _) = controller(&backend);
    let error = controller
        .change::<Attach>(&Call::until(Duration::from_secs(30)), &attach_request("d-1"))
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
    assert!(
        lock(&backend.handed).len() <= 30 * 4 + 1,
        "no faster than the common tick: {}",
        lock(&backend.handed).len()
    );
}

#[test]
fn a_failed_observation_is_repeated_without_asking_the_backend_to_decide() {
    let backend = Scripted::new([]);
    lock(&backend.observe_errors).push_back(Some(failure(ErrorKind::Throttled)));
    controller(&backend)
        .0
        .change::<Attach>(&Call::until(Duration::from_secs(60)), &attach_request("d-1"))
        .unwrap();
    assert_eq!(lock(&backend.handed).len(), 1);
    assert_eq!(lock(&backend.observe_calls).len(), 2);
}

#[test]
fn an_observation_that_ran_out_of_time_ends_no_call_that_has_some_left() {
    let backend = Scripted::new([]);
    let late = Error::new(ErrorKind::DeadlineExceeded, Blame::Host, "no turn in the time");
    backend.fail_the_next_observation(late);
    let call = Call::until(Duration::from_secs(60));
    controller(&backend).0.change::<Attach>(&call, &attach_request("d-1")).unwrap();
    assert_eq!(lock(&backend.observe_calls).len(), 2);
}

#[test]
fn while_the_cloud_asks_to_slow_down_waiting_operations_are_looked_at_less_often() {
    let looks = |first: Option<Error>| {
        let script = first.map(Err).into_iter().chain((0..1000).map(|_| pending(0, &[], "t")));
        let backend = Scripted::new(script);
        let call = Call::until(Duration::from_secs(8));
        controller(&backend).0.change::<Attach>(&call, &attach_request("d-1")).unwrap_err();
        lock(&backend.observe_calls).len()
    };
    assert!((28..=33).contains(&looks(None)), "four a second: {}", looks(None));
    let throttled = looks(Some(failure(ErrorKind::Throttled)));
    assert!((7..=9).contains(&throttled), "one a second: {throttled}");
}

#[test]
fn many_operations_share_their_observations() {
    let backend = Scripted::new([]);
    let (controller, _) = controller(&backend);
    let barrier = std::sync::Barrier::new(30);
    std::thread::scope(|scope| {
        for volume in 0..30 {
            let (controller, barrier) = (&controller, &barrier);
            scope.spawn(move || {
                barrier.wait();
                controller
                    .change::<Attach>(
                        &Call::until(Duration::from_secs(60)),
                        &attach_request(&format!("d-{volume}")),
                    )
                    .unwrap();
            });
        }
    });
    let calls = lock(&backend.observe_calls);
    assert_eq!(calls.iter().map(Vec::len).sum::<usize>(), 30, "each id is asked for once");
    assert!(calls.iter().all(|ids| ids.len() <= 3), "never more ids than the backend takes");
}

#[test]
fn a_cancelled_call_stops_at_the_next_safe_place() {
    let backend = Scripted::new((0..100).map(|_| pending(0, &[], "t")));
    let (controller, _) = controller(&backend);
    let call = Call::until(Duration::from_secs(60));
    call.cancel();
    assert!(controller.change::<Attach>(&call, &attach_request("d-1")).is_err());
    assert!(lock(&backend.handed).len() <= 1);
}

#[test]
fn holders_answer_whether_a_node_has_the_volume() {
    let (controller, _) = controller(&Scripted::new([]));
    let call = Call::until(Duration::from_secs(60));
    assert!(
        controller.is_attached(&call, &VolumeId::new("d-1"), &NodeId::new("node-of-d-1")).unwrap()
    );
    assert!(!controller.is_attached(&call, &VolumeId::new("d-1"), &NodeId::new("i-9")).unwrap());
}

/// A machine that fails from a script, and remembers what it was to perform.
#[derive(Default)]
struct ScriptedMachine {
    failures: Mutex<VecDeque<Error>>,
    performed: Mutex<Vec<Plan>>,
    shown_at: Mutex<Option<PathBuf>>,
}

impl Performer for ScriptedMachine {
    fn perform(&self, _: &Call, plan: &Plan, _: &NodePolicy) -> Result<(), Error> {
        lock(&self.performed).push(plan.clone());
        lock(&self.failures).pop_front().map_or(Ok(()), Err)
    }

    fn shown_at(&self, _: &str, _: &VolumeId) -> Result<Option<PathBuf>, Error> {
        Ok(lock(&self.shown_at).clone())
    }
}

fn perform() -> Result<Answer<Attached>, Error> {
    let plan = Plan { steps: vec![], summary: "make the directory pv-1".to_owned() };
    Ok(Answer::Perform(Perform { plan, resume: Some("made".to_owned()) }))
}

#[test]
fn what_a_backend_asks_for_is_performed_and_it_is_called_again_with_its_token() {
    let (backend, machine) = (Scripted::new([perform()]), Arc::new(ScriptedMachine::default()));
    lock(&machine.failures).push_back(Error::aborted("half of the tree is gone"));
    let (controller, _) = controller(&backend);
    let controller =
        controller.performing_on(Arc::clone(&machine) as Arc<dyn Performer>, NodePolicy::default());
    lock(&backend.script).push_back(perform());
    controller
        .change::<Attach>(&Call::until(Duration::from_secs(60)), &attach_request("d-1"))
        .unwrap();
    assert_eq!(lock(&machine.performed).len(), 2, "a passing failure is asked for again");
    let tokens: Vec<_> = lock(&backend.handed).iter().map(|it| it.resume.clone()).collect();
    assert_eq!(tokens, [None, None, Some("made".to_owned())]);
}

#[test]
fn a_plan_that_fails_for_good_ends_the_operation_and_one_without_a_machine_says_so() {
    let call = || Call::until(Duration::from_secs(60));
    let (backend, machine) = (Scripted::new([perform()]), Arc::new(ScriptedMachine::default()));
    lock(&machine.failures).push_back(Error::denied("`mount-nfs` is not granted"));
    let (made, _) = controller(&backend);
    let made = made.performing_on(machine as Arc<dyn Performer>, NodePolicy::default());
    let refused = made.change::<Attach>(&call(), &attach_request("d-1")).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::PermissionDenied);
    let (alone, _) = controller(&Scripted::new([perform()]));
    let refused = alone.change::<Attach>(&call(), &attach_request("d-1")).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
    assert!(refused.hint.unwrap().contains("`node` section"));
}

#[test]
fn a_volume_that_a_workload_of_this_machine_has_is_not_deleted() {
    let (backend, machine) = (Scripted::new([]), Arc::new(ScriptedMachine::default()));
    *lock(&machine.shown_at) = Some(PathBuf::from("/pods/a/mount"));
    let (controller, _) = controller(&backend);
    let controller =
        controller.performing_on(Arc::clone(&machine) as Arc<dyn Performer>, NodePolicy::default());
    let request = DeleteRequest { volume: VolumeId::new("s-1"), caller: Caller::default() };
    let call = Call::until(Duration::from_secs(60));
    let refused = controller.change::<Delete>(&call, &request).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::FailedPrecondition);
    assert!(refused.to_string().contains("/pods/a/mount"), "{refused}");
    // Others than a deletion take nothing away.
    controller.change::<Attach>(&call, &attach_request("s-1")).unwrap();
    *lock(&machine.shown_at) = None;
    controller.change::<Delete>(&call, &request).unwrap();
}
