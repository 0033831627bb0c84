//! Controller verbs: observe, ask the backend for one decision, wait, repeat, until it is done or
//! the caller's time is over.
//!
//! Deadlines, back-off, coalescing and the in-flight guard exist here and nowhere else; how fast
//! requests follow each other is decided where they leave, in the runtime. Front ends call this on
//! a thread of their own; nothing here knows how the caller speaks. The loop keeps no state that
//! matters: killed anywhere, the next call of the same verb observes and goes on. Where a create
//! stood when its caller's time was over is remembered, to save time.

use std::sync::Arc;
use std::time::Duration;

use crate::backoff::{Backoff, Congestion};
use crate::error::{Blame, Effect, Error, ErrorKind};
use crate::inflight::{InFlight, InFlightGuard, UnderWay};
use crate::observe_batcher::{ObserveBatcher, Window};
use crate::policy::NodePolicy;
use crate::ports::{Ask, Backend, Call, Clock, Instant, Performer};
use crate::types::{
    Answer, Description, LIST_PAGE, NodeId, Pending, Perform, Progress, ResourceId, Volume,
    VolumeId,
};
use crate::unfinished::Unfinished;
use crate::verbs::{
    AskExt as _, Change, Create, CreateRequest, List, ListRequest, Listed, Query, Read, Verb,
};

/// How long the first question of a moment waits for others to join it: less than a cloud request
/// takes, and enough for a burst of calls that arrive together.
const OBSERVE_WINDOW: Window = Window {
    usual: Duration::from_millis(8),
    // Calls whose time ran out together come back within a few hundred milliseconds.
    congested: Duration::from_millis(200),
};
/// Operations that wait wake up together, on multiples of this, so that one observation serves them
/// all.
const TICK: Duration = Duration::from_millis(250);
/// The same while the cloud asks to slow down: a read a second is a small part of any published
/// rate, and an operation that waits for its turn for many seconds does not miss one.
const CONGESTED_TICK: Duration = Duration::from_secs(1);
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
    congestion: Arc<Congestion>,
    batcher: ObserveBatcher,
    in_flight: InFlight,
    unfinished: Unfinished<Operation>,
    tick: Duration,
    local: Option<LocalPerformer>,
}

/// Performs plans on the machine that this process runs on, where a backend answers `perform`.
struct LocalPerformer {
    performer: Arc<dyn Performer>,
    policy: NodePolicy,
}

impl Controller {
    /// A controller for many calls at once.
    pub fn new(
        driver: impl Into<String>,
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::coalescing(driver, backend, clock, OBSERVE_WINDOW, TICK)
    }

    fn coalescing(
        driver: impl Into<String>,
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        window: Window,
        tick: Duration,
    ) -> Self {
        let congestion = Arc::<Congestion>::default();
        let batcher = ObserveBatcher::new(
            Arc::clone(&backend),
            Arc::clone(&clock),
            Arc::clone(&congestion),
            window,
        );
        let in_flight = InFlight::new(Arc::clone(&clock));
        Self {
            driver: driver.into(),
            backend,
            clock,
            congestion,
            batcher,
            in_flight,
            unfinished: Unfinished::default(),
            tick,
            local: None,
        }
    }

    /// Performs what a backend asks for on this machine, as far as `policy` grants it. Without
    /// this, an answer `perform` is an error.
    #[must_use]
    pub fn performing_on(mut self, performer: Arc<dyn Performer>, policy: NodePolicy) -> Self {
        self.local = Some(LocalPerformer { performer, policy });
        self
    }

    /// A controller of a process that makes one call and exits: there is nobody to wait for.
    pub fn for_one_call(
        driver: impl Into<String>,
        backend: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self::coalescing(driver, backend, clock, Window::default(), Duration::ZERO)
    }

    /// The calls that are being worked on, the oldest first.
    pub fn under_way(&self) -> Vec<UnderWay> {
        self.in_flight.under_way()
    }

    /// What the active backend says of itself.
    ///
    /// # Errors
    /// When no generation of it can be loaded.
    pub fn describe(&self, call: &Call) -> Result<Arc<Description>, Error> {
        self.backend.description(call)
    }

    /// The same without waiting for anything; `None` where that is not possible now.
    pub fn description_at_hand(&self) -> Option<Arc<Description>> {
        self.backend.description_at_hand()
    }

    /// Creates the volume of this name, or finds it.
    pub fn create(&self, call: &Call, request: &CreateRequest) -> Result<Volume, Error> {
        let guard = self.in_flight.begin(&request.name, Create::NAME)?;
        let what = format!("create of volume {}", request.name);
        let earlier = self.unfinished.take(request, self.clock.now());
        let mut operation = earlier.unwrap_or_else(|| Operation::new(Vec::new()));
        let decide = self.decide::<Create, _>(call, request);
        let created = self.go_on(call, &what, Some(&guard), &mut operation, decide);
        if matches!(&created, Err(error) if error.kind == ErrorKind::DeadlineExceeded) {
            self.unfinished.insert(request, operation.for_another_call(), self.clock.now());
        }
        created
    }

