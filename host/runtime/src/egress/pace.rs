//! When a request may leave: how many are under way at once, how far apart they are, and in which
//! order those that wait go.
//!
//! The one place that paces. It knows requests and nothing else: what was really sent, and what
//! was really answered. Requests of one account to one endpoint are a [`Site`]; what happens at one
//! holds up no other. Within it every action has a lane of its own, because clouds limit each
//! action by itself, and a refused `AttachDisk` says nothing of `DescribeDisks`.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wharf_core::ports::Call;
use wharf_core::{Blame, Error, ErrorKind};

use super::{RequestEffect, Response};

mod lane;
mod queue;
#[cfg(test)]
mod tests;

use lane::Verdict;
use queue::{Queue, Started, Waiter};

/// How often a request that waits checks whether its caller has gone; its turn wakes it at once.
const CANCELLATION_CHECK: Duration = Duration::from_millis(200);
/// As much of a refusal as is searched for a code: clouds put it first, and write a few hundred
/// bytes.
const SEARCHED_BYTES: usize = 16 << 10;

/// How many requests of one account may be under way to one endpoint: more only lengthens the queue
/// in the cloud, and as many are wasted when it begins to refuse.
pub const REQUESTS_AT_ONCE: usize = 16;

/// The pace of every account at every endpoint.
pub(super) struct Pace {
    at_once: usize,
    sites: Mutex<HashMap<SiteKey, Arc<Site>>>,
}

/// An account, if one signs, and an endpoint.
type SiteKey = (Option<String>, String);

/// How requests of one account to one endpoint leave at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaceOfSite {
    /// Who signs; `None`: nobody.
    pub account: Option<String>,
    /// Where they go.
    pub endpoint: String,
    /// Requests under way.
    pub under_way: usize,
    /// As many may be under way.
    pub at_once: usize,
    /// Requests that wait for their turn.
    pub waiting: usize,
    /// Actions that the endpoint has asked to slow down.
    pub slowed: Vec<PaceOfAction>,
    /// How often it asked each action to slow down, and that was acted on.
    pub backoffs: Vec<(String, u64)>,
}

/// How requests of one action leave at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaceOfAction {
    /// The action; empty: those without one.
    pub action: String,
    /// How far apart they leave.
    pub interval: Duration,
    /// When the next may leave.
    pub opens_in: Duration,
}

/// What waits for its turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Whose request it is: backends take turns.
    pub(super) asker: &'a Arc<str>,
    pub(super) account: Option<&'a str>,
    pub(super) endpoint: &'a str,
    /// Empty where none is signed.
    pub(super) action: &'a str,
    pub(super) effect: RequestEffect,
}

impl Pace {
    /// `at_once`: requests of one account under way to one endpoint.
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once: at_once.max(1), sites: Mutex::default() }
    }

    /// Waits for the turn of one request.
    ///
    /// # Errors
    /// `Throttled` or `Unavailable` when the call ends before; nothing was sent then.
    pub(super) fn turn(
        &self,
        wanted: Wanted<'_>,
        call: &Call,
        deadline: Instant,
    ) -> Result<Turn, Error> {
        let site = self.site(wanted.account, wanted.endpoint);
        let waiter = Waiter {
            asker: Arc::clone(wanted.asker),
            action: wanted.action.to_owned(),
            effect: wanted.effect,
        };
        match site.start(waiter, call, deadline) {
            Ok(started) => Ok(Turn { site, started: Some(started), verdict: Verdict::Unknown }),
            Err(End::Cancelled) => Err(Error::unavailable(format!(
                "endpoint `{}`: the caller stopped waiting; nothing was sent",
                wanted.endpoint
            ))),
            Err(End::OutOfTime { is_slowed: true }) => Err(Error::new(
                ErrorKind::Throttled,
                Blame::Cloud,
                format!(
                    "endpoint `{}` asks to slow down, and the request's turn did not come in the \
                     time of this call; nothing was sent",
                    wanted.endpoint
                ),
            )),
            Err(End::OutOfTime { is_slowed: false }) => Err(Error::new(
                ErrorKind::Unavailable,
                Blame::Cloud,
                format!(
                    "endpoint `{}` did not answer the {} requests before this one in the time of \
                     this call; nothing was sent",
                    wanted.endpoint, self.at_once
                ),
            )),
        }
    }

    /// How requests leave now, wherever any has left.
    pub(super) fn sites(&self) -> Vec<PaceOfSite> {
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let of_site = |((account, endpoint), site): (&SiteKey, &Arc<Site>)| {
            let state = site.lock();
            let (under_way, waiting, slowed) = state.queue.moment(site.now());
            let backoffs = state.queue.backoffs();
            let (account, endpoint, at_once) = (account.clone(), endpoint.clone(), self.at_once);
            PaceOfSite { account, endpoint, under_way, at_once, waiting, slowed, backoffs }
        };
        let mut paces: Vec<_> = sites.iter().map(of_site).collect();
        paces.sort_by(|one, other| {
            (&one.endpoint, &one.account).cmp(&(&other.endpoint, &other.account))
        });
        paces
    }

    /// Accounts and endpoints are the operator's, so there are as many sites as the configuration
    /// allows.
    fn site(&self, account: Option<&str>, endpoint: &str) -> Arc<Site> {
        let key = (account.map(str::to_owned), endpoint.to_owned());
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sites.entry(key).or_insert_with(|| Arc::new(Site::new(self.at_once))))
    }
}

