//! The calls that threads work on now: how many, how old, and which are far beyond their deadline.
//! Also where the time of each goes, which is known on its own thread.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wharf_core::ports::{Call, Clock};
use wharf_csi::{Work, Working};

thread_local! {
    /// Of the call that this thread works on.
    static SPENT: Cell<Spent> = const { Cell::new(Spent::NOTHING) };
}

/// Where the time of a call went, besides the host itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Components computed.
    pub guest: Duration,
    /// The cloud was asked.
    pub cloud: Duration,
    /// Nothing was to be done yet.
    pub waiting: Duration,
}

impl Spent {
    const NOTHING: Self =
        Self { guest: Duration::ZERO, cloud: Duration::ZERO, waiting: Duration::ZERO };

    /// Counts for the call of this thread.
    pub fn note(self) {
        SPENT.with(|spent| {
            let before = spent.get();
            spent.set(Self {
                guest: before.guest + self.guest,
                cloud: before.cloud + self.cloud,
                waiting: before.waiting + self.waiting,
            });
        });
    }

    fn take() -> Self {
        SPENT.with(|spent| spent.replace(Self::NOTHING))
    }
}

/// Every call that a thread works on.
#[derive(Default)]
pub struct Operations {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    running: HashMap<u64, Operation>,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The CSI driver name.
    pub driver: String,
    /// The method.
    pub rpc: &'static str,
    /// The volume's id or name.
    pub volume: String,
    /// When it was begun.
    pub began: Instant,
    /// When its caller stops waiting, by the host's clock.
    pub deadline: Duration,
}

impl Operations {
    /// A thread begins. What is returned ends it; `done` hears where its time went.
    pub fn begin(
        self: &Arc<Self>,
        work: &Work<'_>,
        done: impl FnOnce(Duration, Spent) + Send + 'static,
    ) -> Box<dyn Working> {
        Spent::take();
        let operation = Operation {
            driver: work.driver.to_owned(),
            rpc: work.rpc,
            volume: work.volume.to_owned(),
            began: Instant::now(),
            deadline: work.deadline,
        };
        let mut state = self.lock();
        state.next += 1;
        let key = state.next;
        state.running.insert(key, operation);
        drop(state);
        Box::new(WorkGuard { operations: Arc::clone(self), key, done: Some(done) })
    }

    /// Those that run now.
    pub fn all(&self) -> Vec<Operation> {
        self.lock().running.values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in another thread leaves whole values here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct WorkGuard<F: FnOnce(Duration, Spent)> {
    operations: Arc<Operations>,
    key: u64,
    done: Option<F>,
}

impl<F: FnOnce(Duration, Spent) + Send> Working for WorkGuard<F> {}

impl<F: FnOnce(Duration, Spent)> Drop for WorkGuard<F> {
    fn drop(&mut self) {
        let ended = self.operations.lock().running.remove(&self.key);
        if let (Some(operation), Some(done)) = (ended, self.done.take()) {
            done(operation.began.elapsed(), Spent::take());
        }
    }
}

/// A clock that counts how long calls sleep.
pub struct CountingClock(pub Arc<dyn Clock>);

impl Clock for CountingClock {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, duration: Duration, call: &Call) {
        let began = Instant::now();
        self.0.sleep(duration, call);
        self.note_wait(began.elapsed());
    }

    fn note_wait(&self, waited: Duration) {
        Spent { waiting: waited, ..Spent::default() }.note();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_call_counts_from_its_begin_to_the_end_of_its_thread_s_work() {
        let operations = Arc::<Operations>::default();
        let work = Work {
            driver: "d",
            rpc: "NodeStageVolume",
            volume: "v",
            arrived: Instant::now(),
            deadline: Duration::ZERO,
        };
        let (sender, observed) = channel();
        // What an earlier call of this thread left is not this one's.
        Spent { guest: Duration::from_secs(9), ..Spent::default() }.note();
        let guard =
            operations.begin(&work, move |whole, spent| sender.send((whole, spent)).unwrap());
        assert_eq!(operations.all().len(), 1);
        Spent { cloud: Duration::from_secs(2), ..Spent::default() }.note();
        Spent { cloud: Duration::from_secs(1), guest: Duration::from_secs(4), ..Spent::default() }
            .note();
        drop(guard);
        let (_, spent) = observed.recv().unwrap();
        assert_eq!((spent.guest.as_secs(), spent.cloud.as_secs()), (4, 3));
        assert!(operations.all().is_empty());
    }
}
