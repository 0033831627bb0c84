//! Controller verbs: observe, ask the backend for one decision, wait, repeat, until it is done or
//! the caller's time is over.
//!
//! Deadlines, pacing, back-off, coalescing and the in-flight guard exist here and nowhere else.
//! Front ends call this on a thread of their own; nothing here knows how the caller speaks. The
//! loop keeps no state that matters: killed anywhere, the next call of the same verb observes and
//! goes on. Where a create stood when its caller's time was over is remembered, to save time.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Blame, Effect, Error, ErrorKind};
use crate::inflight::InFlight;
use crate::observer::Observer;
use crate::pacing::Backoff;
pub use crate::pacing::Pacer;
use crate::ports::{Backend, Call, Clock, Instant};
use crate::types::{
    Answer, AttachRequest, Attached, CreateRequest, Description, DetachRequest, ExpandRequest,
    Expanded, Listed, NodeId, Pending, Progress, ValidateRequest, Validated, Volume, VolumeId,
};
use crate::unfinished::Unfinished;

/// How long the first question of a moment waits for others to join it: less than a cloud request
/// takes, and enough for a burst of calls that arrive together.
const OBSERVE_WINDOW: Duration = Duration::from_millis(8);
/// Operations that wait wake up together, on multiples of this, so that one observation serves them
/// all.
const TICK: Duration = Duration::from_millis(250);
/// A backend that keeps answering `pending` with no delay is asked no faster than this.
const SHORTEST_WAIT: Duration = Duration::from_millis(50);
/// A single wait is never longer, whatever a backend asks for: states that change earlier would go
/// unnoticed.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The controller verbs of one driver.
pub struct Controller {
    driver: String,
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    pacer: Arc<Pacer>,
    observer: Observer,
    in_flight: InFlight,
    unfinished: Unfinished<Operation>,
    tick: Duration,
}

impl Controller {
    /// A controller with an account of its own, for many calls at once.
    pub fn new(
        driver: impl Into<String>,
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::with_pacer(driver, backend, clock, Arc::default())
    }

    /// Drivers that share an account share its pacer.
    pub fn with_pacer(
        driver: impl Into<String>,
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        pacer: Arc<Pacer>,
    ) -> Self {
        let observer = Observer::new(
            Arc::clone(&backend),
            Arc::clone(&clock),
            Arc::clone(&pacer),
            OBSERVE_WINDOW,
        );
        Self {
            driver: driver.into(),
            backend,
            clock,
            pacer,
            observer,
            in_flight: InFlight::default(),
            unfinished: Unfinished::default(),
            tick: TICK,
        }
    }

    /// A controller of a process that makes one call and exits: there is nobody to wait for.
    pub fn for_one_call(
        driver: impl Into<String>,
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut controller = Self::new(driver, backend, clock);
        controller.observer = Observer::new(
            Arc::clone(&controller.backend),
            Arc::clone(&controller.clock),
            Arc::clone(&controller.pacer),
            Duration::ZERO,
        );
        controller.tick = Duration::ZERO;
        controller
    }

    /// What the active backend says of itself.
    pub fn describe(&self, call: &Call) -> Result<Description, Error> {
        self.backend.describe(call)
    }

    /// Creates the volume of this name, or finds it.
    pub fn create(&self, call: &Call, request: &CreateRequest) -> Result<Volume, Error> {
        let _guard = self.in_flight.begin(&request.name, "create")?;
        let what = format!("create of volume {}", request.name);
        let kept = self.unfinished.take(request, self.clock.now());
        let mut operation = kept.unwrap_or_else(|| Operation::new(Vec::new()));
        let created = self.go_on(call, &what, &mut operation, |progress| {
            self.backend.create(call, request, progress)
        });
        if matches!(&created, Err(error) if error.kind == ErrorKind::DeadlineExceeded) {
            self.unfinished.keep(request, operation.for_another_call(), self.clock.now());
        }
        created
    }

    /// Deletes the volume; a missing one is fine.
    pub fn delete(&self, call: &Call, volume: &VolumeId) -> Result<(), Error> {
        let _guard = self.in_flight.begin(volume.as_str(), "delete")?;
        self.drive(call, &format!("delete of volume {volume}"), watch(volume), |progress| {
            self.backend.delete(call, volume, progress)
        })
    }

