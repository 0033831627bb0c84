//! What one call of a guest may use. Every bound stands beside its reason and is enforced in this
//! crate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::ResourceLimiter;
use wharf_core::ports::Call;

use crate::engine::{CORE_INSTANCES, MEMORIES, MEMORY_BYTES, TABLE_ELEMENTS, TABLES};
use crate::share::Admission;

/// Bytes that a guest may hand over in one crossing, counted after copying: a list of a million
/// references to one string is that many copies here. Above the largest honest answer (a thousand
/// volumes), below what hurts.
pub(crate) const CROSSING_BYTES: usize = 16 << 20;
/// Random bytes in one request; the contract's number.
pub(crate) const RANDOM_BYTES: u32 = 4096;
/// Requests in one `send-all`; the contract's number.
pub(crate) const PARALLEL_REQUESTS: usize = 16;

/// A guest has this long to make something of a request that ran out of time; without it a cloud
/// that hangs would look like a guest that does.
const CONCLUDING_TIME: Duration = Duration::from_millis(500);

/// Bounds that an operator may change. The defaults suit every backend in this repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Wall time of one call, cloud requests included. The host calls again, so a call is one step
    /// and not an operation.
    pub wall: Duration,
    /// Processor time of one call: real ones take microseconds, interpreted ones milliseconds.
    pub cpu: Duration,
    /// Linear memory of one call; never above [`MEMORY_BYTES`].
    pub memory_bytes: usize,
    /// Log text of one call; what is above is counted and dropped.
    pub log_bytes: usize,
    /// Requests of one call: a full observe batch and retries need a dozen.
    pub http_requests: u32,
    /// Response bodies of one call, together; they all end in the guest's memory.
    pub http_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(60),
            cpu: Duration::from_secs(5),
            memory_bytes: MEMORY_BYTES,
            log_bytes: 64 << 10,
            http_requests: 64,
            http_bytes: 16 << 20,
        }
    }
}

/// Counts what a store allocates.
#[derive(Debug)]
pub(crate) struct Memory {
    admission: Arc<Admission>,
    bound: usize,
    bytes: usize,
    elements: usize,
    exceeded: Option<String>,
}

impl Memory {
    pub(crate) fn new(limits: &Limits, admission: Arc<Admission>) -> Self {
        let bound = limits.memory_bytes.min(MEMORY_BYTES);
        Self { admission, bound, bytes: 0, elements: 0, exceeded: None }
    }

    /// The bound that a growth was refused for, in words.
    pub(crate) fn exceeded(&self) -> Option<&str> {
        self.exceeded.as_deref()
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.bytes.saturating_sub(current).saturating_add(desired);
        if total > self.bound {
            self.exceeded = Some(format!(
                "it asked for {total} bytes of memory, at most {} are allowed",
                self.bound
            ));
            return Ok(false);
        }
        if !self.admission.take(total.saturating_sub(self.bytes)) {
            return Ok(false);
        }
        self.bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.elements.saturating_sub(current).saturating_add(desired);
        if total > TABLE_ELEMENTS {
            self.exceeded = Some(format!(
                "it asked for {total} table elements, at most {TABLE_ELEMENTS} are allowed"
            ));
            return Ok(false);
        }
        self.elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        TABLES as usize
    }

    fn memories(&self) -> usize {
        MEMORIES as usize
    }
}

/// Why a running guest was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The caller hung up.
    Cancelled,
    /// The caller's deadline passed.
    Deadline,
    /// [`Limits::wall`] passed before the caller's deadline.
    Wall(Duration),
    /// [`Limits::cpu`] was used up.
    Cpu(Duration),
}

/// Decides at every tick whether the guest may go on.
pub(crate) struct Watch {
    call: Call,
    requests: Call,
    deadline: Instant,
    requests_end: Instant,
    ends_with: Stop,
    cpu_bound: Duration,
    cpu_start: Duration,
    stopped: Option<Stop>,
}

impl Watch {
    /// `remaining`: until the caller's deadline.
    pub(crate) fn new(call: &Call, remaining: Duration, limits: &Limits) -> Self {
        let ends_with =
            if limits.wall < remaining { Stop::Wall(limits.wall) } else { Stop::Deadline };
        let (now, time) = (Instant::now(), remaining.min(limits.wall));
        let requests_time = time.saturating_sub(CONCLUDING_TIME.min(time / 10));
        Self {
            call: call.clone(),
            // The call's clock is not this one; how far its deadline is away says what it shows.
            requests: call.no_later_than(call.deadline().saturating_sub(remaining) + requests_time),
            deadline: now + time,
            requests_end: now + requests_time,
            ends_with,
            cpu_bound: limits.cpu,
            cpu_start: thread_cpu_time(),
            stopped: None,
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// When requests end: a little before the guest does.
    pub(crate) fn requests_end(&self) -> Instant {
        self.requests_end
    }

    /// The call, for those who work for its requests: it ends with them.
    pub(crate) fn requests(&self) -> &Call {
        &self.requests
    }

    /// The reason to stop now, if there is one; it is remembered.
    pub(crate) fn check(&mut self) -> Option<Stop> {
        self.stopped = if self.call.is_cancelled() {
            Some(Stop::Cancelled)
        } else if Instant::now() >= self.deadline {
            Some(self.ends_with)
        } else if thread_cpu_time().saturating_sub(self.cpu_start) >= self.cpu_bound {
            Some(Stop::Cpu(self.cpu_bound))
        } else {
            None
        };
        self.stopped
    }

    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stopped
    }
}

/// A guest runs on the thread that called it, so this is its processor time and leaves out what it
/// waits for.
fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