/// One account at one endpoint.
struct Site {
    since: Instant,
    state: Mutex<State>,
}

struct State {
    queue: Queue,
    wake: HashMap<u64, Arc<Condvar>>,
}

enum End {
    Cancelled,
    OutOfTime { is_slowed: bool },
}

impl Site {
    fn new(at_once: usize) -> Self {
        let state = State { queue: Queue::new(at_once), wake: HashMap::new() };
        Self { since: Instant::now(), state: Mutex::new(state) }
    }

    fn now(&self) -> Duration {
        self.since.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in another thread leaves whole values here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, waiter: Waiter, call: &Call, deadline: Instant) -> Result<Started, End> {
        let mut state = self.lock();
        let number = state.queue.join(waiter);
        let woken = Arc::new(Condvar::new());
        state.wake.insert(number, Arc::clone(&woken));
        loop {
            let now = self.now();
            if let Some(started) = state.queue.start(number, now, part()) {
                state.wake.remove(&number);
                state.wake_next(now);
                return Ok(started);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if call.is_cancelled() || left.is_zero() {
                let is_slowed = state.queue.leave(number, now);
                state.wake.remove(&number);
                state.wake_next(now);
                return Err(match call.is_cancelled() {
                    true => End::Cancelled,
                    false => End::OutOfTime { is_slowed },
                });
            }
            let own = state.queue.next(now).filter(|(next, _)| *next == number);
            let wait = own.map_or(CANCELLATION_CHECK, |(_, at)| at.saturating_sub(now));
            state = woken
                .wait_timeout(state, wait.min(CANCELLATION_CHECK).min(left))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn end(&self, started: Started, verdict: Verdict) {
        let mut state = self.lock();
        let now = self.now();
        state.queue.end(started, now, verdict, part());
        state.wake_next(now);
    }
}

impl State {
    /// Whoever is next sleeps until its own time; everybody else sleeps until it is next.
    fn wake_next(&self, now: Duration) {
        if let Some(woken) = self.queue.next(now).and_then(|(number, _)| self.wake.get(&number)) {
            woken.notify_one();
        }
    }
}

/// The right to send one request. It ends with the request, however that ends.
pub(super) struct Turn {
    site: Arc<Site>,
    started: Option<Started>,
    verdict: Verdict,
}

impl Turn {
    /// What came back, and how the cloud's codes begin that ask to slow down.
    pub(super) fn answered(&mut self, response: &Response, codes: &[String]) {
        self.verdict = verdict(response, codes);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(started) = self.started.take() {
            self.site.end(started, self.verdict);
        }
    }
}

fn verdict(response: &Response, codes: &[String]) -> Verdict {
    let is_refusal = response.status >= 400;
    let slows =
        matches!(response.status, 429 | 503) || (is_refusal && names_a_code(&response.body, codes));
    if !slows {
        // A front that has no service behind it says nothing of its limits.
        return if response.status >= 500 { Verdict::Unknown } else { Verdict::Answered };
    }
    let header = response.headers.iter().find(|(name, _)| name == "retry-after");
    let seconds = header.and_then(|(_, value)| value.trim().parse().ok());
    Verdict::Throttled(seconds.map(Duration::from_secs))
}

/// Whether a refusal holds one of the codes as a whole value: `"Code":"Throttling.User"`, or
/// `<Code>SlowDown</Code>`. A sentence that has the word in it is no code.
fn names_a_code(body: &[u8], codes: &[String]) -> bool {
    let searched = body.get(..SEARCHED_BYTES).unwrap_or(body);
    let is_edge = |byte: &u8| matches!(byte, b'"' | b'<' | b'>');
    let is_code = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    searched.split(is_edge).any(|value| {
        value.iter().all(is_code)
            && codes
                .iter()
                .filter(|code| !code.is_empty())
                .any(|code| value.starts_with(code.as_bytes()))
    })
}

/// A random number below one. Each `RandomState` has keys of its own, which is all the randomness
/// that spreading requests needs.
fn part() -> f64 {
    let bits = u16::try_from(RandomState::new().hash_one(()) & 0xffff).unwrap_or(0);
    f64::from(bits) / 65_536.0
}
