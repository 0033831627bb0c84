//! What the calls of one backend, or of one account's authenticator, may take of this process
//! together: instances that wait for a cloud, and memory.
//!
//! Shares are apart: whatever one backend does, the others' shares are as large as before, and the
//! sum of all shares is the bound of the process. Within a share, calls that change something leave
//! room for those that read, and both for those that only compute: an operation begins and ends
//! with a read, and what only computes (a plan, a description, a signature) takes microseconds and
//! must not wait for a cloud that hangs.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

#[cfg(test)]
mod tests;

/// Calls of one backend that may wait for a cloud at once: four times the requests that one account
/// sends to one endpoint at once, so that these are never too few. More would wait with an instance
/// in memory (1.25 MiB) where they can wait without one.
pub const CALLS_AT_ONCE: usize = 64;
/// Memory of one share: what changes may have of it (five eighths) is what one call may have, its
/// linear memory (64 MiB) and the answers to its requests (16 MiB), so that every call can run when
/// it is alone. Calls of a Rust guest need 1.25 MiB, so that [`CALLS_AT_ONCE`] fit.
pub const SHARE_BYTES: usize = 132 << 20;

/// Beside the calls that may change something, one of this many more may read.
const CHANGES_PER_READ: usize = 4;
/// Eighths of a share's memory that calls may hold: those that change something, those together
/// with those that read, and all.
const CHANGES_EIGHTHS: usize = 5;
const READS_EIGHTHS: usize = 6;
/// What a call takes besides linear memory and bodies: its store, its stack, its tables.
const CALL_OVERHEAD: usize = 128 << 10;
/// What every call is expected to need: a Rust guest's memory, and a little.
const FIRST_EXPECTED: usize = 1_280 << 10;
/// How often a waiting call checks whether its caller has gone; free room wakes it at once.
const CANCELLATION_CHECK: Duration = Duration::from_millis(200);

/// Whether a call may send requests, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// It has none.
    None,
    /// It reads what there is.
    Reads,
    /// It may change something.
    Changes,
}

/// How much a share is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimits {
    /// Calls that may change something, and so wait for a cloud, at once. There is room for a
    /// quarter more that read.
    pub calls: usize,
    /// Linear memory and bodies of all calls together.
    pub memory_bytes: usize,
}

impl Default for ShareLimits {
    fn default() -> Self {
        Self { calls: CALLS_AT_ONCE, memory_bytes: SHARE_BYTES }
    }
}

impl ShareLimits {
    /// The memory that a share needs, so that a call which takes so much can run when it is alone.
    pub fn memory_for(call_bytes: usize) -> usize {
        call_bytes.saturating_add(CALL_OVERHEAD).saturating_mul(8).div_ceil(CHANGES_EIGHTHS)
    }

    /// The most that calls of one kind may hold.
    fn bytes_for(&self, network: Network) -> usize {
        let eighths = match network {
            Network::Changes => CHANGES_EIGHTHS,
            Network::Reads => READS_EIGHTHS,
            Network::None => 8,
        };
        self.memory_bytes / 8 * eighths
    }

    fn permits_bytes(&self, held: Amounts) -> bool {
        let requesting = held.changing.saturating_add(held.reading);
        held.changing <= self.bytes_for(Network::Changes)
            && requesting <= self.bytes_for(Network::Reads)
            && requesting.saturating_add(held.computing) <= self.memory_bytes
    }

    fn permits_calls(&self, running: Amounts) -> bool {
        running.changing <= self.calls.max(1)
            && running.reading <= (self.calls / CHANGES_PER_READ).max(1)
    }
}

/// The share of one backend or account.
#[derive(Debug)]
pub struct Share {
    name: Arc<str>,
    limits: ShareLimits,
    state: Mutex<State>,
}

/// What is taken of a share at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareUse {
    /// Bytes that its calls hold.
    pub bytes: usize,
    /// The most that they may hold.
    pub limit_bytes: usize,
    /// Calls that run.
    pub calls: usize,
    /// Calls that wait for room.
    pub waiting: usize,
}

#[derive(Debug, Default)]
struct State {
    count: u64,
    waiting: BTreeMap<u64, Waiting>,
    running: Amounts,
    held: Amounts,
    /// What calls of a function needed lately.
    expected: HashMap<&'static str, usize>,
}

/// Calls, or bytes, of each kind.
#[derive(Debug, Default, Clone, Copy)]
struct Amounts {
    computing: usize,
    reading: usize,
    changing: usize,
}

impl Amounts {
    fn of(&mut self, network: Network) -> &mut usize {
        match network {
            Network::None => &mut self.computing,
            Network::Reads => &mut self.reading,
            Network::Changes => &mut self.changing,
        }
    }

    fn plus(mut self, network: Network, amount: usize) -> Self {
        let of = self.of(network);
        *of = of.saturating_add(amount);
        self
    }
}

#[derive(Debug)]
struct Waiting {
    network: Network,
    bytes: usize,
    woken: Arc<Condvar>,
}

impl Share {
    /// A share of its own. `name` is the operator's for whoever has it; requests take turns by it.
    pub fn new(name: impl Into<Arc<str>>, limits: ShareLimits) -> Arc<Self> {
        Arc::new(Self { name: name.into(), limits, state: Mutex::default() })
    }

