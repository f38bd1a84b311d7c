//! A connection's bytes, watched for their progress, and closed so that the client can read the last answer.
//!
//! Closing a socket with unread bytes in it sends a reset, and the client's system may then throw away an
//! answer that has arrived but was not read. So when a client may still be sending (its request was refused
//! before the body was read, or its head was too large), our side is shut down first, and the rest is read
//! and thrown away until the client closes, within `linger_timeout` and `linger_max_bytes` (RFC 9112, section
//! 9.6).
//!
//! A head that is no request never reaches the service: hyper answers it by itself, with a bare status. What it writes
//! while no answer of the service is due is that, and is replaced by an answer like all others.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{connection::Server, progress::Progress, refusal};

/// Bytes thrown away at a time.
const DISCARD_BYTES: usize = 16 * 1024;

/// The stream of one connection. `poll_shutdown` lingers.
pub(super) struct Stream<IO, R> {
    io: IO,
    progress: Arc<Progress>,
    /// The client has closed its side.
    ended: bool,
    /// Bytes that may still be thrown away, once our side is shut down.
    closing: Option<Closing>,
    /// What is written in place of hyper's own answer.
    instead: Option<Instead>,
    server: Arc<Server<R>>,
}

/// An answer, and how much of it is written.
struct Instead {
    bytes: Vec<u8>,
    written: usize,
}

/// A stream whose writing side is shut down.
struct Closing {
    waits: bool,
    left: usize,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, R> Stream<IO, R> {
    pub(super) fn new(io: IO, progress: Arc<Progress>, server: Arc<Server<R>>) -> Self {
        Self { io, progress, ended: false, closing: None, instead: None, server }
    }

    /// Writes in place of `bytes` if they are hyper's own answer.
    fn poll_write_instead(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_none()
            && let Some(bytes) = refusal::in_place_of(bytes, &self.server.request_ids)
        {
            self.server.events.head_refused();
            self.instead = Some(Instead { bytes, written: 0 });
        }
        let Some(instead) = &mut self.instead else { return Pin::new(&mut self.io).poll_write(cx, bytes) };
        while instead.written < instead.bytes.len() {
            match ready!(Pin::new(&mut self.io).poll_write(cx, &instead.bytes[instead.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => instead.written += written,
            }
        }
        self.instead = None;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Begins to close, when our side is shut down: decides whether to wait for what the client still sends.
    fn closing(&mut self) -> Closing {
        let waits = self.progress.is_sending();
        if waits {
            self.progress.lingering();
        }
        Closing { waits, left: self.server.limits.linger_max_bytes }
    }

    /// Reads and throws away until the client closes. Without waiting: until there is nothing.
    fn poll_discard(&mut self, cx: &mut Context<'_>, closing: &mut Closing) -> Poll<()> {
        while !self.ended && closing.left > 0 {
            let mut space = [MaybeUninit::uninit(); DISCARD_BYTES];
            let mut buffer = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.io).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => self.ended = buffer.filled().is_empty(),
                Poll::Ready(Err(_)) => self.ended = true,
                Poll::Pending if closing.waits => return Poll::Pending,
                Poll::Pending => break,
            }
            closing.left = closing.left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}

impl<IO: AsyncRead + Unpin, R> AsyncRead for Stream<IO, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let full = buf.remaining() == 0;
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        match &buf.filled()[before..] {
            [] => self.ended |= !full,
            bytes => self.progress.received(bytes),
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin, R> AsyncWrite for Stream<IO, R> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.progress.owes_answer() {
            return Pin::new(&mut self.io).poll_write(cx, buf);
        }
        self.poll_write_instead(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.progress.owes_answer() {
            return Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        }
        let bytes: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.poll_write_instead(cx, &bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.progress.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut closing = if let Some(closing) = self.closing.take() {
            closing
        } else {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.closing()
        };
        let done = self.poll_discard(cx, &mut closing);
        self.closing = Some(closing);
        done.map(Ok)
    }
}
