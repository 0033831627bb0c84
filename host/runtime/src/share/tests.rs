use super::*;

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep(&self, _: Duration, _: &Call) {}
}

const MIB: usize = 1 << 20;

fn share(calls: usize, mib: usize) -> Arc<Share> {
    Share::new("backend disk", ShareLimits { calls, memory_bytes: mib * MIB })
}

/// Enters, or says at once that there is no room.
fn enter(share: &Arc<Share>, network: Network) -> Result<Arc<Admission>, Error> {
    share.enter(network, "attach", &Call::until(Duration::ZERO), &StoppedClock)
}

fn all(share: &Arc<Share>, network: Network) -> Vec<Arc<Admission>> {
    std::iter::from_fn(|| enter(share, network).ok()).take(1000).collect()
}

#[test]
fn calls_that_change_leave_room_for_those_that_look_and_for_those_that_compute() {
    for (share, changes, reads) in [
        // Bounded by places, and by memory: 100 and 20 MiB, for 1.25 MiB each.
        (share(40, 1000), 40, 10),
        (share(1000, 160), 80, 16),
    ] {
        let changing = all(&share, Network::Changes);
        let reading = all(&share, Network::Reads);
        assert_eq!((changing.len(), reading.len()), (changes, reads));
        let refused = enter(&share, Network::Changes).unwrap_err();
        assert_eq!(refused.kind, wharf_core::ErrorKind::Unavailable);
        assert!(refused.message.contains("backend disk"), "{refused}");
        assert!(all(&share, Network::None).len() >= 20);
        drop(changing);
        assert_eq!(all(&share, Network::Changes).len(), changes);
    }
}

#[test]
fn memory_is_taken_as_it_is_used_and_given_back_with_the_call() {
    let share = share(100, 160);
    let (large, other) =
        (enter(&share, Network::Changes).unwrap(), enter(&share, Network::Changes).unwrap());
    assert!(large.take(90 * MIB));
    assert!(!other.take(20 * MIB) && other.was_refused() && !large.was_refused());
    assert!(other.take(MIB), "what it does get is its own");
    drop(large);
    assert!(other.take(20 * MIB));
}

#[test]
fn a_call_that_is_alone_gets_all_that_one_call_may_have() {
    let share = share(100, ShareLimits::memory_for(80 * MIB).div_ceil(MIB));
    assert!(enter(&share, Network::Changes).unwrap().take(80 * MIB));
    let alone = enter(&share, Network::Changes).unwrap();
    assert!(!alone.was_refused() && alone.take(80 * MIB), "also when that is expected");
}

#[test]
fn what_calls_of_a_function_needed_is_kept_for_the_next_ones_and_forgotten_later() {
    let share = share(100, 160);
    let large = enter(&share, Network::Changes).unwrap();
    assert!(large.take(40 * MIB));
    drop(large);
    assert_eq!(all(&share, Network::Changes).len(), 2, "40 MiB each, and 100 for all");
    (0..40).for_each(|_| drop(enter(&share, Network::Changes).unwrap()));
    assert!(all(&share, Network::Changes).len() > 60);
}

#[test]
fn whoever_waits_is_served_in_turn_when_there_is_room_and_leaves_with_its_caller() {
    let share = share(1, 160);
    let first = enter(&share, Network::Changes).unwrap();
    let (gone, patient) = (Call::until(Duration::MAX), Call::until(Duration::MAX));
    std::thread::scope(|scope| {
        let waits = |call| {
            let share = &share;
            scope.spawn(move || {
                share.enter(Network::Changes, "attach", call, &StoppedClock).map(drop)
            })
        };
        let leaves = waits(&gone);
        while share.lock().waiting.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let stays = waits(&patient);
        while share.lock().waiting.len() < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        gone.cancel();
        leaves.join().unwrap().unwrap_err();
        drop(first);
        stays.join().unwrap().unwrap();
    });
    assert!(share.lock().waiting.is_empty());
}
