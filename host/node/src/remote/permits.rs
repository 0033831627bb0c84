//! How many processes may wait at a time. A process takes a permit. Each server has a share of
//! them, so a server that is gone, with however many volumes, leaves permits for the others. A call
//! that finds none waits for one until its deadline. Unmounting has permits of its own: when all
//! others are taken, it is what frees them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

/// In this process; each takes two MiB.
const MAX_PERMITS: usize = 64;
/// Of one server: three that are gone leave permits for all others. A server that answers is done
/// with most work within milliseconds, so more would gain nothing, and one that is gone is asked no
/// sooner by more.
const MAX_PER_SERVER: usize = 16;
/// More of both for unmounting, which one that is gone holds up for half a minute each.
const EXTRA_TO_UNMOUNT: usize = 8;
/// And more of all for taking mounts away, which asks no server and takes milliseconds.
const EXTRA_TO_TAKE_AWAY: usize = 8;
/// Work takes milliseconds; asking more rarely would be felt, more often would be noise.
const POLL: Duration = Duration::from_millis(20);

/// What a permit is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Mounting, asking, working on directories.
    Use,
    /// Unmounting what is to be written back first.
    Unmount,
    /// Unmounting without asking the server.
    TakeAway,
    /// Asked by a call that has a permit already, one at a time: otherwise it could wait for
    /// itself.
    Nested,
}

impl Purpose {
    /// How many permits of one server, and how many of all, may be taken with this one.
    fn bounds(self) -> (usize, usize) {
        match self {
            Self::Use => (MAX_PER_SERVER, MAX_PERMITS),
            Self::Unmount => (MAX_PER_SERVER + EXTRA_TO_UNMOUNT, MAX_PERMITS + EXTRA_TO_UNMOUNT),
            Self::TakeAway => (usize::MAX, MAX_PERMITS + EXTRA_TO_UNMOUNT + EXTRA_TO_TAKE_AWAY),
            Self::Nested => (usize::MAX, usize::MAX),
        }
    }
}

/// All permits of this process, by server.
#[derive(Debug, Clone, Default)]
pub(super) struct Permits(Arc<Mutex<BTreeMap<String, usize>>>);

impl Permits {
    /// One for a work that waits for this server.
    ///
    /// # Errors
    /// `Unavailable` naming who is waited for, when there is none at the call's deadline.
    pub fn take(
        &self,
        server: &str,
        purpose: Purpose,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<Permit, Error> {
        loop {
            let refused = match self.try_take(server, purpose) {
                Ok(permit) => return Ok(permit),
                Err(refused) => refused,
            };
            if call.is_cancelled() || call.remaining(clock.now()).is_zero() {
                return Err(refused);
            }
            clock.sleep(POLL, call);
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.locked().values().sum()
    }

    fn try_take(&self, server: &str, purpose: Purpose) -> Result<Permit, Error> {
        let mut taken = self.locked();
        let (of_one, of_all) = purpose.bounds();
        let waiting = taken.get(server).copied().unwrap_or(0);
        if waiting >= of_one {
            return Err(Error::unavailable(format!(
                "{waiting} calls of this node wait for {server} already, and its share is {of_one}"
            ))
            .with_hint(
                "it may be gone: look whether it runs, and at the network to it. Calls for other \
                 servers go on; unmounting what is dead ends those that wait",
            ));
        }
        if taken.values().sum::<usize>() >= of_all {
            let each = taken.iter().map(|(server, waiting)| format!("{waiting} for {server}"));
            return Err(Error::unavailable(format!(
                "no more than {of_all} calls of this node wait at a time, and now {}",
                each.collect::<Vec<_>>().join(", ")
            ))
            .with_hint("look which of them are gone, and unmount what is dead"));
        }
        *taken.entry(server.to_owned()).or_default() += 1;
        Ok(Permit { permits: self.clone(), server: server.to_owned() })
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the permits; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Permits,
    server: String,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.permits.locked();
        if let Some(waiting) = taken.get_mut(&self.server) {
            *waiting -= 1;
            if *waiting == 0 {
                taken.remove(&self.server);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemClock;

    fn take(permits: &Permits, server: &str, purpose: Purpose) -> Result<Permit, Error> {
        permits.take(server, purpose, &Call::until(Duration::ZERO), &SystemClock)
    }

    fn take_all(permits: &Permits, server: &str, purpose: Purpose) -> Vec<Permit> {
        std::iter::from_fn(|| take(permits, server, purpose).ok()).collect()
    }

    #[test]
    fn a_server_that_is_gone_has_its_share_and_no_more() {
        let permits = Permits::default();
        let of_dead = take_all(&permits, "dead", Purpose::Use);
        assert_eq!((of_dead.len(), permits.taken()), (MAX_PER_SERVER, MAX_PER_SERVER));
        let refused = take(&permits, "dead", Purpose::Use).unwrap_err();
        assert!(refused.message.contains("16 calls of this node wait for dead"), "{refused}");
        assert!(refused.message.contains("its share is 16"), "{refused}");
        assert_eq!(take_all(&permits, "alive", Purpose::Use).len(), MAX_PER_SERVER);
        drop(of_dead);
        assert_eq!(permits.taken(), 0);
        assert!(take(&permits, "dead", Purpose::Use).is_ok());
    }

    #[test]
    fn unmounting_finds_a_permit_although_all_others_are_taken() {
        let permits = Permits::default();
        let servers = ["a", "b", "c", "d"];
        let _used = servers.map(|server| take_all(&permits, server, Purpose::Use));
        assert_eq!(permits.taken(), MAX_PERMITS);
        let refused = take(&permits, "e", Purpose::Use).unwrap_err();
        assert!(refused.message.contains("16 for a, 16 for b, 16 for c, 16 for d"), "{refused}");
        let unmounts = take_all(&permits, "a", Purpose::Unmount);
        assert_eq!(unmounts.len(), EXTRA_TO_UNMOUNT);
        assert!(take(&permits, "e", Purpose::Unmount).is_err());
        assert_eq!(take_all(&permits, "a", Purpose::TakeAway).len(), EXTRA_TO_TAKE_AWAY);
    }

    #[test]
    fn a_call_that_has_a_permit_never_waits_for_a_nested_one() {
        let permits = Permits::default();
        let works = take_all(&permits, "a", Purpose::Unmount);
        for _ in &works {
            assert!(take(&permits, "a", Purpose::Nested).is_ok());
        }
    }

    #[test]
    fn a_call_waits_for_a_permit_until_its_deadline() {
        let permits = Permits::default();
        let mut of_one = take_all(&permits, "a", Purpose::Use);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                permits.take("a", Purpose::Use, &Call::until(Duration::MAX), &SystemClock).is_ok()
            });
            of_one.pop();
            assert!(waiting.join().unwrap());
        });
        let call = Call::until(Duration::MAX);
        call.cancel();
        let _all = take_all(&permits, "a", Purpose::Use);
        assert!(permits.take("a", Purpose::Use, &call, &SystemClock).is_err());
    }
}
