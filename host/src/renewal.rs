//! The next keys for mount helpers whose own end (`authType: sts`, `rrsa`) or change. kubelet
//! repeats no `mount` of FlexVolume, and a publish of CSI only where the `CSIDriver` says so, so
//! whoever has the accounts does it: the node's server, by itself, and `wharf mounts renew`, which
//! a supervisor that nobody but call-outs started runs when it is time.
//!
//! The supervisor knows when it is time for which mount; keys that a call brought have no such
//! time. Left out: what a helper does with new keys, which is the supervisor's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wharf_core::Error;
use wharf_core::node::NodeService;
use wharf_core::ports::{Call, Clock};
use wharf_node::supervisor::{Client, StartCommand, Status};

use self::turns::Turns;

mod turns;

/// Mounts come meanwhile: the shortest keys that a cloud gives last a quarter of an hour, of which
/// the next ones are due in the last quarter.
const POLL: Duration = Duration::from_secs(10);
/// Not sooner, whatever is due: after a failure the cloud is not asked at once.
const PAUSE: Duration = Duration::from_secs(1);
/// After a failure. Keys are renewed minutes before they end.
const RETRY_AFTER: Duration = Duration::from_secs(15);
/// One mount: another helper is started, which has half a minute (`start-seconds`), after a
/// credential was asked for.
const ONE_MOUNT: Duration = Duration::from_secs(60);
/// By now a first failure was tried again, several times: a person has to see to it. The shortest
/// keys end two minutes later.
const OVERDUE: Duration = Duration::from_secs(100);
/// A supervisor leaves it for so long to the node's server, which asks at the moment itself.
const SERVER_FIRST: Duration = Duration::from_secs(3);

/// What renewing needs.
pub struct Renewal {
    /// The supervisor of the mounts.
    pub supervisor: Client,
    /// Whose mounts they are.
    pub drivers: Vec<Arc<NodeService>>,
    /// The drivers' clock.
    pub clock: Arc<dyn Clock>,
}

/// What came of one round.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Mounts whose account was asked.
    pub renewed: Vec<PathBuf>,
    /// Those whose helper goes on with what it has, and why.
    pub failed: Vec<String>,
    /// How many wait for the next round: they failed before, and others do not wait for them.
    pub left: usize,
}

impl Renewal {
    /// Renews the keys of these mounts.
    pub fn of<'a>(&self, mounts: impl IntoIterator<Item = &'a Status>) -> Outcome {
        self.round(mounts, &Turns::default())
    }

    fn round<'a>(&self, mounts: impl IntoIterator<Item = &'a Status>, turns: &Turns) -> Outcome {
        let mut outcome = Outcome::default();
        for (mount, came_of_it) in turns.take(mounts, |mount| self.one(mount)) {
            match came_of_it {
                Some(Ok(true)) => outcome.renewed.push(mount.target.clone()),
                // Another process's driver, or unmounted meanwhile.
                Some(Ok(false)) => {}
                Some(Err(error)) => {
                    outcome.failed.push(format!("{}: {error}", mount.target.display()));
                }
                None => outcome.left += 1,
            }
        }
        outcome
    }

    fn one(&self, mount: &Status) -> Result<bool, Error> {
        for driver in &self.drivers {
            let call = Call::until(self.clock.now() + ONE_MOUNT);
            if driver.renew(&call, &mount.target)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Renews what is due, and says how long nothing will be.
    fn check(&self, turns: &Turns) -> Duration {
        let mounts = match self.supervisor.list() {
            Ok(mounts) => mounts,
            Err(error) => {
                tracing::debug!(%error, "whose keys end is not known");
                return POLL;
            }
        };
        let now = unix_millis();
        let outcome = self.round(mounts.iter().filter(|mount| is_due(mount, now)), turns);
        for target in &outcome.renewed {
            tracing::info!(target = %target.display(), "the helper has the keys that its account has by now");
        }
        for failure in &outcome.failed {
            tracing::warn!(failure, "no new keys for a mount; tried again in {RETRY_AFTER:?}");
        }
        if !outcome.failed.is_empty() {
            return RETRY_AFTER;
        }
        if outcome.left > 0 {
            return PAUSE;
        }
        next(&mounts, now).clamp(PAUSE, POLL)
    }
}

/// Renews until the process ends.
pub fn start(renewal: Renewal) {
    let renewal = Arc::new((renewal, Turns::default()));
    tokio::spawn(async move {
        loop {
            let renewal = Arc::clone(&renewal);
            let check = move || renewal.0.check(&renewal.1);
            let outcome = tokio::task::spawn_blocking(check).await;
            tokio::time::sleep(outcome.unwrap_or(RETRY_AFTER)).await;
        }
    });
}

/// For a supervisor that has no accounts: runs this command when keys are due, until the process
/// ends. A process for each time keeps the supervisor as small as it is.
pub fn run_when_due(supervisor: &Client, command: &StartCommand) -> ! {
    loop {
        let mounts = supervisor.list().unwrap_or_default();
        let since = unix_millis().saturating_sub(millis(SERVER_FIRST));
        let pause = if mounts.iter().any(|mount| is_due(mount, since)) {
            match command.run() {
                Ok(true) => PAUSE,
                Ok(false) => RETRY_AFTER,
                Err(error) => {
                    tracing::warn!(%error, "`wharf mounts renew` cannot be started");
                    RETRY_AFTER
                }
            }
        } else {
            next(&mounts, since).clamp(PAUSE, POLL)
        };
        std::thread::sleep(pause);
    }
}

/// Whether there are new keys for a mount.
pub fn is_due(mount: &Status, now_ms: u64) -> bool {
    mount.renew_at_ms.is_some_and(|at| at <= now_ms)
}

/// Whether renewing has failed for so long that somebody has to see to it before the keys end.
pub fn is_overdue(mount: &Status, now_ms: u64) -> bool {
    is_due(mount, now_ms.saturating_sub(millis(OVERDUE)))
}

/// How long until something becomes due.
fn next(mounts: &[Status], now_ms: u64) -> Duration {
    let later = mounts.iter().filter_map(|mount| mount.renew_at_ms).filter(|at| *at > now_ms);
    later.min().map_or(POLL, |at| Duration::from_millis(at - now_ms))
}

/// Milliseconds since 1970-01-01 UTC, as accounts count.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub mod tests {
    use wharf_node::supervisor::Condition;

    use super::*;

    /// One that is served.
    pub fn mount(renew_at_ms: Option<u64>) -> Status {
        Status {
            name: "m-1".into(),
            target: "/kubelet/volume".into(),
            helper: "ossfs".into(),
            source: "models".into(),
            condition: Condition::Serving,
            pid: None,
            restarts: 0,
            healed: 0,
            last_exit: None,
            unhealed: vec![],
            devices: None,
            renew_at_ms,
            writes: None,
        }
    }

    #[test]
    fn the_next_look_is_when_the_first_keys_are_due_and_mounts_without_an_end_are_left_alone() {
        let mounts = [mount(None), mount(Some(900)), mount(Some(5_000)), mount(Some(3_000))];
        let due: Vec<_> = mounts.iter().map(|mount| is_due(mount, 1_000)).collect();
        assert_eq!(due, [false, true, false, false]);
        let overdue = |now| mounts.iter().filter(|mount| is_overdue(mount, now)).count();
        assert_eq!((overdue(1_000), overdue(100_899), overdue(100_900)), (0, 0, 1));
        assert_eq!(next(&mounts, 1_000), Duration::from_secs(2));
        assert_eq!(next(&mounts[..2], 1_000), POLL);
    }
}
