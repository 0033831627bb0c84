//! Observing, together: whatever operations want to know at the same moment goes into one backend
//! call, and so into as few cloud requests as the backend can manage.
//!
//! One call is under way at a time. What is asked for meanwhile waits for the next one, which
//! starts afterwards: an observation is never older than the question. Who asked first is answered
//! first, also where a batch does not take all.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::backoff::Congestion;
use crate::error::{Blame, Error, ErrorKind};
use crate::inflight::lock;
use crate::ports::{Backend, Call, Clock};
use crate::types::{Observation, ResourceId};
use crate::verbs::{AskExt as _, Observe};

/// One observe call takes no longer: it is one cloud request, and everybody waits for it.
const CALL_BOUND: Duration = Duration::from_secs(15);
/// How often a waiting call checks whether its caller has gone; an answer wakes it at once.
const CANCELLATION_CHECK: Duration = Duration::from_millis(200);

/// What one resource's observation came to, for everybody who asked for it.
type SharedResult = Arc<Mutex<Option<Result<Observation, Error>>>>;

/// Asks for one driver, for whatever of its operations want to know.
pub(crate) struct ObserveBatcher {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    congestion: Arc<Congestion>,
    window: Window,
    state: Mutex<State>,
    changed: Condvar,
}

/// How long the first question waits for others to join it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Window {
    /// In general.
    pub(crate) usual: Duration,
    /// While the cloud asks to slow down.
    pub(crate) congested: Duration,
}

#[derive(Default)]
struct State {
    queue: Queue,
    running: bool,
}

/// What the next calls ask for, in the order in which it was first asked for.
#[derive(Default)]
struct Queue {
    order: VecDeque<ResourceId>,
    results: HashMap<ResourceId, SharedResult>,
}

impl Queue {
    fn join(&mut self, of: &ResourceId) -> SharedResult {
        if let Some(result) = self.results.get(of) {
            return Arc::clone(result);
        }
        let result = SharedResult::default();
        self.order.push_back(of.clone());
        self.results.insert(of.clone(), Arc::clone(&result));
        result
    }

    fn take(&mut self, size: usize) -> BTreeMap<ResourceId, SharedResult> {
        let first = self.order.drain(..size.min(self.order.len()));
        first.filter_map(|of| self.results.remove_entry(&of)).collect()
    }
}

impl ObserveBatcher {
    /// A throttled observation is noted in `congestion`.
    pub(crate) fn new(
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        congestion: Arc<Congestion>,
        window: Window,
    ) -> Self {
        Self {
            backend,
            clock,
            congestion,
            window,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// One observation for each resource, in their order.
    pub(crate) fn observe(
        &self,
        call: &Call,
        resources: &[ResourceId],
    ) -> Result<Vec<Observation>, Error> {
        let results = self.enqueue(resources);
        loop {
            if let Some(answers) = collect(&results) {
                return answers;
            }
            if call.is_cancelled() || call.remaining(self.clock.now()).is_zero() {
                return Err(Error::new(
                    ErrorKind::DeadlineExceeded,
                    Blame::Host,
                    "the caller stopped waiting",
                ));
            }
            let mut state = lock(&self.state);
            if state.running {
                let began = self.clock.now();
                drop(self.changed.wait_timeout(state, CANCELLATION_CHECK));
                self.clock.note_wait(self.clock.now().saturating_sub(began));
                continue;
            }
            state.running = true;
            drop(state);
            BatchLeader { batcher: self, batch: BTreeMap::new() }.run(call);
        }
    }

    fn enqueue(&self, resources: &[ResourceId]) -> Vec<SharedResult> {
        let mut state = lock(&self.state);
        resources.iter().map(|of| state.queue.join(of)).collect()
    }

    /// Asked for every batch: it takes microseconds, and another generation may have another
    /// answer.
    fn batch_size(&self, call: &Call) -> Result<usize, Error> {
        Ok(usize::try_from(self.backend.description(call)?.observe_batch).unwrap_or(1).max(1))
    }
}

/// The answers, once all of them are there.
fn collect(results: &[SharedResult]) -> Option<Result<Vec<Observation>, Error>> {
    results.iter().map(|result| lock(result).clone()).collect()
}

/// The deadline that passed is the shared call's, not that of the callers who wait for it. They get
/// `Unavailable`, and ask again for as long as they have time themselves.
fn as_unavailable(error: Error) -> Error {
    match error.kind {
        ErrorKind::DeadlineExceeded => Error { kind: ErrorKind::Unavailable, ..error }
            .context(format!("observing took longer than {} s", CALL_BOUND.as_secs())),
        _ => error,
    }
}

/// The one thread that calls the backend, for all that wait. Dropping it, also in a panic, answers
/// the requests of its batch and lets the next thread lead.
struct BatchLeader<'a> {
    batcher: &'a ObserveBatcher,
    batch: BTreeMap<ResourceId, SharedResult>,
}

impl BatchLeader<'_> {
    fn run(mut self, call: &Call) {
        let batcher = self.batcher;
        let window = match batcher.congestion.is_recent(batcher.clock.now()) {
            true => batcher.window.congested,
            false => batcher.window.usual,
        };
        if !window.is_zero() {
            batcher.clock.sleep(window, call);
        }
        let own = Call::until(batcher.clock.now() + CALL_BOUND);
        let size = match batcher.batch_size(&own) {
            Ok(size) => size,
            Err(error) => {
                self.take(usize::MAX);
                return self.refuse(&as_unavailable(error));
            }
        };
        self.take(size);
        if self.batch.is_empty() {
            return;
        }
        let wanted: Vec<ResourceId> = self.batch.keys().cloned().collect();
        match batcher.backend.call::<Observe>(&own, &wanted) {
            Ok(observations) => self.distribute(observations),
            Err(error) => {
                if error.kind == ErrorKind::Throttled {
                    batcher.congestion.note(batcher.clock.now());
                }
                self.refuse(&as_unavailable(error));
            }
        }
    }

