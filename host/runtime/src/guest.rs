//! One call of one guest: a fresh store, a fresh instance, the function, and both are gone.
//! Whatever a guest does ends here, as a value or as an error that names the component, the
//! function and what happened.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wasmtime::component::{Component, Linker};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};
use wharf_core::manifest::Manifest;
use wharf_core::ports::{Call, Clock};
use wharf_core::types::Parameters;
use wharf_core::{Blame, Effect, Error, ErrorKind};

use crate::bindings::imports::types;
use crate::bounds::TEXT_BYTES;
use crate::contract::VERSION;
use crate::convert::error_from_guest;
use crate::engine::Engine;
use crate::guest_log::GuestLog;
use crate::host::{HostCtx, Outbound};
use crate::limits::{CROSSING_BYTES, Limits, Stop};
use crate::observer::{CallEvent, Outcome, RuntimeObserver};
use crate::share::{Admission, Network, Share};
use crate::wasi;
use wharf_core::Secret;

thread_local! {
    /// How long components ran inside of the call that this thread makes.
    static NESTED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// What calling an export gives: a trap, or the component's own answer.
pub(crate) type Invoked<W> = wasmtime::Result<Result<W, types::Error>>;

/// What calls of any component need from the process.
#[derive(Clone)]
pub struct CallPorts {
    /// The clock that calls' deadlines are in.
    pub clock: Arc<dyn Clock>,
    /// What one call may use.
    pub limits: Limits,
    /// Hears of every call.
    pub observer: Option<Arc<dyn RuntimeObserver>>,
    /// What all calls of whoever is called may take of the process together.
    pub share: Arc<Share>,
}

/// One generation of one component, whichever its world.
pub(crate) struct Guest {
    pub(crate) engine: Engine,
    pub(crate) manifest: Manifest,
    pub(crate) generation: u64,
    label: Arc<str>,
    calls: AtomicU64,
    broken: AtomicU64,
}

/// What one call brings along.
pub(crate) struct Entry<'a> {
    pub(crate) call: &'a Call,
    pub(crate) function: &'static str,
    pub(crate) admission: Arc<Admission>,
    pub(crate) outbound: Option<Outbound>,
    pub(crate) config: Arc<Parameters>,
    pub(crate) secrets: Vec<Secret>,
}

impl CallPorts {
    /// Waits until the share has room for a call.
    pub(crate) fn admit(
        &self,
        network: Network,
        function: &'static str,
        call: &Call,
    ) -> Result<Arc<Admission>, Error> {
        let admitted = self.share.enter(network, function, call, self.clock.as_ref());
        admitted.map_err(|error| error.context(format!("`{function}`")))
    }
}

impl Guest {
    pub(crate) fn new(engine: &Engine, manifest: Manifest, generation: u64) -> Self {
        let label = format!("{} {}", manifest.name, manifest.version).into();
        Self {
            engine: engine.clone(),
            manifest,
            generation,
            label,
            calls: AtomicU64::new(0),
            broken: AtomicU64::new(0),
        }
    }

    /// Calls so far, and how many of them trapped or broke a bound.
    pub(crate) fn health(&self) -> (u64, u64) {
        (self.calls.load(Ordering::Relaxed), self.broken.load(Ordering::Relaxed))
    }

    /// Runs one function. `check` judges the converted answer.
    pub(crate) fn call<B, W, T>(
        &self,
        ports: &CallPorts,
        entry: Entry<'_>,
        instantiate: impl FnOnce(&mut Store<HostCtx>) -> wasmtime::Result<B>,
        invoke: impl FnOnce(&B, &mut Store<HostCtx>) -> Invoked<W>,
        convert: impl FnOnce(W, &mut HostCtx) -> wasmtime::Result<T>,
        check: impl FnOnce(&T) -> Result<(), Error>,
    ) -> Result<T, Error> {
        let (start, call, function) = (Instant::now(), entry.call, entry.function);
        let remaining = call.remaining(ports.clock.now());
        if call.is_cancelled() || remaining.is_zero() {
            return Err(Error::new(
                ErrorKind::DeadlineExceeded,
                Blame::Host,
                format!("no time is left for `{function}`"),
            ));
        }
        let _ticking = self.engine.ticking()?;
        let before = NESTED.replace(Duration::ZERO);
        let mut store = self.store(ports, remaining, entry);
        let ran = match instantiate(&mut store) {
            Ok(instance) => invoke(&instance, &mut store),
            Err(error) if error.is::<Trap>() || error.is::<PoolConcurrencyLimitError>() => {
                Err(error)
            }
            Err(error) if lacks_memory(&error) => Err(error.context(NoMemory)),
            // Linking compares names; the types of exports are compared only now.
            Err(error) => Err(error.context(CannotInstantiate)),
        };
        wasi::flush(store.data_mut());
        let (result, outcome) = self.conclude(store.data_mut(), function, ran, convert, check);
        self.calls.fetch_add(1, Ordering::Relaxed);
        if matches!(outcome, Outcome::Broken(_)) {
            self.broken.fetch_add(1, Ordering::Relaxed);
        }
        let (duration, nested) = (start.elapsed(), NESTED.get());
        NESTED.set(before + duration);
        if let Some(observer) = &ports.observer {
            let (component, sent) = (&*self.manifest.name, &store.data().sent);
            observer.called(&CallEvent {
                world: self.manifest.world,
                component,
                generation: self.generation,
                function,
                began: start,
                duration,
                http_requests: sent.requests,
                waited: sent.waited.saturating_sub(nested),
                nested,
                outcome,
            });
        }
        result
    }

