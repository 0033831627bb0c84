//! Work that may hang in the kernel: on a dead server, a dead helper, a hung disk. It is done on a
//! thread of its own and waited for within a bound, so that it holds up nobody else; a thread that
//! hangs is left behind, and comes back when the kernel lets it.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use wharf_core::Error;
use wharf_core::ports::Call;

/// Threads that hang, at most; each is a stack and nothing else.
const MAX_HANGING: usize = 16;
/// Nobody notices that a cancelled call goes on for so long.
const CANCELLATION_CHECK: Duration = Duration::from_millis(50);

/// The work that is being done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hanging(Arc<Mutex<Vec<String>>>);

impl Hanging {
    /// Does the work and waits for it. `name` says what it is, for people.
    ///
    /// # Errors
    /// `Unavailable` when it is not done within the bound, or when too much hangs already.
    pub fn wait_for<T: Send + 'static>(
        &self,
        call: &Call,
        bound: Duration,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.begin(name)?;
        let (sender, receiver) = channel();
        let (hanging, name_there) = (self.clone(), name.to_owned());
        std::thread::spawn(move || {
            let result = work();
            hanging.end(&name_there);
            // Nobody listens any more when it took too long.
            let _ = sender.send(result);
        });
        let end = Instant::now().checked_add(bound);
        loop {
            let left = end.map_or(CANCELLATION_CHECK, |end| {
                end.saturating_duration_since(Instant::now()).min(CANCELLATION_CHECK)
            });
            match receiver.recv_timeout(left) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout)
                    if !call.is_cancelled() && end.is_none_or(|end| Instant::now() < end) => {}
                Err(_) => {
                    return Err(Error::unavailable(format!("{name} did not answer in time"))
                        .with_hint(
                            "the disk, the server or the helper behind it hangs: look at the \
                             node's kernel log; it goes on by itself when that answers",
                        ));
                }
            }
        }
    }

    /// Whether an earlier work of this name still hangs.
    ///
    /// # Errors
    /// `Unavailable` saying so.
    pub fn check_done(&self, name: &str) -> Result<(), Error> {
        if self.names().iter().any(|other| other == name) {
            return Err(Error::unavailable(format!("{name} hangs since an earlier call"))
                .with_hint("it goes on by itself when the disk or the server behind it answers"));
        }
        Ok(())
    }

    fn begin(&self, name: &str) -> Result<(), Error> {
        let mut names = self.names();
        if names.len() >= MAX_HANGING {
            return Err(Error::unavailable(format!(
                "{MAX_HANGING} mounts of this node do not answer; {name} is not tried"
            ))
            .with_hint("look at the node's kernel log, and unmount the dead ones"));
        }
        names.push(name.to_owned());
        Ok(())
    }

    fn end(&self, name: &str) {
        let mut names = self.names();
        if let Some(index) = names.iter().position(|other| other == name) {
            names.swap_remove(index);
        }
    }

    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn call() -> Call {
        Call::until(Duration::MAX)
    }

    #[test]
    fn what_is_done_in_time_is_handed_on() {
        let hanging = Hanging::default();
        assert_eq!(hanging.wait_for(&call(), LONG, "a", || 7).unwrap(), 7);
        assert_eq!(hanging.wait_for(&call(), Duration::MAX, "a", || 8).unwrap(), 8);
        assert!(hanging.check_done("a").is_ok());
    }

    #[test]
    fn what_hangs_is_left_behind_until_it_comes_back() {
        let hanging = Hanging::default();
        let (release, gate) = channel::<()>();
        let (done, came_back) = channel();
        let work = move || {
            let _ = gate.recv();
            done.send(()).unwrap();
        };
        let error = hanging.wait_for(&call(), Duration::ZERO, "a", work).unwrap_err();
        assert_eq!(error.kind, wharf_core::ErrorKind::Unavailable);
        assert!(hanging.check_done("a").is_err() && hanging.check_done("b").is_ok());
        assert_eq!(hanging.wait_for(&call(), LONG, "b", || 1).unwrap(), 1);
        drop(release);
        came_back.recv().unwrap();
        while hanging.check_done("a").is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_cancelled_call_does_not_wait() {
        let hanging = Hanging::default();
        let (release, gate) = channel::<()>();
        let call = call();
        call.cancel();
        assert!(hanging.wait_for(&call, Duration::MAX, "a", move || gate.recv()).is_err());
        drop(release);
    }

    #[test]
    fn no_more_than_so_many_hang() {
        let hanging = Hanging::default();
        let (release, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for index in 0..MAX_HANGING {
            let gate = Arc::clone(&gate);
            let work = move || gate.lock().unwrap().recv().is_ok();
            assert!(hanging.wait_for(&call(), Duration::ZERO, &index.to_string(), work).is_err());
        }
        let error = hanging.wait_for(&call(), LONG, "more", || ()).unwrap_err();
        assert!(error.message.contains("do not answer"), "{error}");
        drop(release);
    }
}
