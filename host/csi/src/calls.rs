//! One call from its arrival to its answer: time, bound, thread, cancellation, log line.
//!
//! The core blocks, so each call gets a thread. Threads are bounded in lanes, so that a controller
//! whose calls all wait for the cloud can still be probed, and a node can still unmount.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::metadata::MetadataMap;
use tonic::{Code, Response, Status};
use wharf_core::ports::{Call, Clock};
use wharf_core::types::Description;
use wharf_core::{Blame, Error, ErrorKind};

use crate::capabilities::Described;
use crate::observer::{Answered, CallObserver, Work};
use crate::status;
use crate::subject::Subject;
use crate::timeout::Allowance;

/// A controller's calls wait for the cloud on their threads, and share one observation: more of
/// them cost memory (a waiting thread touches some 50 KiB) and no more requests. The attacher may
/// be run with 1200 workers.
const CONTROLLER_THREADS: usize = 1280;
/// A node works on a handful of volumes at a time; at its start kubelet calls for every pod at once
/// (110 by default).
const NODE_THREADS: usize = 128;
/// Who we are, what we can do, are we alive: quick, and never behind the others.
const IDENTITY_THREADS: usize = 32;
/// Blocking threads that one driver's calls can take: what `max_blocking_threads` of the runtime
/// should be at least. With fewer, calls that were admitted wait for a thread.
pub const BLOCKING_THREADS: usize = CONTROLLER_THREADS + NODE_THREADS + IDENTITY_THREADS;
/// Calls that wait for a permit. More than this is a defect of the caller, which is asked to come
/// back.
const MAX_WAITING: usize = 2048;
/// A call of our own asks a backend to describe itself, which may have to be compiled first.
const OWN_CALLS: Duration = Duration::from_secs(60);
/// Longer ids are cut in the log; CSI's bound for them, which may not be checked yet where the line
/// is written.
const MAX_LOGGED_ID: usize = 128;

/// The CSI service that a call is of; it competes for threads with the calls of the same service.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CsiService {
    Identity,
    Controller,
    Node,
}

/// Every call of one server.
pub(crate) struct Calls {
    driver: Arc<str>,
    clock: Arc<dyn Clock>,
    observer: Option<Arc<dyn CallObserver>>,
    identity: Arc<Semaphore>,
    controller: Arc<Semaphore>,
    node: Arc<Semaphore>,
    waiting: Semaphore,
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    next: u64,
    calls: HashMap<u64, Call>,
}

impl Calls {
    pub(crate) fn new(
        driver: &str,
        clock: Arc<dyn Clock>,
        observer: Option<Arc<dyn CallObserver>>,
    ) -> Arc<Self> {
        let permits = |threads| Arc::new(Semaphore::new(threads));
        Arc::new(Self {
            driver: driver.into(),
            clock,
            observer,
            identity: permits(IDENTITY_THREADS),
            controller: permits(CONTROLLER_THREADS),
            node: permits(NODE_THREADS),
            waiting: Semaphore::new(MAX_WAITING),
            running: Mutex::default(),
        })
    }

    /// A call has arrived. `object`: the volume's id or name, for the log.
    pub(crate) fn begin(
        self: &Arc<Self>,
        rpc: &'static str,
        metadata: &MetadataMap,
        object: &str,
    ) -> Rpc {
        let allowance = Allowance::of(metadata);
        let call = Call::until(self.clock.now() + allowance.work);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let key = running.next;
        running.next += 1;
        running.calls.insert(key, call.clone());
        drop(running);
        let object = object.chars().take(MAX_LOGGED_ID).collect();
        Rpc {
            calls: Arc::clone(self),
            key,
            name: rpc,
            object,
            subject: Subject::default(),
            call,
            allowance,
            began: Instant::now(),
            is_answered: false,
            is_routine: false,
        }
    }

    /// A call that no client made, for what the host wants to know.
    pub(crate) fn for_ourselves(&self) -> Call {
        Call::until(self.clock.now() + OWN_CALLS)
    }

    /// Tells every call that nobody waits any more.
    pub(crate) fn cancel_all(&self) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .calls
            .values()
            .for_each(Call::cancel);
    }

    fn permits(&self, service: CsiService) -> Arc<Semaphore> {
        Arc::clone(match service {
            CsiService::Identity => &self.identity,
            CsiService::Controller => &self.controller,
            CsiService::Node => &self.node,
        })
    }
}

/// One call. Dropped before it is answered, it is cancelled: the client hung up or its time is
/// over.
pub(crate) struct Rpc {
    calls: Arc<Calls>,
    key: u64,
    name: &'static str,
    object: String,
    subject: Subject,
    call: Call,
    allowance: Allowance,
    began: Instant,
    is_answered: bool,
    is_routine: bool,
}

impl Rpc {
    /// What else is known of it, for the log.
    pub(crate) fn about(mut self, subject: Subject) -> Self {
        self.subject = subject;
        self
    }

