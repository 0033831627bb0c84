//! Connections, as they are accepted. A failed `accept` is asked again by gRPC at once, silently
//! and for ever; here it is logged, and waited after, because what it lacks (file descriptors,
//! memory) does not come back at once.

use std::io;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};

/// Twenty attempts a second cost nothing, and a caller that waits for one of them does not notice.
const PAUSE: Duration = Duration::from_millis(50);

/// What the listener accepts; each failure comes [`PAUSE`] late.
pub(crate) fn connections(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> {
    let mut has_failed = false;
    UnixListenerStream::new(listener).then(move |accepted| {
        let is_logged = std::mem::replace(&mut has_failed, accepted.is_err());
        pause_after_failure(accepted, is_logged)
    })
}

/// `is_logged`: the failure before this one is in the log, and one line for each attempt would fill
/// a disk.
async fn pause_after_failure<T>(accepted: io::Result<T>, is_logged: bool) -> io::Result<T> {
    if let Err(error) = &accepted {
        if !is_logged {
            tracing::warn!(%error, "no connection can be accepted; calls wait until the machine has room for them");
        }
        tokio::time::sleep(PAUSE).await;
    }
    accepted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether it has a result without any waiting.
    async fn is_ready(accepted: io::Result<()>) -> bool {
        tokio::select! {
            biased;
            _ = pause_after_failure(accepted, false) => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn a_connection_is_passed_on_at_once_and_a_failure_is_not() {
        assert!(is_ready(Ok(())).await);
        const EMFILE: i32 = 24;
        assert!(!is_ready(Err(io::Error::from_raw_os_error(EMFILE))).await);
    }
}
