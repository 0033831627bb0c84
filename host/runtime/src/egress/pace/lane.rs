//! How far apart requests of one action leave. A plain function of the time that is handed in.
//!
//! Nothing is known of a cloud's limits, so the distance follows its answers, as in congestion
//! control: a refusal multiplies it, every answer takes a little of it away. A cloud also refuses
//! by chance, and then going slower helps nobody. The two differ in what is admitted: a limit
//! admits as much however fast it is asked, while of what is refused by chance a slower lane gets
//! less through. So the distance never becomes much longer than the shortest one at which requests
//! were admitted lately ([`Admitted`]).

use std::time::Duration;

/// The pause after a refusal, doubled with each further one up to the longest. (The existing
/// driver's are 1–10 s; these begin earlier because everybody waits, not the refused call alone.)
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// The distance after the first refusal, and the longest: the slowest published limit is ten calls
/// in a minute, and a pause follows each refusal besides.
const FIRST_INTERVAL: Duration = Duration::from_millis(50);
const LONGEST_INTERVAL: Duration = Duration::from_secs(2);
/// What a refusal and an answer do to the distance: a refusal is undone by twenty answers, so that
/// a lane at its limit meets it with every twentieth request. Between them the distance stays near
/// the limit's own, and what a limit that refills saves up meanwhile is used before the next
/// refusal, so that spacing costs no time.
const SLOWER: f64 = 1.5;
const FASTER: f64 = 0.98;
/// As many answers are measured together: fewer say little of the distance that a limit admits, and
/// the lane becomes slower all the while.
const MEASURED_ANSWERS: u32 = 5;
/// The distance is at most so many times the shortest that was measured: above it for the noise of
/// so few answers, and because a lane that is just as fast as its limit meets it at once again.
const ABOVE_SHORTEST: f64 = 1.25;
/// What was measured counts for two of the minutes that limits are published for. Then the lane
/// begins anew, faster than it was: a limit may have changed, and what makes a lane slower bit by
/// bit does not go on for ever.
const MEASURED_FOR: Duration = Duration::from_secs(120);
const FASTER_ANEW: f64 = 0.5;
/// Below this distance requests are not spaced at all.
const NEGLIGIBLE_INTERVAL: Duration = Duration::from_millis(5);
/// A pause is up to a quarter longer, and a distance up to a tenth longer or shorter, so that
/// several hosts of one account do not go in step.
const PAUSE_JITTER: f64 = 0.25;
const INTERVAL_JITTER: f64 = 0.1;
/// What was learned is forgotten after so long without a request: published limits count minutes,
/// and in a minute they are whole again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// What a request's answer says about the pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The cloud asks to slow down, and may say for how long.
    Throttled(Option<Duration>),
    /// The cloud answered.
    Answered,
    /// There was no answer, which says nothing.
    Unknown,
}

/// The pace of one action.
#[derive(Debug, Default)]
pub(super) struct Lane {
    interval: Duration,
    next: Duration,
    paused_until: Duration,
    refusals: u32,
    /// Counts refusals that were acted on. What left before the last one says nothing new.
    epoch: u64,
    used: Duration,
    admitted: Option<Admitted>,
}

/// How far apart requests are admitted, measured from a refusal to a later one: at both moments
/// nothing is left that a limit had saved up, so that what was admitted between them is its rate.
#[derive(Debug)]
struct Admitted {
    began: Duration,
    since: Duration,
    answers: u32,
    shortest: Option<Duration>,
}

impl Admitted {
    fn from(now: Duration) -> Self {
        Self { began: now, since: now, answers: 0, shortest: None }
    }

    /// The shortest mean distance so far, at a refusal.
    fn shortest(&mut self, now: Duration) -> Option<Duration> {
        if self.answers >= MEASURED_ANSWERS {
            let mean = now.saturating_sub(self.since) / self.answers;
            self.shortest = Some(self.shortest.map_or(mean, |shortest| shortest.min(mean)));
            (self.since, self.answers) = (now, 0);
        }
        self.shortest
    }
}

impl Lane {
    /// When the next request may leave.
    pub(super) fn opens_at(&self) -> Duration {
        self.next.max(self.paused_until)
    }

    /// How far apart requests leave.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// How often a refusal was acted on.
    pub(super) fn backoffs(&self) -> u64 {
        self.epoch
    }

    /// Whether requests are held back.
    pub(super) fn is_slowed(&self, now: Duration) -> bool {
        !self.interval.is_zero() || self.paused_until > now
    }

    /// Whether nothing is worth keeping.
    pub(super) fn is_forgotten(&self, now: Duration) -> bool {
        now.saturating_sub(self.used.max(self.opens_at())) >= FORGOTTEN_AFTER
    }

    /// A request leaves. `part`: a random number below one.
    pub(super) fn start(&mut self, now: Duration, part: f64) -> u64 {
        if self.is_forgotten(now) {
            *self = Self { epoch: self.epoch, ..Self::default() };
        }
        self.used = now;
        self.next = now + self.interval.mul_f64(1.0 + INTERVAL_JITTER * (2.0 * part - 1.0));
        self.epoch
    }

    /// A request that left in `epoch` has ended. `part`: a random number below one.
    pub(super) fn end(&mut self, epoch: u64, now: Duration, verdict: Verdict, part: f64) {
        if let (Verdict::Answered, Some(admitted)) = (verdict, &mut self.admitted) {
            admitted.answers = admitted.answers.saturating_add(1);
        }
        match verdict {
            Verdict::Unknown => {}
            Verdict::Throttled(retry_after) => {
                if epoch == self.epoch {
                    self.refused(now, part);
                }
                let asked = retry_after.unwrap_or_default().min(LONGEST_PAUSE);
                self.paused_until = self.paused_until.max(now + asked);
            }
            Verdict::Answered if epoch == self.epoch => {
                self.refusals = 0;
                self.interval = self.interval.mul_f64(FASTER);
                if self.interval < NEGLIGIBLE_INTERVAL {
                    self.interval = Duration::ZERO;
                }
            }
            Verdict::Answered => {}
        }
    }

    /// Of refusals with no answer between them the first alone makes the distance longer: the rest
    /// say that the cloud refuses everything, and not how much it would take.
    fn refused(&mut self, now: Duration, part: f64) {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.refusals.min(6)).min(LONGEST_PAUSE);
        self.paused_until = now + pause.mul_f64(1.0 + PAUSE_JITTER * part);
        if self.refusals == 0 {
            self.interval = self.after_refusal(now).clamp(FIRST_INTERVAL, LONGEST_INTERVAL);
        }
        self.refusals = self.refusals.saturating_add(1);
        self.epoch += 1;
    }

    fn after_refusal(&mut self, now: Duration) -> Duration {
        let slower = self.interval.mul_f64(SLOWER);
        match &mut self.admitted {
            Some(admitted) if now.saturating_sub(admitted.began) < MEASURED_FOR => {
                let shortest = admitted.shortest(now);
                shortest.map_or(slower, |shortest| slower.min(shortest.mul_f64(ABOVE_SHORTEST)))
            }
            old => match old.replace(Admitted::from(now)) {
                Some(_) => self.interval.mul_f64(FASTER_ANEW),
                None => slower,
            },
        }
    }
}