    /// Attaches the volume to the node.
    pub fn attach(&self, call: &Call, request: &AttachRequest) -> Result<Attached, Error> {
        let _guard = self.in_flight.begin(request.volume.as_str(), "attach")?;
        let what = format!("attach of volume {} to node {}", request.volume, request.node);
        self.drive(call, &what, watch(&request.volume), |progress| {
            self.backend.attach(call, request, progress)
        })
    }

    /// Detaches the volume from the node, and only from it.
    pub fn detach(&self, call: &Call, request: &DetachRequest) -> Result<(), Error> {
        let _guard = self.in_flight.begin(request.volume.as_str(), "detach")?;
        let what = match &request.node {
            Some(node) => format!("detach of volume {} from node {node}", request.volume),
            None => format!("detach of volume {} from every node", request.volume),
        };
        self.drive(call, &what, watch(&request.volume), |progress| {
            self.backend.detach(call, request, progress)
        })
    }

    /// Makes the volume at least as large as asked for.
    pub fn expand(&self, call: &Call, request: &ExpandRequest) -> Result<Expanded, Error> {
        let _guard = self.in_flight.begin(request.volume.as_str(), "expand")?;
        let what = format!("expansion of volume {}", request.volume);
        self.drive(call, &what, watch(&request.volume), |progress| {
            self.backend.expand(call, request, progress)
        })
    }

    /// Whether the volume can be used like that. Read-only, and so outside the in-flight guard.
    pub fn validate(&self, call: &Call, request: &ValidateRequest) -> Result<Validated, Error> {
        let what = format!("validation of volume {}", request.volume);
        self.drive(call, &what, watch(&request.volume), |progress| {
            self.backend.validate(call, request, &progress.observed).map(Answer::Done)
        })
    }

    /// Whether this node holds the volume. A missing volume is held by nobody. Read-only.
    pub fn is_attached(
        &self,
        call: &Call,
        volume: &VolumeId,
        node: &NodeId,
    ) -> Result<bool, Error> {
        self.drive(call, &format!("look-up of volume {volume}"), watch(volume), |progress| {
            let Some(observed) = progress.observed.first().filter(|observed| observed.found) else {
                return Ok(Answer::Done(false));
            };
            Ok(Answer::Done(self.backend.holders(call, observed)?.contains(node)))
        })
    }

    /// One page of this driver's volumes. Read-only.
    ///
    /// # Errors
    /// `Aborted` when the token is not the backend's: final here, as the same token stays as wrong
    /// as it is.
    pub fn list(
        &self,
        call: &Call,
        max_entries: u32,
        token: Option<&str>,
    ) -> Result<Listed, Error> {
        let what = "list of volumes";
        self.drive(call, what, Vec::new(), |_| match self.backend.list(call, max_entries, token) {
            Err(error) if error.kind == ErrorKind::Aborted => {
                Ok(Answer::Done(Err(error.context(what).context(&self.driver))))
            }
            listed => listed.map(|listed| Answer::Done(Ok(listed))),
        })?
    }

    /// The level-triggered loop behind every verb.
    fn drive<T>(
        &self,
        call: &Call,
        what: &str,
        ids: Vec<String>,
        decide: impl Fn(&Progress) -> Result<Answer<T>, Error>,
    ) -> Result<T, Error> {
        self.go_on(call, what, &mut Operation::new(ids), decide)
    }

    fn go_on<T>(
        &self,
        call: &Call,
        what: &str,
        operation: &mut Operation,
        decide: impl Fn(&Progress) -> Result<Answer<T>, Error>,
    ) -> Result<T, Error> {
        loop {
            let answer = self.step(call, operation, &decide);
            let wait = match operation.follow(answer) {
                Next::Return(result) => {
                    return result.map_err(|error| error.context(what).context(&self.driver));
                }
                Next::Wait(wait) => wait,
            };
            self.wait(call, wait, operation)
                .map_err(|error| error.context(what).context(&self.driver))?;
        }
    }

