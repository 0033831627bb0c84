//! Whose turn it is among the mounts that are due. A mount may take a minute, if its next helper
//! hangs, and the others' keys end meanwhile: a few are renewed at once, those whose keys end
//! first before the others, and those that failed the last time after all of them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wharf_node::supervisor::Status;

/// Few, because each may start another helper, which needs its memory beside the one that goes on
/// until then. With four, a dozen helpers that hang hold the others up for three minutes at most,
/// and only the first time.
const AT_ONCE: usize = 4;
/// What failed the last time is not begun so long after its round began: what became due meanwhile
/// is in the next one.
const AGAIN: Duration = Duration::from_secs(30);

/// Remembers what failed.
#[derive(Debug)]
pub struct Turns {
    /// The one that has waited longest comes first.
    failed: Mutex<VecDeque<PathBuf>>,
    again: Duration,
}

impl Default for Turns {
    fn default() -> Self {
        Self { failed: Mutex::default(), again: AGAIN }
    }
}

impl Turns {
    /// Does this to each mount; what came of it, in no order. `None`: left for the next round.
    pub fn take<'a, T: Send, E: Send>(
        &self,
        mounts: impl IntoIterator<Item = &'a Status>,
        renew: impl Fn(&Status) -> Result<T, E> + Sync,
    ) -> Vec<(&'a Status, Option<Result<T, E>>)> {
        let began = Instant::now();
        let waiting = Mutex::new(self.in_order(mounts.into_iter().collect()));
        let done = Mutex::new(Vec::new());
        let work = || {
            while let Some((mount, has_failed)) = next(&waiting) {
                let is_left = has_failed && began.elapsed() >= self.again;
                let came_of_it = (!is_left).then(|| renew(mount));
                if let Some(result) = &came_of_it {
                    self.note(mount, result.is_err());
                }
                lock(&done).push((mount, came_of_it));
            }
        };
        let others = lock(&waiting).len().min(AT_ONCE).saturating_sub(1);
        std::thread::scope(|scope| {
            for _ in 0..others {
                // Where the system has no thread for it, those that there are do the work.
                if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, work) {
                    tracing::debug!(%error, "fewer mounts get keys at once");
                }
            }
            work();
        });
        done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each with whether it failed the last time.
    fn in_order<'a>(&self, mounts: Vec<&'a Status>) -> VecDeque<(&'a Status, bool)> {
        let mut failed = lock(&self.failed);
        // The others have their keys by now, or are gone.
        failed.retain(|target| mounts.iter().any(|mount| mount.target == *target));
        let mut all: Vec<_> = mounts
            .into_iter()
            .map(|mount| (failed.iter().position(|target| *target == mount.target), mount))
            .collect();
        all.sort_by_key(|(place, mount)| (*place, mount.renew_at_ms));
        all.into_iter().map(|(place, mount)| (mount, place.is_some())).collect()
    }

    fn note(&self, mount: &Status, has_failed: bool) {
        let mut failed = lock(&self.failed);
        failed.retain(|target| *target != mount.target);
        if has_failed {
            failed.push_back(mount.target.clone());
        }
    }
}

fn next<T>(waiting: &Mutex<VecDeque<T>>) -> Option<T> {
    lock(waiting).pop_front()
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::tests::mount;
    use super::*;

    fn named(name: &str, renew_at_ms: u64) -> Status {
        Status { target: name.into(), ..mount(Some(renew_at_ms)) }
    }

    fn is(mount: &Status, name: &str) -> bool {
        mount.target.to_string_lossy().starts_with(name)
    }

    #[test]
    fn helpers_that_hang_do_not_hold_up_the_others_once_they_are_known() {
        let hanging: Vec<_> = (0..12).map(|n| named(&format!("hangs-{n:02}"), 1)).collect();
        let healthy: Vec<_> = (0..20).map(|n| named(&format!("works-{n:02}"), 2 + n)).collect();
        let turns = Turns::default();
        turns.take(&hanging, |_| Err::<(), _>("hangs"));
        // One that hangs ends only when all the healthy ones are through.
        let (through, all_through) = (Mutex::new(0), Condvar::new());
        let bound = Duration::from_secs(60);
        let done = turns.take(hanging.iter().chain(&healthy), |mount| {
            if is(mount, "works") {
                *lock(&through) += 1;
                all_through.notify_all();
                return Ok(());
            }
            let waited = all_through.wait_timeout_while(lock(&through), bound, |n| *n < 20);
            if waited.unwrap().1.timed_out() { Err("held up") } else { Err("hangs") }
        });
        assert_eq!(done.len(), 32);
        for (mount, came_of_it) in done {
            let expected = if is(mount, "works") { Ok(()) } else { Err("hangs") };
            assert_eq!(came_of_it, Some(expected), "{}", mount.target.display());
        }
    }

    #[test]
    fn three_that_hang_leave_a_turn_for_the_others_also_the_first_time() {
        let mounts: Vec<_> =
            ["hangs-1", "hangs-2", "hangs-3", "works-1", "works-2"].map(|n| named(n, 1)).into();
        let (through, all_through) = (Mutex::new(0), Condvar::new());
        let bound = Duration::from_secs(60);
        let done = Turns::default().take(&mounts, |mount| {
            if is(mount, "works") {
                *lock(&through) += 1;
                all_through.notify_all();
                return Ok(());
            }
            let waited = all_through.wait_timeout_while(lock(&through), bound, |n| *n < 2);
            if waited.unwrap().1.timed_out() { Err("held up") } else { Ok(()) }
        });
        assert!(done.iter().all(|(_, came_of_it)| *came_of_it == Some(Ok(()))));
    }

    #[test]
    fn no_more_than_four_get_keys_at_once() {
        let mounts: Vec<_> = (0..40).map(|n| named(&format!("{n}"), 1)).collect();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let done = Turns::default().take(&mounts, |_| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        });
        assert_eq!(done.len(), 40);
        assert!(most.into_inner() <= AT_ONCE);
    }

    #[test]
    fn keys_that_end_first_come_first_and_what_failed_last_comes_last() {
        let mounts = [named("a", 9), named("b", 3), named("c", 5), named("d", 1)];
        let turns = Turns::default();
        let order = |turns: &Turns| {
            let order = turns.in_order(mounts.iter().collect());
            order.iter().map(|(mount, _)| mount.target.display().to_string()).collect::<String>()
        };
        assert_eq!(order(&turns), "dbca");
        turns.note(&mounts[1], true);
        turns.note(&mounts[3], true);
        assert_eq!(order(&turns), "cabd");
        turns.note(&mounts[1], true);
        assert_eq!(order(&turns), "cadb");
        turns.note(&mounts[3], false);
        assert_eq!(order(&turns), "dcab");
        turns.in_order(mounts.iter().take(1).collect());
        assert_eq!(order(&turns), "dbca");
    }

    #[test]
    fn what_failed_is_left_for_another_round_when_this_one_has_lasted_long() {
        let mounts = [named("failed", 1), named("new", 2)];
        let turns = Turns { again: Duration::ZERO, ..Turns::default() };
        turns.note(&mounts[0], true);
        let done = turns.take(&mounts, |_| Ok::<_, ()>(()));
        let began: Vec<_> = done
            .iter()
            .filter(|(_, came_of_it)| came_of_it.is_some())
            .map(|(mount, _)| mount.target.clone())
            .collect();
        assert_eq!(began, [PathBuf::from("new")]);
    }
}
