//! What a host may want to know of every call: metrics, and progress output of tools. Observers
//! must not block.

use std::time::{Duration, Instant};

use wharf_core::ErrorKind;
use wharf_core::manifest::World;
use wharf_core::plan::Plan;

/// Hears of calls and requests after they ended, on the thread that made them.
pub trait RuntimeObserver: Send + Sync {
    /// A guest answered, failed or was stopped.
    fn called(&self, event: &CallEvent<'_>) {
        let _ = event;
    }

    /// A guest returned a plan.
    fn planned(&self, function: &'static str, plan: &Plan) {
        let _ = (function, plan);
    }

    /// A request of a guest was answered, refused or lost.
    fn requested(&self, event: &RequestEvent<'_>) {
        let _ = event;
    }
}

/// One call of one guest.
#[derive(Debug, Clone)]
pub struct CallEvent<'a> {
    /// The component's kind.
    pub world: World,
    /// Its name among those of its kind.
    pub component: &'a str,
    /// Which generation of it.
    pub generation: u64,
    /// The contract's function.
    pub function: &'static str,
    /// When it began. Events of what it did began no earlier, and were reported before this one.
    pub began: Instant,
    /// From the start of the call to its end, requests included.
    pub duration: Duration,
    /// Requests that it sent.
    pub http_requests: u32,
    /// How much of `duration` it waited for them: from signing to the last byte, the wait for their
    /// turn included, without `nested`.
    pub waited: Duration,
    /// How much of `duration` other components ran, each reported by an event of its own: the
    /// authenticator that signs.
    pub nested: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a value.
    Answered,
    /// With an error of this kind.
    Failed(ErrorKind),
    /// It trapped, or broke a bound. Counted against the generation.
    Broken(ErrorKind),
}

/// One request.
#[derive(Debug, Clone)]
pub struct RequestEvent<'a> {
    /// The endpoint's id.
    pub endpoint: &'a str,
    /// What grants speak of.
    pub action: &'a str,
    /// The grant that covers it, as the operator wrote it; absent: none does. Of these there are as
    /// many as the configuration has.
    pub granted: Option<&'a str>,
    /// The id that the endpoint gave it, for its support; absent: none, or no plain word.
    pub id: Option<&'a str>,
    /// When it began.
    pub began: Instant,
    /// From signing to the last byte, the wait for its turn included.
    pub duration: Duration,
    /// The status, or why there is none.
    pub outcome: Result<u16, ErrorKind>,
}