    /// Whose it is.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What is taken of it now.
    pub fn in_use(&self) -> ShareUse {
        let state = self.lock();
        let sum = |of: Amounts| of.computing.saturating_add(of.reading).saturating_add(of.changing);
        ShareUse {
            bytes: sum(state.held),
            limit_bytes: self.limits.memory_bytes,
            calls: sum(state.running),
            waiting: state.waiting.len(),
        }
    }

    /// Waits until there is room for a call. First come, first served.
    ///
    /// # Errors
    /// `Unavailable` when the caller's time is over before.
    pub(crate) fn enter(
        self: &Arc<Self>,
        network: Network,
        function: &'static str,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<Arc<Admission>, Error> {
        let mut state = self.lock();
        let expected = state.expected.get(function).copied().unwrap_or(FIRST_EXPECTED);
        let bytes = expected.min(self.limits.bytes_for(network));
        if !self.fits(&state, network, bytes, u64::MAX) {
            state =
                self.wait(state, Waiting { network, bytes, woken: Arc::default() }, call, clock)?;
        }
        state.running = state.running.plus(network, 1);
        state.held = state.held.plus(network, bytes);
        self.wake(&state);
        Ok(Arc::new(Admission {
            share: Arc::clone(self),
            network,
            function,
            held: AtomicUsize::new(bytes),
            used: AtomicUsize::new(CALL_OVERHEAD),
            peak: AtomicUsize::new(CALL_OVERHEAD),
            was_refused: AtomicBool::new(false),
        }))
    }

    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        waiting: Waiting,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<MutexGuard<'a, State>, Error> {
        let (network, bytes, woken) = (waiting.network, waiting.bytes, Arc::clone(&waiting.woken));
        state.count += 1;
        let number = state.count;
        state.waiting.insert(number, waiting);
        loop {
            let left = call.remaining(clock.now());
            let is_over = call.is_cancelled() || left.is_zero();
            if is_over || self.fits(&state, network, bytes, number) {
                state.waiting.remove(&number);
            }
            if is_over {
                self.wake(&state);
                return Err(self.is_full());
            }
            if !state.waiting.contains_key(&number) {
                return Ok(state);
            }
            state = woken
                .wait_timeout(state, left.min(CANCELLATION_CHECK))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether a call may begin that came with this number.
    fn fits(&self, state: &State, network: Network, bytes: usize, number: u64) -> bool {
        let is_first = !state
            .waiting
            .iter()
            .take_while(|(earlier, _)| **earlier < number)
            .any(|(_, waiting)| waiting.network == network);
        is_first
            && self.limits.permits_calls(state.running.plus(network, 1))
            && self.limits.permits_bytes(state.held.plus(network, bytes))
    }

    /// Wakes the first of each kind that fits.
    fn wake(&self, state: &State) {
        for network in [Network::None, Network::Reads, Network::Changes] {
            let first = state.waiting.iter().find(|(_, waiting)| waiting.network == network);
            if let Some((number, waiting)) = first
                && self.fits(state, network, waiting.bytes, *number)
            {
                waiting.woken.notify_one();
            }
        }
    }

    fn is_full(&self) -> Error {
        Error::unavailable(format!(
            "everything that calls of {} may take at once (places for {} of them, and memory) is \
             taken by calls that wait for the cloud; nothing was done",
            self.name, self.limits.calls
        ))
        .with_hint("it is called again by itself; `limits` in the configuration has the bounds")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in another thread leaves whole values here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place and the memory of one call. They are given back with the last part of the call that
/// needs them.
#[derive(Debug)]
pub(crate) struct Admission {
    share: Arc<Share>,
    network: Network,
    function: &'static str,
    held: AtomicUsize,
    used: AtomicUsize,
    peak: AtomicUsize,
    was_refused: AtomicBool,
}

impl Admission {
    /// Whose share it is a part of.
    pub(crate) fn owner(&self) -> &str {
        &self.share.name
    }

    /// Takes memory from the share. False: it has no more at the moment.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.peak.fetch_max(used, Ordering::Relaxed);
        let lacking = used.saturating_sub(self.held.load(Ordering::Relaxed));
        if lacking == 0 {
            return true;
        }
        let mut state = self.share.lock();
        // Another part of the call may have taken some since.
        let lacking = used.saturating_sub(self.held.load(Ordering::Relaxed));
        let held = state.held.plus(self.network, lacking);
        if !self.share.limits.permits_bytes(held) {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            self.was_refused.store(true, Ordering::Relaxed);
            return false;
        }
        state.held = held;
        self.held.fetch_add(lacking, Ordering::Relaxed);
        true
    }

    /// The call does not need these any more. They stay held for whatever it needs next.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether the share lacked memory for this call: no defect of the guest.
    pub(crate) fn was_refused(&self) -> bool {
        self.was_refused.load(Ordering::Relaxed)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let (peak, held) = (*self.peak.get_mut(), *self.held.get_mut());
        let mut state = self.share.lock();
        let State { running, held: all_held, .. } = &mut *state;
        for (amount, taken) in [(running.of(self.network), 1), (all_held.of(self.network), held)] {
            *amount = amount.saturating_sub(taken);
        }
        // What one call needed once is not kept back for ever.
        let expected = state.expected.entry(self.function).or_insert(FIRST_EXPECTED);
        *expected = peak.max(*expected - *expected / 8).max(FIRST_EXPECTED);
        self.share.wake(&state);
    }
}