    /// Changes a volume as the verb says, and waits until it is done.
    ///
    /// # Errors
    /// What the contract says of the verb; `Aborted` while another change of the volume is under
    /// way; `FailedPrecondition` when the volume would end while a workload of this machine has it;
    /// `DeadlineExceeded` when the caller's time is over first, and the change goes on.
    pub fn change<V>(&self, call: &Call, request: &V::Request) -> Result<V::Done, Error>
    where
        V: Change,
        dyn Backend: Ask<V>,
    {
        let volume = V::volume(request);
        let guard = self.in_flight.begin(volume.as_str(), V::NAME)?;
        if V::ENDS {
            self.check_not_shown(volume).map_err(|error| error.context(V::title(request)))?;
        }
        let decide = self.decide::<V, _>(call, request);
        self.drive(call, &V::title(request), Some(&guard), watch(volume), decide)
    }

    /// A share has no attachment that the cloud knows of, so where this machine is a node too, what
    /// it shows its workloads is looked at before the volume is ended.
    fn check_not_shown(&self, volume: &VolumeId) -> Result<(), Error> {
        let Some(local) = &self.local else { return Ok(()) };
        match local.performer.shown_at(&self.driver, volume)? {
            None => Ok(()),
            Some(path) => Err(Error::precondition(format!(
                "a workload of this machine has the volume at {}",
                path.display()
            ))
            .with_hint("it is deleted when the workload has ended")),
        }
    }

    /// Answers a verb that changes nothing. So no other call for the volume has to wait.
    ///
    /// # Errors
    /// What the contract says of the verb.
    pub fn query<V>(&self, call: &Call, request: &V::Request) -> Result<V::Answer, Error>
    where
        V: Query,
        dyn Backend: Ask<V>,
    {
        let watched = V::volume(request).map(watch).unwrap_or_default();
        self.drive(call, &V::title(request), None, watched, |progress| {
            Ask::<V>::ask(&*self.backend, call, request, progress).map(Answer::Done)
        })
    }