    /// Asked many times a minute by kubelet and the sidecars, about no volume: a good answer is
    /// worth a line for whoever looks into the server, and no other.
    pub(crate) fn routine(mut self) -> Self {
        self.is_routine = true;
        self
    }

    /// Runs `work` on what was parsed, on a thread of its own, and answers.
    pub(crate) async fn run<P, A>(
        self,
        service: CsiService,
        parsed: Result<P, Error>,
        work: impl FnOnce(&Call, P) -> Result<A, Error> + Send + 'static,
    ) -> Result<Response<A>, Status>
    where
        P: Send + 'static,
        A: Send + 'static,
    {
        let result = match parsed {
            Ok(parsed) => self.work(service, move |call| work(call, parsed)).await,
            Err(error) => Err(error),
        };
        self.answer(result)
    }

    /// Answers with what is at hand, on this thread. Handing a call to another thread and waking
    /// this one again costs several times what such an answer does.
    pub(crate) fn answer<A>(mut self, result: Result<A, Error>) -> Result<Response<A>, Status> {
        self.is_answered = true;
        self.log(&result);
        self.observe(code_of(&result));
        result.map(Response::new).map_err(|error| status::of(&error))
    }

    /// Answers on this thread with what can be said of a description that is at hand, and on a
    /// thread of its own where the backend has to be loaded or asked for it.
    pub(crate) async fn described<A: Send + 'static>(
        self,
        described: &Described,
        say: impl FnOnce(Result<Arc<Description>, Error>) -> Result<A, Error> + Send + 'static,
    ) -> Result<Response<A>, Status> {
        let rpc = self.routine();
        if let Some(description) = described.at_hand() {
            return rpc.answer(say(Ok(description)));
        }
        let described = described.clone();
        let work = move |call: &Call, ()| say(described.now_or_last(call));
        // In a box, so that the usual answer's future has no room for it: gRPC allocates each
        // future, and the allocator of the static binary asks the kernel for memory of this size.
        Box::pin(rpc.run(CsiService::Identity, Ok(()), work)).await
    }

    /// A call that this version does not offer.
    pub(crate) fn refuse<A>(self) -> Result<Response<A>, Status> {
        let error = Error::unsupported(format!("{} is not offered", self.name));
        self.answer(Err(error))
    }

    async fn work<A: Send + 'static>(
        &self,
        service: CsiService,
        work: impl FnOnce(&Call) -> Result<A, Error> + Send + 'static,
    ) -> Result<A, Error> {
        let permit = self.admit(service).await?;
        let call = self.call.clone();
        let (calls, rpc, volume) = (Arc::clone(&self.calls), self.name, self.object.clone());
        let arrived = self.began;
        let thread = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut working = calls.observer.as_ref().map(|observer| {
                let (driver, deadline) = (&*calls.driver, call.deadline());
                observer.working(&Work { driver, rpc, volume: &volume, arrived, deadline })
            });
            let result = work(&call);
            if let Some(working) = &mut working {
                working.ended(status::name(code_of(&result)));
            }
            result
        });
        // The core ends by itself at its deadline; this only catches work that is stuck, in a mount
        // that does not return for example. The thread and its permit stay taken until it
        // does.
        let patience =
            self.allowance.work.saturating_sub(self.began.elapsed()) + self.allowance.margin / 2;
        match tokio::time::timeout(patience, thread).await {
            Ok(Ok(result)) => result,
            Ok(Err(_panicked)) => {
                Err(Error::internal(format!("{} ended in a defect of wharf", self.name))
                    .with_unknown_effect())
            }
            Err(_elapsed) => Err(out_of_time("it is still running").with_unknown_effect()),
        }
    }

    async fn admit(&self, service: CsiService) -> Result<OwnedSemaphorePermit, Error> {
        let permits = self.calls.permits(service);
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = self.calls.waiting.try_acquire().map_err(|_| {
            Error::unavailable(format!("{MAX_WAITING} calls are waiting already; nothing was done"))
        })?;
        let patience = self.allowance.work.saturating_sub(self.began.elapsed());
        match tokio::time::timeout(patience, permits.acquire_owned()).await {
            Ok(Ok(permit)) if !self.call.is_cancelled() => Ok(permit),
            Ok(Ok(_)) => Err(Error::unavailable("the server is ending; nothing was done")),
            Ok(Err(_closed)) => Err(Error::unavailable("the server has ended; nothing was done")),
            Err(_elapsed) => {
                Err(out_of_time("every thread was busy for so long; nothing was done"))
            }
        }
    }

    fn observe(&self, code: Code) {
        if let Some(observer) = &self.calls.observer {
            observer.answered(&Answered {
                driver: &self.calls.driver,
                rpc: self.name,
                code: status::name(code),
                duration: self.began.elapsed(),
            });
        }
    }

    /// Method, object, pod or claim, code and time; of an error also its kind, its effect, the
    /// cloud's code and the reason, without what was in the request.
    fn log<A>(&self, result: &Result<A, Error>) {
        let elapsed_ms = milliseconds(self.began.elapsed());
        match result {
            Ok(_) if self.is_routine => {
                tracing::debug!(rpc = self.name, code = ?Code::Ok, elapsed_ms, "call answered");
            }
            Ok(_) => {
                tracing::info!(
                    rpc = self.name,
                    volume = self.object,
                    pod = self.pod(),
                    claim = self.claim(),
                    code = ?Code::Ok,
                    elapsed_ms,
                    "call answered"
                )
            }
            Err(error) => tracing::warn!(
                rpc = self.name,
                volume = self.object,
                pod = self.pod(),
                claim = self.claim(),
                code = ?status::code(error.kind, error.effect),
                kind = ?error.kind,
                effect = ?error.effect,
                cloud_code = error.code.as_deref().unwrap_or_default(),
                reason = self.subject.clean(&error.to_string()),
                elapsed_ms,
                "call refused"
            ),
        }
    }

    /// Left out of the line where it is not known.
    fn pod(&self) -> Option<&str> {
        Some(self.subject.pod.as_str()).filter(|pod| !pod.is_empty())
    }

    fn claim(&self) -> Option<&str> {
        Some(self.subject.claim.as_str()).filter(|claim| !claim.is_empty())
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        self.calls.running.lock().unwrap_or_else(PoisonError::into_inner).calls.remove(&self.key);
        self.call.cancel();
        if !self.is_answered {
            self.observe(Code::Cancelled);
            let elapsed_ms = milliseconds(self.began.elapsed());
            tracing::warn!(rpc = self.name, volume = self.object, code = ?Code::Cancelled, elapsed_ms, "call abandoned by its client");
        }
    }
}

