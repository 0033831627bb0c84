//! The signals that end a command which has something to take down: Ctrl-C, a service manager's
//! SIGTERM, a terminal that is closed, Ctrl-\.

use std::task::Poll;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens for them; from then on none of them ends the process.
pub struct Ends(Vec<Signal>);

impl Ends {
    /// Inside a runtime.
    pub fn listen() -> Result<Self> {
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
        ];
        Ok(Self(kinds.into_iter().map(signal).collect::<Result<_, _>>()?))
    }

    /// Waits for the next.
    pub async fn next(&mut self) {
        std::future::poll_fn(|context| {
            if self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