    /// The volume as the cloud has it now. Read-only.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn read(&self, call: &Call, volume: &VolumeId) -> Result<Volume, Error> {
        self.drive(call, &format!("look-up of volume {volume}"), None, watch(volume), |progress| {
            let observed = progress
                .observed
                .first()
                .ok_or_else(|| Error::internal("the observation that was asked for is missing"))?;
            self.backend.call::<Read>(call, observed).map(Answer::Done)
        })
    }

    /// Whether this node holds the volume. A missing volume is held by nobody. Read-only.
    pub fn is_attached(
        &self,
        call: &Call,
        volume: &VolumeId,
        node: &NodeId,
    ) -> Result<bool, Error> {
        match self.read(call, volume) {
            Ok(volume) => Ok(volume.attached_to.contains(node)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One page of this driver's volumes; `max_entries` zero: as many as one page holds. Read-only.
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
        let request = ListRequest {
            max_entries: match max_entries {
                0 => LIST_PAGE,
                asked => asked.min(LIST_PAGE),
            },
            starting_token: token.map(str::to_owned),
        };
        self.drive(call, what, None, Vec::new(), |_| {
            match self.backend.call::<List>(call, &request) {
                Err(error) if error.kind == ErrorKind::Aborted => {
                    Ok(Answer::Done(Err(error.context(what).context(&self.driver))))
                }
                listed => listed.map(|listed| Answer::Done(Ok(listed))),
            }
        })?
    }

    /// Asks the backend for one decision about a request.
    fn decide<'a, V, T>(
        &'a self,
        call: &'a Call,
        request: &'a V::Request,
    ) -> impl Fn(&Progress) -> Result<Answer<T>, Error> + 'a
    where
        V: Verb<Answer = Answer<T>>,
        dyn Backend: Ask<V>,
    {
        move |progress| Ask::<V>::ask(&*self.backend, call, request, progress)
    }

    /// The level-triggered loop behind every verb.
    fn drive<T>(
        &self,
        call: &Call,
        what: &str,
        guard: Option<&InFlightGuard>,
        watch: Vec<ResourceId>,
        decide: impl Fn(&Progress) -> Result<Answer<T>, Error>,
    ) -> Result<T, Error> {
        self.go_on(call, what, guard, &mut Operation::new(watch), decide)
    }

    fn go_on<T>(
        &self,
        call: &Call,
        what: &str,
        guard: Option<&InFlightGuard>,
        operation: &mut Operation,
        decide: impl Fn(&Progress) -> Result<Answer<T>, Error>,
    ) -> Result<T, Error> {
        loop {
            let tell = |what: &str| guard.into_iter().for_each(|guard| guard.waits_for(what));
            let answer = self.step(call, operation, &decide);
            let ended = match operation.follow(answer) {
                Next::Return(result) => Some(result),
                Next::Wait(wait) => {
                    tell(&operation.reason);
                    self.wait(call, wait, operation).err().map(Err)
                }
                Next::Perform(perform) => {
                    tell("a plan that is performed on this machine");
                    self.perform(call, &perform, operation).err().map(Err)
                }
            };
            if let Some(result) = ended {
                return result.map_err(|error| error.context(what).context(&self.driver));
            }
        }
    }

    /// Runs a plan on this machine. A passing failure is like one of the backend: it is asked
    /// again after a while, and the steps that are true by then are skipped.
    fn perform(
        &self,
        call: &Call,
        perform: &Perform,
        operation: &mut Operation,
    ) -> Result<(), Error> {
        let Some(local) = &self.local else {
            return Err(Error::precondition(
                "the backend asks for work on this machine, which this process does not do",
            )
            .with_hint("run the controller with a `node` section that grants the plan's steps"));
        };
        match local.performer.perform(call, &perform.plan, &local.policy) {
            Ok(()) => {
                operation.performed(perform);
                Ok(())
            }
            Err(error) => match operation.follow::<()>(Err(error)) {
                Next::Wait(wait) => self.wait(call, wait, operation),
                Next::Return(result) => result,
                Next::Perform(_) => Ok(()),
            },
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
            ids => self.batcher.observe(call, ids).map_err(|error| operation.unseen(error))?,
        };
        let answer = decide(&Progress { observed, resume: operation.resume.clone() });
        if matches!(&answer, Err(error) if error.kind == ErrorKind::Throttled) {
            self.congestion.note(self.clock.now());
        }
        answer
    }

    /// Sleeps until the next common tick after `wait`, unless the caller's time is over before
    /// that.
    fn wait(&self, call: &Call, wait: Duration, operation: &Operation) -> Result<(), Error> {
        let now = self.clock.now();
        let tick = match self.congestion.is_recent(now) {
            true if !self.tick.is_zero() => CONGESTED_TICK,
            _ => self.tick,
        };
        let wake = align(now + wait, tick);
        if call.is_cancelled() || wake >= call.deadline() {
            return Err(operation.out_of_time());
        }
        self.clock.sleep(wake - now, call);
        if call.is_cancelled() { Err(operation.out_of_time()) } else { Ok(()) }
    }
}

fn watch(volume: &VolumeId) -> Vec<ResourceId> {
    vec![ResourceId::volume(volume)]
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
    watch: Vec<ResourceId>,
    resume: Option<String>,
    is_under_way: bool,
    backoff: Backoff,
    effect: Effect,
    reason: String,
}

enum Next<T> {
    Return(Result<T, Error>),
    Wait(Duration),
    Perform(Perform),
}

impl Operation {
    fn new(watch: Vec<ResourceId>) -> Self {
        Self {
            watch,
            resume: None,
            is_under_way: false,
            backoff: Backoff::default(),
            effect: Effect::None,
            reason: "it was just begun".to_owned(),
        }
    }

    /// The same, as the next call begins with it.
    fn for_another_call(self) -> Self {
        Self { backoff: Backoff::default(), ..self }
    }

    fn follow<T>(&mut self, answer: Result<Answer<T>, Error>) -> Next<T> {
        match answer {
            Ok(Answer::Done(value)) => Next::Return(Ok(value)),
            Ok(Answer::Pending(pending)) => Next::Wait(self.pend(pending)),
            Ok(Answer::Perform(perform)) => Next::Perform(perform),
            Err(error) if error.kind.is_transient() => {
                if error.effect == Effect::Unknown {
                    self.effect = Effect::Unknown;
                }
                let wait = self.backoff.next_pause().max(error.retry_after.unwrap_or_default());
                self.reason = error.to_string();
                Next::Wait(wait.min(LONGEST_WAIT))
            }
            Err(mut error) => {
                if self.effect == Effect::Unknown && !error.observed {
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
        self.backoff.reset();
        self.reason = pending.reason;
        Duration::from_millis(u64::from(pending.after_ms)).clamp(SHORTEST_WAIT, LONGEST_WAIT)
    }

    /// The machine did what the backend asked for.
    fn performed(&mut self, perform: &Perform) {
        self.resume.clone_from(&perform.resume);
        self.is_under_way = true;
        self.backoff.reset();
        self.reason = format!("performed: {}", perform.plan.summary);
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