fn code_of<A>(result: &Result<A, Error>) -> Code {
    result.as_ref().map_or_else(|error| status::code(error.kind, error.effect), |_| Code::Ok)
}

fn out_of_time(why: &str) -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        Blame::Host,
        format!("the caller's time is over: {why}"),
    )
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct StoppedClock;

    impl Clock for StoppedClock {
        fn now(&self) -> Duration {
            Duration::ZERO
        }

        fn sleep(&self, _duration: Duration, _call: &Call) {}
    }

    fn calls() -> Arc<Calls> {
        Calls::new("fake", Arc::new(StoppedClock), None)
    }

    fn within(timeout: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", timeout.parse().unwrap());
        metadata
    }

    #[tokio::test]
    async fn a_full_lane_holds_up_its_own_calls_and_no_others() {
        let calls = calls();
        let _taken = Arc::clone(&calls.controller)
            .acquire_many_owned(u32::try_from(CONTROLLER_THREADS).unwrap())
            .await
            .unwrap();
        let probe = calls
            .begin("Probe", &within("5S"), "")
            .run(CsiService::Identity, Ok(()), |_, ()| Ok(1))
            .await;
        assert_eq!(probe.unwrap().into_inner(), 1);
        let unstage = calls
            .begin("NodeUnstageVolume", &within("5S"), "")
            .run(CsiService::Node, Ok(()), |_, ()| Ok(2))
            .await;
        assert_eq!(unstage.unwrap().into_inner(), 2);
        let create = calls
            .begin("CreateVolume", &within("40m"), "")
            .run(CsiService::Controller, Ok(()), |_, ()| Ok(3))
            .await;
        let refused = create.unwrap_err();
        assert_eq!(refused.code(), Code::DeadlineExceeded);
        assert!(refused.message().contains("nothing was done"));
    }

    #[tokio::test]
    async fn a_caller_that_sends_more_than_can_wait_is_told_to_come_back() {
        let calls = calls();
        let _taken = Arc::clone(&calls.controller)
            .acquire_many_owned(u32::try_from(CONTROLLER_THREADS).unwrap())
            .await
            .unwrap();
        let _waiting =
            calls.waiting.acquire_many(u32::try_from(MAX_WAITING).unwrap()).await.unwrap();
        let refused = calls
            .begin("CreateVolume", &within("5S"), "")
            .run(CsiService::Controller, Ok(()), |_, ()| Ok(()))
            .await;
        assert_eq!(refused.unwrap_err().code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn a_call_that_panics_is_not_reported_as_final() {
        let broken = calls()
            .begin("CreateVolume", &within("5S"), "")
            .run(CsiService::Controller, Ok(()), |_, ()| -> Result<(), _> { panic!("a defect") })
            .await;
        assert_eq!(broken.unwrap_err().code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn a_call_is_forgotten_once_it_is_answered_or_abandoned() {
        let calls = calls();
        calls
            .begin("Probe", &within("5S"), "")
            .run(CsiService::Identity, Ok(()), |_, ()| Ok(()))
            .await
            .unwrap();
        let abandoned = calls.begin("DeleteVolume", &within("5S"), "vol-1");
        let call = abandoned.call.clone();
        assert_eq!(calls.running.lock().unwrap().calls.len(), 1);
        drop(abandoned);
        assert!(call.is_cancelled());
        assert!(calls.running.lock().unwrap().calls.is_empty());
    }
}
