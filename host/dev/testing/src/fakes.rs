//! Doubles of the core's ports that keep state: a cloud behind [`FakeBackend`], a machine behind
//! [`FakeNode`], and time that passes only when somebody sleeps behind [`FakeClock`].
//!
//! They behave like the real ones as far as the ports' contracts go, so that front ends and the
//! core are tested through behaviour and not through expectations. Faults are injected by position
//! or by verb; a call can be held in the middle until a test lets it go.

mod backend;
mod clock;
mod cloud;
mod hold;
mod journal;
mod machine;
mod node;

pub use backend::FakeBackend;
pub use clock::{FakeClock, RealClock};
pub use hold::Hold;
pub use journal::Seen;
pub use node::{FakeNode, generous_policy};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Every state here is complete between two statements, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
