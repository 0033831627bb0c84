//! How many processes may wait at a time. Each server has a share, so that one that is gone, with
//! however many volumes, leaves places for the others; a call that finds none waits for one as long
//! as it may. What takes mounts away has places of its own behind those: with all others taken, it
//! is what makes them free again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wharf_core::Error;
use wharf_core::ports::{Call, Clock};

/// In this process; each takes two MiB.
const ALL: usize = 64;
/// Of one server: three that are gone leave places for all others. A server that answers is done
/// with most work within milliseconds, so more would gain nothing, and one that is gone is asked no
/// sooner by more.
const OF_ONE: usize = 16;
/// More of both for unmounting, which one that is gone holds up for half a minute each.
const TO_UNMOUNT: usize = 8;
/// And more of all for unmounting by force, which asks no server and takes milliseconds.
const TO_FORCE: usize = 8;
/// Work takes milliseconds; asking more rarely would be felt, more often would be noise.
const POLL: Duration = Duration::from_millis(20);

/// What a place is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Mounting, asking, working on directories.
    Use,
    /// Unmounting what is to be written back first.
    Unmount,
    /// Unmounting without asking the server.
    Force,
    /// What a work that has a place does beside, one at a time: it would wait for itself.
    Beside,
}

impl Aim {
    /// How many places of one server, and how many of all, may be taken with this one.
    fn bounds(self) -> (usize, usize) {
        match self {
            Self::Use => (OF_ONE, ALL),
            Self::Unmount => (OF_ONE + TO_UNMOUNT, ALL + TO_UNMOUNT),
            Self::Force => (usize::MAX, ALL + TO_UNMOUNT + TO_FORCE),
            Self::Beside => (usize::MAX, usize::MAX),
        }
    }
}

/// All places of this process, by server.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<BTreeMap<String, usize>>>);

impl Places {
    /// One for a work that waits for this server.
    ///
    /// # Errors
    /// `Unavailable` naming who is waited for, when there is none at the call's deadline.
    pub fn take(
        &self,
        server: &str,
        aim: Aim,
        call: &Call,
        clock: &dyn Clock,
    ) -> Result<Place, Error> {
        loop {
            let refused = match self.try_take(server, aim) {
                Ok(place) => return Ok(place),
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

    fn try_take(&self, server: &str, aim: Aim) -> Result<Place, Error> {
        let mut taken = self.locked();
        let (of_one, of_all) = aim.bounds();
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
        Ok(Place { places: self.clone(), server: server.to_owned() })
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the places, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    server: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.locked();
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

    fn take(places: &Places, server: &str, aim: Aim) -> Result<Place, Error> {
        places.take(server, aim, &Call::until(Duration::ZERO), &SystemClock)
    }

    fn take_all(places: &Places, server: &str, aim: Aim) -> Vec<Place> {
        std::iter::from_fn(|| take(places, server, aim).ok()).collect()
    }

    #[test]
    fn a_server_that_is_gone_has_its_share_and_no_more() {
        let places = Places::default();
        let of_dead = take_all(&places, "dead", Aim::Use);
        assert_eq!((of_dead.len(), places.taken()), (OF_ONE, OF_ONE));
        let refused = take(&places, "dead", Aim::Use).unwrap_err();
        assert!(refused.message.contains("16 calls of this node wait for dead"), "{refused}");
        assert!(refused.message.contains("its share is 16"), "{refused}");
        assert_eq!(take_all(&places, "alive", Aim::Use).len(), OF_ONE);
        drop(of_dead);
        assert_eq!(places.taken(), 0);
        assert!(take(&places, "dead", Aim::Use).is_ok());
    }

    #[test]
    fn what_takes_mounts_away_finds_a_place_although_all_are_taken() {
        let places = Places::default();
        let servers = ["a", "b", "c", "d"];
        let _used = servers.map(|server| take_all(&places, server, Aim::Use));
        assert_eq!(places.taken(), ALL);
        let refused = take(&places, "e", Aim::Use).unwrap_err();
        assert!(refused.message.contains("16 for a, 16 for b, 16 for c, 16 for d"), "{refused}");
        let unmounts = take_all(&places, "a", Aim::Unmount);
        assert_eq!(unmounts.len(), TO_UNMOUNT);
        assert!(take(&places, "e", Aim::Unmount).is_err());
        assert_eq!(take_all(&places, "a", Aim::Force).len(), TO_FORCE);
    }

    #[test]
    fn a_work_that_has_a_place_is_never_kept_from_what_it_does_beside() {
        let places = Places::default();
        let works = take_all(&places, "a", Aim::Unmount);
        for _ in &works {
            assert!(take(&places, "a", Aim::Beside).is_ok());
        }
    }

    #[test]
    fn a_call_waits_for_a_place_as_long_as_it_may() {
        let places = Places::default();
        let mut of_one = take_all(&places, "a", Aim::Use);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                places.take("a", Aim::Use, &Call::until(Duration::MAX), &SystemClock).is_ok()
            });
            of_one.pop();
            assert!(waiting.join().unwrap());
        });
        let call = Call::until(Duration::MAX);
        call.cancel();
        let _all = take_all(&places, "a", Aim::Use);
        assert!(places.take("a", Aim::Use, &call, &SystemClock).is_err());
    }
}
