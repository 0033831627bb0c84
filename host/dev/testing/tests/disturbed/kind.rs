//! What disturbs a verb, and how.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wharf_cloudsim::{Fault, FaultRule, HoldPoint};
use wharf_testing::bed::{Bed, Machine};
use wharf_testing::trace::{Act, Counted, Moment};

/// One way to disturb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The cloud does what the n-th request says and its answer is lost.
    AnswerLost,
    /// The n-th request is lost on its way.
    RequestLost,
    /// The host dies while the cloud has not yet done what the n-th request says.
    KilledBeforeRequest,
    /// The host dies after the cloud has done it and before its answer.
    KilledAfterRequest,
    /// The host and its helpers die at the n-th system call.
    Killed,
    /// The host dies at the n-th system call of a helper, which goes on.
    Orphaned,
    /// The supervisor of mounts dies at its n-th system call, and its helpers go on.
    #[allow(dead_code, reason = "not every life has helpers")]
    SupervisorKilled,
    /// The backend is replaced during the n-th request.
    SwappedAtRequest,
    /// The backend is replaced at the n-th system call of the host.
    SwappedAtCall,
}

impl Kind {
    /// Every kind that any life may meet.
    pub const ALL: &'static [Self] = &[
        Self::AnswerLost,
        Self::RequestLost,
        Self::KilledBeforeRequest,
        Self::KilledAfterRequest,
        Self::SwappedAtRequest,
        Self::SwappedAtCall,
        Self::Killed,
        Self::Orphaned,
    ];

    /// Whether positions are requests to the cloud, and not system calls.
    pub fn is_of_the_cloud(self) -> bool {
        match self {
            Self::AnswerLost
            | Self::RequestLost
            | Self::KilledBeforeRequest
            | Self::KilledAfterRequest
            | Self::SwappedAtRequest => true,
            Self::Killed | Self::Orphaned | Self::SupervisorKilled | Self::SwappedAtCall => false,
        }
    }

    fn fault(self) -> Fault {
        match self {
            Self::AnswerLost => Fault::DropAnswer,
            Self::RequestLost => Fault::DropRequest,
            Self::KilledAfterRequest => Fault::Hold(HoldPoint::After),
            _ => Fault::Hold(HoldPoint::Before),
        }
    }

    fn holds(self) -> bool {
        matches!(self.fault(), Fault::Hold(_))
    }

    fn is_swap(self) -> bool {
        matches!(self, Self::SwappedAtRequest | Self::SwappedAtCall)
    }

    /// For the tracer. `machine` is the one whose backend is replaced.
    pub fn moment(self, at: usize, swap: Swap) -> Moment {
        match self {
            Self::Orphaned => Moment { at, counted: Counted::Helpers, act: Act::KillProcess },
            Self::SupervisorKilled => {
                Moment { at, counted: Counted::Process, act: Act::KillProcess }
            }
            Self::SwappedAtCall => Moment {
                at,
                counted: Counted::Process,
                act: Act::Meanwhile(Box::new(move || swap.now())),
            },
            _ => Moment { at, counted: Counted::All, act: Act::KillAll },
        }
    }

    /// Does something while the n-th request to the cloud is disturbed. `victim` is the process
    /// that dies, known by then. Says whether there was an n-th request.
    pub fn at_request<T>(
        self,
        bed: &Bed,
        at: usize,
        victim: impl Fn() -> i32 + Sync,
        swap: &Swap,
        work: impl FnOnce() -> T,
    ) -> (T, bool) {
        let region = bed.region();
        region.clear_journal();
        bed.set_faults(vec![
            FaultRule::new("*", self.fault()).after(u64::try_from(at).unwrap()).times(1),
        ]);
        let is_over = AtomicBool::new(false);
        let wait_and_act = || {
            while !is_over.load(Ordering::SeqCst) {
                if region.wait_for_held(1, Duration::from_millis(20)).is_empty() {
                    continue;
                }
                if self.is_swap() {
                    swap.now();
                } else {
                    let _ = kill(Pid::from_raw(victim()), Signal::SIGKILL);
                }
                region.release_all();
                return true;
            }
            false
        };
        let (value, reached) = std::thread::scope(|scope| {
            let watcher = self.holds().then(|| scope.spawn(wait_and_act));
            let value = work();
            is_over.store(true, Ordering::SeqCst);
            (value, watcher.map(|watcher| watcher.join().unwrap()))
        });
        bed.set_faults(Vec::new());
        // Not what the cloud always does wrong.
        let name = self.fault().name();
        let has_struck =
            || region.journal().iter().any(|entry| entry.fault.as_deref() == Some(name));
        let reached = reached.unwrap_or_else(has_struck);
        (value, reached)
    }
}

/// Replaces the backend of a machine by its other build.
#[derive(Debug, Clone)]
pub struct Swap {
    wharf: std::path::PathBuf,
    config: std::path::PathBuf,
}

/// Swaps of one machine come one after the other.
static ORDER: Mutex<()> = Mutex::new(());

impl Swap {
    pub fn of(bed: &Bed, machine: &Machine) -> Self {
        Self { wharf: bed.parts().wharf.clone(), config: machine.config() }
    }

    /// Makes the other of the two generations active.
    pub fn now(&self) {
        let _order = ORDER.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let shown: serde_json::Value =
            serde_json::from_str(&self.backend(&["show", "disk", "--output", "json"])).unwrap();
        let numbers = shown["generations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|generation| generation["number"].as_u64().unwrap());
        let other =
            numbers.into_iter().find(|number| Some(*number) != shown["active"].as_u64()).unwrap();
        self.backend(&["activate", "disk", &other.to_string()]);
    }

    fn backend(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.wharf)
            .arg("--config")
            .arg(&self.config)
            .arg("backend")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