    fn step<T>(
        &self,
        call: &Call,
        operation: &Operation,
        decide: &impl Fn(&Progress) -> Result<Answer<T>, Error>,
    ) -> Result<Answer<T>, Error> {
        let observed = match operation.watch.as_slice() {
            [] => Vec::new(),
            ids => self.observer.observe(call, ids).map_err(|error| operation.unseen(error))?,
        };
        let _turn = operation
            .is_paced
            .then(|| self.pacer.acquire(call, self.clock.as_ref()))
            .transpose()?;
        let answer = decide(&Progress { observed, resume: operation.resume.clone() });
        match &answer {
            Err(error) if error.kind == ErrorKind::Throttled => {
                self.pacer.throttled(self.clock.now(), error.retry_after)
            }
            Err(_) => {}
            Ok(_) => self.pacer.answered(),
        }
        answer
    }

    /// Sleeps until the next common tick after `wait`, unless the caller's time is over before
    /// that.
    fn wait(&self, call: &Call, wait: Duration, operation: &Operation) -> Result<(), Error> {
        let now = self.clock.now();
        let wake = align(now + wait, self.tick);
        if call.is_cancelled() || wake >= call.deadline() {
            return Err(operation.out_of_time());
        }
        self.clock.sleep(wake - now, call);
        if call.is_cancelled() { Err(operation.out_of_time()) } else { Ok(()) }
    }
}

fn watch(volume: &VolumeId) -> Vec<String> {
    vec![volume.as_str().to_owned()]
}

/// The first multiple of `tick` that is not before `time`.
fn align(time: Instant, tick: Duration) -> Instant {
    match tick.as_micros() {
        0 => time,
        tick => Duration::from_micros(
            u64::try_from(time.as_micros().div_ceil(tick).saturating_mul(tick)).unwrap_or(u64::MAX),
        ),
    }
}

/// Where one operation stands between two backend calls. Pure.
struct Operation {
    watch: Vec<String>,
    resume: Option<String>,
    is_paced: bool,
    is_under_way: bool,
    backoff: Backoff,
    effect: Effect,
    reason: String,
}

enum Next<T> {
    Return(Result<T, Error>),
    Wait(Duration),
}

impl Operation {
    fn new(watch: Vec<String>) -> Self {
        Self {
            watch,
            resume: None,
            is_paced: true,
            is_under_way: false,
            backoff: Backoff::default(),
            effect: Effect::None,
            reason: "it was just begun".to_owned(),
        }
    }

    /// The same, as the next call begins with it.
    fn for_another_call(self) -> Self {
        Self { is_paced: true, backoff: Backoff::default(), ..self }
    }

    fn follow<T>(&mut self, answer: Result<Answer<T>, Error>) -> Next<T> {
        match answer {
            Ok(Answer::Done(value)) => Next::Return(Ok(value)),
            Ok(Answer::Pending(pending)) => Next::Wait(self.pend(pending)),
            Err(error) if error.kind.is_transient() => {
                if error.effect == Effect::Unknown {
                    self.effect = Effect::Unknown;
                }
                let wait = self.backoff.next(error.retry_after);
                self.is_paced = true;
                self.reason = error.to_string();
                Next::Wait(wait.min(LONGEST_WAIT))
            }
            Err(mut error) => {
                if self.effect == Effect::Unknown && !error.is_about_what_exists() {
                    error.effect = Effect::Unknown;
                }
                Next::Return(Err(error))
            }
        }
    }

    fn pend(&mut self, pending: Pending) -> Duration {
        if !pending.watch.is_empty() {
            self.watch = pending.watch;
        }
        self.resume = pending.resume;
        self.is_under_way = true;
        // What follows a `pending` is mostly a look at what was observed; it is paced again as soon
        // as it fails.
        self.is_paced = false;
        self.backoff.reset();
        self.reason = pending.reason;
        Duration::from_millis(u64::from(pending.after_ms)).clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }

    /// What was begun goes on in the cloud although this host may not look at it any more.
    fn unseen(&self, error: Error) -> Error {
        if self.is_under_way && !error.kind.is_transient() {
            error.with_unknown_effect()
        } else {
            error
        }
    }

    fn out_of_time(&self) -> Error {
        Error::new(
            ErrorKind::DeadlineExceeded,
            Blame::Cloud,
            format!("the caller's time is over and the operation goes on: {}", self.reason),
        )
        .with_hint("it is called again by itself and will go on from there")
        .with_unknown_effect()
    }
}

#[cfg(test)]
pub(crate) mod tests;