    fn take(&mut self, size: usize) {
        self.batch = lock(&self.batcher.state).queue.take(size);
    }

    fn distribute(&mut self, observations: Vec<Observation>) {
        for observation in observations {
            if let Some(result) = self.batch.remove(&observation.of) {
                *lock(&result) = Some(Ok(observation));
            }
        }
        self.refuse(&Error::new(
            ErrorKind::Internal,
            Blame::Backend,
            "the backend did not answer for every id that it was asked to observe",
        ));
    }

    /// Answers whoever has no answer yet.
    fn refuse(&mut self, error: &Error) {
        for result in std::mem::take(&mut self.batch).into_values() {
            *lock(&result) = Some(Err(error.clone()));
        }
    }
}

impl Drop for BatchLeader<'_> {
    fn drop(&mut self) {
        self.refuse(&Error::internal("observing ended in a defect of wharf"));
        lock(&self.batcher.state).running = false;
        self.batcher.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::backoff::tests::SteppedClock;
    use crate::controller::tests::Scripted;
    use crate::types::VolumeId;

    fn batcher(backend: &Arc<Scripted>) -> ObserveBatcher {
        ObserveBatcher::new(
            Arc::clone(backend) as Arc<dyn Backend>,
            Arc::new(SteppedClock::default()),
            Arc::default(),
            Window::default(),
        )
    }

    fn volumes<const N: usize>(ids: [&str; N]) -> [ResourceId; N] {
        ids.map(|id| ResourceId::volume(&VolumeId::new(id)))
    }

    fn minute() -> Call {
        Call::until(Duration::from_secs(60))
    }

    #[test]
    fn a_panic_of_the_thread_that_asks_is_an_error_for_those_who_wait() {
        let backend = Scripted::new([]);
        backend.panic_at_the_next_observation();
        let batcher = batcher(&backend);
        let waiting = batcher.enqueue(&volumes(["b"]));
        catch_unwind(AssertUnwindSafe(|| batcher.observe(&minute(), &volumes(["a"])))).unwrap_err();
        assert_eq!(
            collect(&waiting).expect("it has its answer").unwrap_err().kind,
            ErrorKind::Internal
        );
        assert_eq!(
            batcher.observe(&minute(), &volumes(["b"])).unwrap().len(),
            1,
            "the next one leads"
        );
    }

    #[test]
    fn a_batch_is_no_larger_than_the_generation_that_answers_now_takes() {
        let backend = Scripted::new([]);
        let batcher = batcher(&backend);
        let ids = |count: usize| {
            let id = |number| ResourceId::volume(&VolumeId::new(format!("{number:03}")));
            (0..count).map(id).collect::<Vec<_>>()
        };
        let batches = |size| {
            backend.take_batches_of(size);
            let before = backend.observed().len();
            batcher.observe(&minute(), &ids(100)).unwrap();
            backend.observed().iter().skip(before).map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(batches(100), [100]);
        assert_eq!(batches(10), [10; 10]);
    }

    #[test]
    fn who_asked_first_is_answered_first_whatever_the_ids() {
        let backend = Scripted::new([]);
        backend.take_batches_of(2);
        let batcher = batcher(&backend);
        let early = batcher.enqueue(&volumes(["z-1", "z-2"]));
        batcher.enqueue(&volumes(["a-1", "a-2"]));
        // The one that leads joins a question that is waiting already.
        batcher.observe(&minute(), &volumes(["z-2"])).unwrap();
        assert_eq!(backend.observed(), [["z-1", "z-2"]]);
        assert!(collect(&early).is_some());
    }

    #[test]
    fn a_shared_call_that_ran_out_of_time_is_not_its_callers_deadline() {
        let backend = Scripted::new([]);
        let late = Error::new(ErrorKind::DeadlineExceeded, Blame::Host, "stopped");
        backend.fail_the_next_observation(late);
        let error = batcher(&backend).observe(&minute(), &volumes(["a"])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("longer than 15 s"), "{error}");
    }

    #[test]
    fn whoever_has_no_time_left_neither_waits_nor_asks() {
        let backend = Scripted::new([]);
        let batcher = batcher(&backend);
        let cancelled = minute();
        cancelled.cancel();
        for is_led in [true, false] {
            lock(&batcher.state).running = is_led;
            for call in [&cancelled, &Call::until(Duration::ZERO)] {
                assert_eq!(
                    batcher.observe(call, &volumes(["a"])).unwrap_err().kind,
                    ErrorKind::DeadlineExceeded
                );
            }
        }
        assert!(backend.observed().is_empty());
    }
}
