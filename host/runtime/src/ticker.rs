//! The clock tick that lets the host look at a running guest: one OS thread, started by the first
//! call, asleep while no guest runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::EngineWeak;
use wharf_core::Error;

/// How long a guest runs before the host looks at it again. Short enough for deadlines in tenths of
/// a second.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Ticks without a call before the thread goes to sleep: waking it costs more than a call, so a
/// busy server never does.
const IDLE_TICKS: u32 = 100;

/// Advances an engine's epoch while calls run.
pub(crate) struct Ticker {
    engine: EngineWeak,
    shared: Arc<Shared>,
    thread: OnceLock<Option<Thread>>,
}

#[derive(Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    ended: AtomicBool,
}

impl Ticker {
    pub(crate) fn new(engine: EngineWeak) -> Self {
        Self { engine, shared: Arc::default(), thread: OnceLock::new() }
    }

    /// Ticks until the guard is dropped.
    ///
    /// # Errors
    /// `Unavailable` when the machine refuses the thread: no call may run then, because nothing
    /// would end it.
    pub(crate) fn begin(&self) -> Result<TickingGuard<'_>, Error> {
        let thread =
            self.thread.get_or_init(|| start(self.engine.clone(), Arc::clone(&self.shared)));
        let Some(thread) = thread else {
            return Err(Error::unavailable(
                "this machine refuses the thread that bounds backend calls",
            )
            .with_hint("raise the limit on threads (pids) of this process"));
        };
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            thread.unpark();
        }
        Ok(TickingGuard { shared: &self.shared })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(Some(thread)) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A call is running.
pub(crate) struct TickingGuard<'a> {
    shared: &'a Shared,
}

impl Drop for TickingGuard<'_> {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn start(engine: EngineWeak, shared: Arc<Shared>) -> Option<Thread> {
    let spawned = std::thread::Builder::new()
        .name("wharf-ticker".into())
        .stack_size(64 << 10)
        .spawn(move || tick(&engine, &shared));
    match spawned {
        Ok(handle) => Some(handle.thread().clone()),
        Err(error) => {
            tracing::error!(%error, "no thread for the guests' clock");
            None
        }
    }
}

fn tick(engine: &EngineWeak, shared: &Shared) {
    let mut idle = 0;
    while !shared.ended.load(Ordering::SeqCst) {
        if idle >= IDLE_TICKS {
            shared.asleep.store(true, Ordering::SeqCst);
            if shared.running.load(Ordering::SeqCst) == 0 && !shared.ended.load(Ordering::SeqCst) {
                std::thread::park();
            }
            shared.asleep.store(false, Ordering::SeqCst);
            idle = 0;
            continue;
        }
        std::thread::sleep(TICK);
        if shared.running.load(Ordering::SeqCst) == 0 {
            idle += 1;
            continue;
        }
        idle = 0;
        match engine.upgrade() {
            Some(engine) => engine.increment_epoch(),
            None => return,
        }
    }
}
