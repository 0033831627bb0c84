//! A TCP listener, with TLS if wanted, whose connections can be cut on purpose: before the answer,
//! or in the middle of its body.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

const OPEN: i64 = -1;

/// What a connection may still send.
#[derive(Debug, Clone)]
pub(crate) struct Cutter {
    /// [`OPEN`], or how many bytes of the next answer's body may still go out before the
    /// connection closes; 0 also holds its head back.
    body_bytes: Arc<AtomicI64>,
}

impl Cutter {
    /// Closes the connection instead of answering.
    pub(crate) fn cut(&self) {
        self.body_bytes.store(0, Ordering::Release);
    }

    /// Closes the connection after so many bytes of the answer's body (at least one).
    pub(crate) fn cut_after(&self, body_bytes: usize) {
        self.body_bytes
            .store(i64::try_from(body_bytes.max(1)).unwrap_or(i64::MAX), Ordering::Release);
    }
}

/// Listens, and never gives up: a failed accept concerns one client.
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<TlsAcceptor>,
}

impl Listener for Acceptor {
    type Io = Wire;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Wire, Self::Addr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let cutter = Cutter { body_bytes: Arc::new(AtomicI64::new(OPEN)) };
                    let stream = match &self.tls {
                        Some(tls) => Stream::Greeting(Box::new(tls.accept(stream))),
                        None => Stream::Plain(stream),
                    };
                    return (Wire { stream, cutter }, address);
                }
                // Out of descriptors, say: give others time to close theirs.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Acceptor>> for Cutter {
    fn connect_info(stream: IncomingStream<'_, Acceptor>) -> Self {
        stream.io().cutter.clone()
    }
}

/// One connection.
pub(crate) struct Wire {
    stream: Stream,
    cutter: Cutter,
}

/// A handshake is part of the connection's first read, so that a client that does not finish its
/// own holds up nobody else's.
enum Stream {
    Plain(TcpStream),
    Greeting(Box<Accept<TcpStream>>),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that bytes go through.
trait Bytes: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Bytes for T {}

impl Stream {
    /// The stream behind, once the handshake is done.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<&mut dyn Bytes>> {
        if let Self::Greeting(greeting) = self {
            let stream = std::task::ready!(Pin::new(greeting).poll(context))?;
            *self = Self::Tls(Box::new(stream));
        }
        match self {
            Self::Plain(stream) => Poll::Ready(Ok(stream)),
            Self::Tls(stream) => Poll::Ready(Ok(stream.as_mut())),
            Self::Greeting(_) => Poll::Pending,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = std::task::ready!(self.stream.poll_ready(context))?;
        Pin::new(stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let left = self.cutter.body_bytes.load(Ordering::Acquire);
        if left == OPEN {
            let stream = std::task::ready!(self.stream.poll_ready(context))?;
            return Pin::new(stream).poll_write(context, buffer);
        }
        let Ok(left) = usize::try_from(left) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        };
        if left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        // The server writes head and body of a small answer in one piece.
        let head =
            buffer.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
        let allowed = buffer.get(..head.saturating_add(left)).unwrap_or(buffer);
        let stream = std::task::ready!(self.stream.poll_ready(context))?;
        let written = std::task::ready!(Pin::new(stream).poll_write(context, allowed))?;
        let body = written.saturating_sub(head);
        self.cutter
            .body_bytes
            .store(i64::try_from(left.saturating_sub(body)).unwrap_or(0), Ordering::Release);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = std::task::ready!(self.stream.poll_ready(context))?;
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = std::task::ready!(self.stream.poll_ready(context))?;
        Pin::new(stream).poll_shutdown(context)
    }
}
