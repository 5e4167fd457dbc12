//! The stream under an SMTP connection: without Nagle's delay, line by line, and able to change to TLS in place.
//!
//! lettre reads replies through a buffer that nobody can look into. This stream hands out one line at a time and keeps
//! the rest itself. So it is known whether the server has said more than it was asked, which must never be taken for the
//! answer to the next command, and whether it hung up while nothing was being sent.
//!
//! Must never happen here: a byte read before TLS that counts after it.

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

/// Bytes of one read, and the most that is kept of what the server says at a time.
const CHUNK: usize = 8 * 1024;
/// The most bytes of all replies to one write, of which a pipelined envelope has four.
const LONGEST: usize = 16 * 1024;
/// The most lines of these. A reply has a few; lettre reads it again from its beginning with every line that is added, so that one
/// without end would take all the time of the processor before it took the memory.
const MOST_LINES: usize = 200;

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// While TLS is being set up, and after that failed.
    Gone,
}

struct Inner {
    io: Io,
    inbox: Vec<u8>,
    /// How much of the inbox was handed out.
    read: usize,
    /// What was handed out since the last write: the reply to it.
    said: Vec<u8>,
    /// Bytes that were handed out since the last write.
    heard: usize,
    /// Whole lines, likewise.
    lines: usize,
}

/// A stream that two hold: lettre's connection, which talks through it, and ours, which looks at it.
#[derive(Clone)]
pub(super) struct Wire {
    inner: Arc<Mutex<Inner>>,
    peer: SocketAddr,
}

impl Wire {
    /// Over a TCP connection, from which Nagle's delay is taken: with it each mail waits 40 ms for a delayed ACK.
    ///
    /// # Errors
    /// Where the peer has left already.
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

    /// Encrypts what follows.
    ///
    /// # Errors
    /// Where the server has said more than it was asked before (it would count as said under TLS), or where the handshake
    /// fails.
    pub(super) async fn encrypt(
        &self,
        connector: &TlsConnector,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        let stream = {
            let mut inner = self.lock();
            if inner.read < inner.inbox.len() {
                return Err(io::Error::other(
                    "the server said something in the clear after it agreed to TLS",
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

    /// Whether what goes over it is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        matches!(self.lock().io, Io::Tls(_))
    }

    /// Whether the peer is this machine.
    pub(super) fn is_local(&self) -> bool {
        self.peer.ip().is_loopback()
    }

    /// The last reply, as it came.
    pub(super) fn last_reply(&self) -> String {
        String::from_utf8_lossy(&self.lock().said).into_owned()
    }

    /// Whether the connection is open and the server silent, as it must be before a command.
    pub(super) fn is_quiet(&self) -> bool {
        let mut inner = self.lock();
        if inner.read < inner.inbox.len() {
            return false;
        }
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        // Whoever reads next registers a waker of their own.
        let mut context = Context::from_waker(Waker::noop());
        // Ready would be words without a question, the end, or an error.
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
        if inner.heard > LONGEST || inner.lines > MOST_LINES {
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