    fn store(
        &self,
        ports: &CallPorts,
        remaining: Duration,
        mut entry: Entry<'_>,
    ) -> Store<HostCtx> {
        let (label, bytes) = (Arc::clone(&self.label), ports.limits.log_bytes);
        let mut log = GuestLog::new(label, entry.function, bytes);
        log.hide(std::mem::take(&mut entry.secrets));
        let ctx = HostCtx::new(entry, remaining, &ports.limits, log);
        let mut store = Store::new(self.engine.wasmtime(), ctx);
        store.limiter(|ctx| &mut ctx.memory);
        store.set_hostcall_fuel(CROSSING_BYTES);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            Ok(match store.data_mut().watch.check() {
                Some(_) => UpdateDeadline::Interrupt,
                None => UpdateDeadline::Continue(1),
            })
        });
        store
    }

    fn conclude<W, T>(
        &self,
        ctx: &mut HostCtx,
        function: &'static str,
        ran: Invoked<W>,
        convert: impl FnOnce(W, &mut HostCtx) -> wasmtime::Result<T>,
        check: impl FnOnce(&T) -> Result<(), Error>,
    ) -> (Result<T, Error>, Outcome) {
        match ran {
            Ok(Ok(value)) => match convert(value, ctx) {
                Ok(value) => match check(&value) {
                    Ok(()) => (Ok(value), Outcome::Answered),
                    Err(error) => broken(after_requests(ctx, error.context(self.at(function)))),
                },
                Err(error) => self.stopped(ctx, function, &error),
            },
            Ok(Err(error)) => {
                let error = ctx.retried_if_refused(judged(ctx, error_from_guest(error)));
                let outcome = Outcome::Failed(error.kind);
                (Err(error), outcome)
            }
            Err(_) if ctx.was_refused_memory() && ctx.watch.stopped().is_none() => {
                let error = Error::unavailable(format!(
                    "{}: there is no memory for it: other calls of {} have what they may have \
                     together",
                    self.at(function),
                    ctx.owner()
                ))
                .with_hint("it is called again by itself; `limits` in the configuration has it");
                (Err(unknown_if(ctx.sent.mutated, error)), Outcome::Failed(ErrorKind::Unavailable))
            }
            Err(trap) if trap.is::<PoolConcurrencyLimitError>() => {
                let error = Error::unavailable(format!(
                    "{}: all places for backend calls are taken",
                    self.at(function)
                ));
                (Err(error), Outcome::Failed(ErrorKind::Unavailable))
            }
            Err(trap) if trap.is::<NoMemory>() => {
                let error = Error::new(
                    ErrorKind::FailedPrecondition,
                    Blame::Host,
                    format!("{}: this process gets no more memory", self.at(function)),
                )
                .with_hint(NoMemory::HINT);
                (Err(error), Outcome::Failed(ErrorKind::FailedPrecondition))
            }
            Err(trap) => self.stopped(ctx, function, &trap),
        }
    }

    fn stopped<T>(
        &self,
        ctx: &HostCtx,
        function: &'static str,
        trap: &wasmtime::Error,
    ) -> (Result<T, Error>, Outcome) {
        let at = self.at(function);
        match ctx.watch.stopped() {
            Some(Stop::Cancelled) => {
                let error = Error::new(
                    ErrorKind::Aborted,
                    Blame::Host,
                    format!("{at}: stopped, because the caller no longer waits"),
                );
                return (
                    Err(unknown_if(ctx.sent.mutated, error)),
                    Outcome::Failed(ErrorKind::Aborted),
                );
            }
            Some(Stop::Deadline) => {
                let error = Error::new(
                    ErrorKind::DeadlineExceeded,
                    Blame::Host,
                    format!("{at}: stopped at the caller's deadline"),
                );
                return (
                    Err(unknown_if(ctx.sent.mutated, error)),
                    Outcome::Failed(ErrorKind::DeadlineExceeded),
                );
            }
            Some(Stop::Wall(_) | Stop::Cpu(_)) | None => {}
        }
        let backtrace = tidy(ctx, &format!("{trap:?}"));
        tracing::error!(target: "wharf::guest", component = &*self.label, generation = self.generation, function, "trapped: {backtrace}");
        let error =
            Error::new(ErrorKind::Internal, Blame::Backend, format!("{at}: {}", cause(ctx, trap)))
                .with_hint(
                    "this is a defect of the backend; `wharf backend rollback` brings the last \
                     generation back",
                );
        broken(after_requests(ctx, error))
    }

    fn at(&self, function: &str) -> String {
        format!("component {} (generation {}) in `{function}`", self.label, self.generation)
    }
}

