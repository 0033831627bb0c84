//! Several questions at once: each may wait for somebody who does not answer.

/// Asks about each, on a thread of its own.
pub fn in_parallel<'a, T: Sync, R: Send>(
    all: &'a [T],
    ask: impl Fn(&'a T) -> R + Sync,
) -> Vec<(&'a T, R)> {
    let ask = &ask;
    std::thread::scope(|scope| {
        let threads: Vec<_> = all.iter().map(|one| (one, scope.spawn(move || ask(one)))).collect();
        threads.into_iter().filter_map(|(one, thread)| Some((one, thread.join().ok()?))).collect()
    })
}
