//! Repetition: an operation that fails is begun again after a pause that doubles.

use std::time::{Duration, Instant};

/// How an operation is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first pause.
    pub first: Duration,
    /// Pauses double up to this.
    pub longest: Duration,
    /// No new attempt begins after this. Kubernetes has no such end; a player has to have one.
    pub within: Duration,
    /// What follows a final failure.
    pub on_final: OnFinal,
}

/// What follows a failure that says that nothing is going on any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFinal {
    /// It is repeated all the same, as Kubernetes does.
    Repeat,
    /// It ends the operation: whoever plays wants to see it.
    GiveUp,
}

impl Retry {
    /// kubelet's and the controllers' own pauses (`goroutinemap/exponentialbackoff`: 500 ms,
    /// doubling to 2 min 2 s), for so long.
    pub fn kubernetes(within: Duration) -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(122),
            within,
            on_final: OnFinal::Repeat,
        }
    }

    /// The same rules with short pauses, for tests: only what is not final is repeated.
    pub fn brisk(within: Duration) -> Self {
        Self {
            first: Duration::from_millis(20),
            longest: Duration::from_millis(200),
            within,
            on_final: OnFinal::GiveUp,
        }
    }

    /// One attempt.
    pub fn never() -> Self {
        Self {
            first: Duration::ZERO,
            longest: Duration::ZERO,
            within: Duration::ZERO,
            on_final: OnFinal::GiveUp,
        }
    }

    /// Attempts until one succeeds or the rules say stop; `pause` is told of each pause and takes
    /// it.
    pub(crate) fn run<T, E>(
        &self,
        mut attempt: impl FnMut() -> Result<T, E>,
        is_final: impl Fn(&E) -> bool,
        mut pause: impl FnMut(Duration),
    ) -> Result<T, E> {
        let begun = Instant::now();
        let mut wait = self.first;
        loop {
            let error = match attempt() {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let is_over = begun.elapsed() + wait >= self.within;
            if is_over || (self.on_final == OnFinal::GiveUp && is_final(&error)) {
                return Err(error);
            }
            pause(wait);
            wait = (wait * 2).min(self.longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(retry: Retry, failures: usize, is_final: bool) -> (Result<usize, usize>, Vec<u64>) {
        let mut waits = Vec::new();
        let mut attempts = 0;
        let attempt = || {
            attempts += 1;
            if attempts > failures { Ok(attempts) } else { Err(attempts) }
        };
        let result = retry.run(
            attempt,
            |_| is_final,
            |wait| waits.push(u64::try_from(wait.as_millis()).unwrap()),
        );
        (result, waits)
    }

    #[test]
    fn pauses_double_like_kubelets() {
        let (result, waits) = pauses(Retry::kubernetes(Duration::from_secs(600)), 10, true);
        assert_eq!(result, Ok(11));
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 122_000, 122_000]);
    }

    #[test]
    fn a_final_failure_ends_a_brisk_operation_and_a_passing_one_does_not() {
        assert_eq!(pauses(Retry::brisk(Duration::from_secs(9)), 2, true), (Err(1), vec![]));
        assert_eq!(pauses(Retry::brisk(Duration::from_secs(9)), 2, false), (Ok(3), vec![20, 40]));
        assert_eq!(pauses(Retry::never(), 1, false), (Err(1), vec![]));
    }
}
