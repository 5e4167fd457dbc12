//! The stream under an SMTP connection. It has no Nagle delay, is read line by line, and can change to TLS.
//!
//! lettre reads replies through a buffer that other code cannot see. This stream gives lettre one line at a
//! time and keeps the rest in its own buffer. So Candor knows whether the server has sent more than one
//! reply, which must never count as the answer to the next command. It also knows whether the server closed
//! the connection while nothing was being sent.
//!
//! A byte that was read before TLS never counts after it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use lettre::transport::smtp::client::AsyncTokioStream;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The number of bytes of one read, and the largest part of a reply that is kept for [`Wire::last_reply`].
const CHUNK: usize = 8 * 1024;
/// The largest number of bytes of all replies to one write. A pipelined envelope has four replies.
const LONGEST: usize = 16 * 1024;
/// The largest number of lines of all replies to one write. A normal reply has a few lines. lettre parses a
/// reply again from its beginning with every line that is added, so an endless reply would use all processor
/// time.
const MAX_LINES: usize = 200;

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS is being set up, or setting it up failed.
    Gone,
}

struct Inner {
    io: Io,
    inbox: Vec<u8>,
    /// The number of bytes of `inbox` that were given to lettre.
    read: usize,
    /// The reply to the last write.
    said: Vec<u8>,
    /// The number of bytes that were given to lettre since the last write.
    heard: usize,
    /// The number of complete lines that were given to lettre since the last write.
    lines: usize,
}

/// A stream with two owners: lettre's connection, which reads and writes, and the dialogue, which inspects
/// it.
#[derive(Clone)]
pub(super) struct Wire {
    inner: Arc<Mutex<Inner>>,
    peer: SocketAddr,
}

impl Wire {
    /// Creates the stream from a TCP connection and turns off Nagle's algorithm. With it, each email would
    /// wait 40 ms for a delayed ACK.
    ///
    /// # Errors
    /// An I/O error, for example if the server has already closed the connection.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        Ok(Wire {
            inner: Arc::new(Mutex::new(Inner {
                io: Io::Plain(stream),
                inbox: Vec::new(),
                read: 0,
                said: Vec::new(),
                heard: 0,
                lines: 0,
            })),
            peer,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the connection to TLS.
    ///
    /// # Errors
    /// An I/O error, if the server sent more than one reply before TLS (it would otherwise count as sent
    /// under TLS), or if the handshake fails.
    pub(super) async fn encrypt(
        &self,
        connector: &TlsConnector,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        let stream = {
            let mut inner = self.lock();
            if inner.read < inner.inbox.len() {
                return Err(io::Error::other(
                    "the server sent unencrypted data after it agreed to TLS",
                ));
            }
            match std::mem::replace(&mut inner.io, Io::Gone) {
                Io::Plain(stream) => stream,
                other => {
                    inner.io = other;
                    return Err(io::Error::other("it is encrypted already"));
                }
            }
        };
        let stream = connector.connect(name, stream).await?;
        let mut inner = self.lock();
        inner.io = Io::Tls(Box::new(stream));
        inner.said.clear();
        Ok(())
    }

    /// Returns whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.lock().io, Io::Tls(_))
    }

    /// Returns whether the server runs on the same machine.
    pub(super) fn is_local(&self) -> bool {
        self.peer.ip().is_loopback()
    }

    /// Returns the last reply unchanged.
    pub(super) fn last_reply(&self) -> String {
        String::from_utf8_lossy(&self.lock().said).into_owned()
    }

    /// Returns whether the connection is open and the server has sent nothing unexpected. This must be true
    /// before each command.
    pub(super) fn is_quiet(&self) -> bool {
        let mut inner = self.lock();
        if inner.read < inner.inbox.len() {
            return false;
        }
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        // The next reader registers its own waker.
        let mut context = Context::from_waker(Waker::noop());
        // If the read is ready, the server sent something unexpected, closed the connection, or there was an
        // error.
        inner.io.poll_read(&mut context, &mut buffer).is_pending()
    }
}

impl Io {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.lock();
        if inner.read == inner.inbox.len() {
            inner.inbox.resize(CHUNK, 0);
            inner.read = 0;
            let mut chunk = ReadBuf::new(&mut inner.inbox);
            let polled = inner.io.poll_read(context, &mut chunk);
            let filled = chunk.filled().len();
            inner.inbox.truncate(filled);
            match polled {
                Poll::Ready(Ok(())) if filled > 0 => {}
                other => return other,
            }
        }
        let rest = &inner.inbox[inner.read..];
        let line = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        let taken = line.min(buffer.remaining());
        inner.heard += taken;
        inner.lines += usize::from(rest[..taken].ends_with(b"\n"));
        if inner.heard > LONGEST || inner.lines > MAX_LINES {
            let error = io::Error::new(io::ErrorKind::InvalidData, "the mail server's reply has no end");
            return Poll::Ready(Err(error));
        }
        buffer.put_slice(&rest[..taken]);
        if inner.said.len() < CHUNK {
            inner.said.extend_from_slice(&rest[..taken]);
        }
        inner.read += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let inner = &mut *self.lock();
        if inner.heard > 0 {
            (inner.heard, inner.lines) = (0, 0);
            inner.said.clear();
        }
        match &mut inner.io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.lock().io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
            Io::Gone => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.lock().io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
