//! What somebody may want to know of every call: metrics, and whether one is wedged.

use std::time::Duration;

use wharf_core::ports;

/// Hears of calls. Observers must not block.
pub trait CallObserver: Send + Sync {
    /// A thread begins to work on a call. What is returned is dropped on that thread when the work
    /// ends, which may be long after the caller was answered.
    fn working(&self, work: &Work<'_>) -> Box<dyn Working>;
    /// A call was answered, or left by its client.
    fn answered(&self, answered: &Answered<'_>);
}

/// A call that a thread works on; dropped when it does so no longer.
pub trait Working: Send {
    /// The work came to this code, as gRPC's Go library spells it. Not called for work that
    /// panicked.
    fn ended(&mut self, code: &'static str) {
        let _ = code;
    }
}

/// One call that a thread works on.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The CSI driver name.
    pub driver: &'a str,
    /// The method.
    pub rpc: &'static str,
    /// The volume's id or name; empty where there is none.
    pub volume: &'a str,
    /// When it arrived.
    pub arrived: std::time::Instant,
    /// When its caller stops waiting, by the host's clock.
    pub deadline: ports::Instant,
}

/// One call that is over.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The CSI driver name.
    pub driver: &'a str,
    /// The method.
    pub rpc: &'static str,
    /// The code, as gRPC's Go library spells it (`OK`, `NotFound`).
    pub code: &'static str,
    /// From its arrival to its answer.
    pub duration: Duration,
}
