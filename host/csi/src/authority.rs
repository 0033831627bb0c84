//! What a client writes into `:authority`, made harmless before HTTP/2 is parsed.
//!
//! On a unix socket the authority means nothing, and clients fill it with what they have: kubelet
//! before 1.26 with the socket's path, the gRPC C core (Python, C++) with the path percent-encoded,
//! others with nothing at all. `h2` resets all of these with PROTOCOL_ERROR, as it wants a host
//! name. So every header block on its way in is written anew with `localhost` in that place; all
//! other bytes pass as they are. Rejected: a forked `h2` (its whole source for two lines).

mod frames;
mod header_block;

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tonic::transport::server::{Connected, UdsConnectInfo};

use self::frames::Frames;

/// What is read from the socket at once: the frame size that HTTP/2 begins with.
const READ_BYTES: usize = 16 << 10;

/// A connection whose requests all have the same authority.
pub(crate) struct Rewritten {
    socket: UnixStream,
    frames: Frames,
    /// Rewritten and not yet read.
    ready: Vec<u8>,
    taken: usize,
}

impl Rewritten {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self { socket, frames: Frames::default(), ready: Vec::new(), taken: 0 }
    }

    /// Hands out what is ready; false when nothing is.
    fn hand_out(&mut self, into: &mut ReadBuf<'_>) -> bool {
        let rest = self.ready.get(self.taken..).unwrap_or_default();
        let now = rest.get(..rest.len().min(into.remaining())).unwrap_or_default();
        into.put_slice(now);
        self.taken += now.len();
        let has_some = !now.is_empty();
        if self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
        }
        has_some
    }
}

impl AsyncRead for Rewritten {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        loop {
            if this.hand_out(into) || into.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let mut read = ReadBuf::uninit(&mut bytes);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.frames.pass(read.filled(), &mut this.ready)?;
        }
    }
}

impl AsyncWrite for Rewritten {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

impl Connected for Rewritten {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.socket.connect_info()
    }
}
