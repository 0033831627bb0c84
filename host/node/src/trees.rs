//! Work on directories below one that is open: making them, setting mode and owner, moving aside,
//! removing with everything in them.
//!
//! Rules that every file keeps: no link is followed and no other mount entered; a name is any
//! bytes; a tree may be deeper than any path; what is found done is done; work that takes long ends
//! at its [`Bound`] and goes on when it is asked for again. Nothing here knows plans or servers: it
//! runs in a process of its own (`remote`), because each call may wait for a server that is gone.

use std::time::{Duration, Instant};

mod aside;
mod beneath;
mod make;
mod ownership;
mod remove;

pub(crate) use aside::move_aside;
pub(crate) use beneath::Base;
pub(crate) use make::make_directory;
pub(crate) use ownership::{Ownership, Progress, set_ownership};
pub(crate) use remove::remove_tree;

/// When work that can be continued stops.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound(Instant);

impl Bound {
    /// So long from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    fn is_over(self) -> bool {
        Instant::now() >= self.0
    }
}

/// How work ended that stops at a [`Bound`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Everything is as it was to be.
    Done,
    /// The bound came first; so many entries are done.
    Unfinished(u64),
}
