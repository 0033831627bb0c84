//! Stopping a call in the middle, to look at what happens around it.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wharf_core::ports::Call;

use super::lock;

/// How often a held call looks whether it was cancelled: [`Call`] cannot wake anybody.
const CANCELLATION_CHECK: Duration = Duration::from_millis(1);
/// A test that waits for something that does not happen fails after this long, instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls of one verb stop here until the last copy of this is dropped or they are cancelled.
#[derive(Debug, Clone)]
pub struct Hold {
    gate: Arc<Gate>,
    _open: Arc<OpenOnDrop>,
}

impl Hold {
    pub(crate) fn new() -> (Self, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let hold = Self { gate: Arc::clone(&gate), _open: Arc::new(OpenOnDrop(Arc::clone(&gate))) };
        (hold, gate)
    }

    /// Waits until so many calls have come this far (those that went on since are counted too).
    /// False: they did not.
    #[must_use]
    pub fn wait_for_calls(&self, count: usize) -> bool {
        self.wait_until(|state| state.arrived >= count)
    }

    /// Waits until so many calls were cancelled while they were held. False: they were not.
    #[must_use]
    pub fn wait_for_cancellations(&self, count: usize) -> bool {
        self.wait_until(|state| state.cancelled >= count)
    }

    fn wait_until(&self, is_so: impl Fn(&GateState) -> bool) -> bool {
        let state = lock(&self.gate.state);
        let waited = self.gate.changed.wait_timeout_while(state, PATIENCE, |state| !is_so(state));
        is_so(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Lets everybody go on.
    pub fn release(&self) {
        self.gate.open();
    }
}

#[derive(Debug)]
struct OpenOnDrop(Arc<Gate>);

impl Drop for OpenOnDrop {
    fn drop(&mut self) {
        self.0.open();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    arrived: usize,
    cancelled: usize,
    is_open: bool,
}

impl Gate {
    /// Stops here while the gate is closed. False: the call was cancelled.
    pub(crate) fn pass(&self, call: &Call) -> bool {
        let mut state = lock(&self.state);
        state.arrived += 1;
        self.changed.notify_all();
        loop {
            if call.is_cancelled() {
                state.cancelled += 1;
                self.changed.notify_all();
                return false;
            }
            if state.is_open {
                return true;
            }
            state = self
                .changed
                .wait_timeout(state, CANCELLATION_CHECK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn open(&self) {
        lock(&self.state).is_open = true;
        self.changed.notify_all();
    }
}
