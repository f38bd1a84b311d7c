//! Which version of HTTP a client speaks, by its first bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What a client of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection whose first bytes were looked at. They are read again.
pub(super) struct Sniffed<IO> {
    first: [u8; PREFACE.len()],
    /// Which of them are still to be read.
    left: std::ops::Range<usize>,
    io: IO,
}

impl<IO: AsyncRead + Unpin> Sniffed<IO> {
    /// Looks at nothing.
    pub(super) fn unseen(io: IO) -> Self {
        Self { first: [0; PREFACE.len()], left: 0..0, io }
    }

    /// Reads until it is clear whether the client speaks HTTP/2.
    pub(super) async fn new(io: IO) -> io::Result<(Self, bool)> {
        let mut sniffed = Self::unseen(io);
        loop {
            let seen = sniffed.left.end;
            let is_preface = sniffed.first[..seen] == PREFACE[..seen];
            if !is_preface || seen == PREFACE.len() {
                return Ok((sniffed, is_preface));
            }
            let read = sniffed.io.read(&mut sniffed.first[seen..]).await?;
            if read == 0 {
                return Ok((sniffed, false));
            }
            sniffed.left.end += read;
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Sniffed<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.left.len().min(buf.remaining());
        buf.put_slice(&self.first[self.left.start..self.left.start + count]);
        self.left.start += count;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Sniffed<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
