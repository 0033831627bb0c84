//! Observing, together: whatever operations want to know at the same moment goes into one backend call, and so into as few cloud
//! requests as the backend can manage.
//!
//! One call is under way at a time. What is asked for meanwhile waits for the next one, which starts afterwards: an observation is
//! never older than the question.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::inflight::lock;
use crate::pacing::Pacer;
use crate::ports::{Backend, Call, Clock};
use crate::types::Observation;

/// One observe call takes no longer: it is one cloud request, and everybody waits for it.
const CALL_BOUND: Duration = Duration::from_secs(15);

type Cell = Arc<Mutex<Option<Result<Observation, Error>>>>;

/// The shared observer of one driver.
pub(crate) struct Observer {
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    pacer: Arc<Pacer>,
    window: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    wanted: BTreeMap<String, Cell>,
    running: bool,
    batch: Option<usize>,
}

impl Observer {
    /// `window`: how long the first question waits for others to join it.
    pub(crate) fn new(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, pacer: Arc<Pacer>, window: Duration) -> Self {
        Self { backend, clock, pacer, window, state: Mutex::default(), changed: Condvar::new() }
    }

    /// One observation for each id, in the order of `ids`.
    pub(crate) fn observe(&self, call: &Call, ids: &[String]) -> Result<Vec<Observation>, Error> {
        let cells = self.enqueue(ids);
        loop {
            if let Some(answers) = collect(&cells) {
                return answers;
            }
            let mut state = lock(&self.state);
            if state.running {
                // Woken by the leader, which is bounded by CALL_BOUND and always reports.
                drop(self.changed.wait_timeout(state, Duration::from_millis(200)));
                if call.is_cancelled() {
                    return Err(Error::new(ErrorKind::DeadlineExceeded, crate::Blame::Host, "the caller stopped waiting"));
                }
                continue;
            }
            state.running = true;
            drop(state);
            let lead = Lead { observer: self };
            lead.run(call);
        }
    }

    fn enqueue(&self, ids: &[String]) -> Vec<Cell> {
        let mut state = lock(&self.state);
        ids.iter().map(|id| Arc::clone(state.wanted.entry(id.clone()).or_default())).collect()
    }

    fn batch_size(&self, call: &Call) -> Result<usize, Error> {
        if let Some(known) = lock(&self.state).batch {
            return Ok(known);
        }
        let batch = usize::try_from(self.backend.describe(call)?.observe_batch).unwrap_or(1).max(1);
        lock(&self.state).batch = Some(batch);
        Ok(batch)
    }
}

/// The answers, once all of them are there.
fn collect(cells: &[Cell]) -> Option<Result<Vec<Observation>, Error>> {
    cells.iter().map(|cell| lock(cell).clone()).collect()
}

/// The one thread that asks, for everybody. Dropping it, also in a panic, lets the next one lead.
struct Lead<'a> {
    observer: &'a Observer,
}

impl Lead<'_> {
    fn run(&self, call: &Call) {
        let observer = self.observer;
        if !observer.window.is_zero() {
            observer.clock.sleep(observer.window, call);
        }
        let own = Call::until(observer.clock.now() + CALL_BOUND);
        let size = match observer.batch_size(&own) {
            Ok(size) => size,
            Err(error) => return answer_all(self.take(usize::MAX), &error),
        };
        let batch = self.take(size);
        if batch.is_empty() {
            return;
        }
        let ids: Vec<String> = batch.keys().cloned().collect();
        let answered = observer.pacer.acquire(&own, observer.clock.as_ref()).and_then(|_turn| observer.backend.observe(&own, &ids));
        match answered {
            Ok(observations) => {
                observer.pacer.answered();
                distribute(batch, observations);
            }
            Err(error) => {
                if error.kind == ErrorKind::Throttled {
                    observer.pacer.throttled(observer.clock.now(), error.retry_after);
                }
                answer_all(batch, &error);
            }
        }
    }

    fn take(&self, size: usize) -> BTreeMap<String, Cell> {
        let mut state = lock(&self.observer.state);
        let ids: Vec<String> = state.wanted.keys().take(size).cloned().collect();
        ids.into_iter().filter_map(|id| state.wanted.remove_entry(&id)).collect()
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        lock(&self.observer.state).running = false;
        self.observer.changed.notify_all();
    }
}

fn distribute(mut batch: BTreeMap<String, Cell>, observations: Vec<Observation>) {
    for observation in observations {
        if let Some(cell) = batch.remove(&observation.id) {
            *lock(&cell) = Some(Ok(observation));
        }
    }
    let missing = Error::new(ErrorKind::Internal, crate::Blame::Backend, "the backend did not answer for every id that it was asked to observe");
    answer_all(batch, &missing);
}

fn answer_all(batch: BTreeMap<String, Cell>, error: &Error) {
    for cell in batch.into_values() {
        *lock(&cell) = Some(Err(error.clone()));
    }
}