/// A guest's own error, in bounds, and with what the host knows better: whether a mutating request
/// stayed unanswered.
fn judged(ctx: &HostCtx, mut error: Error) -> Error {
    error.message = tidy(ctx, &error.message);
    error.hint = error.hint.map(|hint| tidy(ctx, &hint));
    error.code = error.code.map(|code| tidy(ctx, &code));
    if ctx.sent.unanswered {
        error.effect = Effect::Unknown;
    }
    error
}

fn tidy(ctx: &HostCtx, text: &str) -> String {
    ctx.log.scrubber().clean(text, TEXT_BYTES)
}

/// Why it stopped, best source first: what the guest said, what the host refused, what the
/// processor did.
fn cause(ctx: &HostCtx, trap: &wasmtime::Error) -> String {
    if let Some(panic) = ctx.log.panic() {
        return format!("it panicked: {panic}");
    }
    match ctx.watch.stopped() {
        Some(Stop::Wall(bound)) => {
            return format!("it took longer than {} s, requests included", bound.as_secs_f32());
        }
        Some(Stop::Cpu(bound)) => {
            return format!("it computed for longer than {} s", bound.as_secs_f32());
        }
        Some(Stop::Cancelled | Stop::Deadline) | None => {}
    }
    if let Some(exceeded) = ctx.memory.exceeded() {
        return exceeded.to_owned();
    }
    if trap.is::<CannotInstantiate>() {
        let cause = tidy(ctx, &trap.root_cause().to_string());
        return format!(
            "it cannot be started: a function or a type in it is not that of contract {VERSION}; \
             build it against that contract ({cause})"
        );
    }
    match trap.downcast_ref::<Trap>() {
        Some(trap) => format!("it trapped: {trap}"),
        None => tidy(ctx, &trap.root_cause().to_string()),
    }
}

/// A defect after a mutating request must not look final: what the request did is not known, and
/// the next call finds out.
fn after_requests(ctx: &HostCtx, mut error: Error) -> Error {
    if ctx.sent.mutated {
        error.kind = ErrorKind::Unavailable;
        error.effect = Effect::Unknown;
    }
    error
}

fn unknown_if(mutated: bool, error: Error) -> Error {
    if mutated { error.with_unknown_effect() } else { error }
}

fn broken<T>(error: Error) -> (Result<T, Error>, Outcome) {
    let outcome = Outcome::Broken(error.kind);
    (Err(error), outcome)
}

/// It could not be instantiated, because the system gave no memory or address space for it.
#[derive(Debug, thiserror::Error)]
#[error("there is no memory for it")]
struct NoMemory;

impl NoMemory {
    const HINT: &str = "raise the memory or address-space limit of the process that runs wharf: \
                        a call maps about 200 MiB and touches a few of them";
}

/// Whether an error comes from the system's having no memory to give.
pub(crate) fn lacks_memory(error: &wasmtime::Error) -> bool {
    let no_memory = rustix::io::Errno::NOMEM;
    error.chain().any(|cause| {
        cause.downcast_ref::<rustix::io::Errno>() == Some(&no_memory)
            || cause
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| error.raw_os_error() == Some(no_memory.raw_os_error()))
    })
}

/// It could not be instantiated, and not because it trapped.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be instantiated")]
struct CannotInstantiate;

/// What a component of a world is linked with: the world's imports, and an empty WASI where its
/// tool chain insists on one.
pub(crate) fn linker(
    engine: &Engine,
    component: &Component,
    add_world: impl FnOnce(&mut Linker<HostCtx>) -> wasmtime::Result<()>,
) -> wasmtime::Result<Linker<HostCtx>> {
    let mut linker = Linker::new(engine.wasmtime());
    add_world(&mut linker)?;
    if imports_wasi(engine, component) {
        wasi::link(&mut linker)?;
    }
    Ok(linker)
}

/// Whether a component's tool chain insists on WASI.
fn imports_wasi(engine: &Engine, component: &Component) -> bool {
    component.component_type().imports(engine.wasmtime()).any(|(name, _)| name.starts_with("wasi:"))
}
