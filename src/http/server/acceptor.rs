//! Where connections come from, and what becomes of one that is too many.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// The whole answer to a connection past the cap, with the fixed headers of every other answer. There is no
/// request, so there is no id.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 69\r\n\
    Cache-Control: no-store\r\n\
    Retry-After: 1\r\n\
    X-Content-Type-Options: nosniff\r\n\
    X-Frame-Options: DENY\r\n\
    Referrer-Policy: no-referrer\r\n\
    Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n\
    Connection: close\r\n\
    \r\n\
    {\"error\":\"Too many connections. Please retry later.\",\"retry_after\":1}";

/// A source of connections.
pub(super) trait Acceptor: Send {
    /// A connection's bytes.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for a connection. Loses none when dropped.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, SocketAddr)>> + Send;

    /// Sends a connection away with 503, without waiting for anything.
    fn refuse(io: Self::Io);
}

impl Acceptor for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Answers are written whole, so waiting for more to send with them only delays them. A socket that
        // cannot do it works all the same.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Ok((stream, address))
    }

    fn refuse(stream: TcpStream) {
        // `TcpStream::try_write` waits for the runtime to see that a new socket is writable; the plain
        // socket, still non-blocking, does not.
        if let Ok(stream) = stream.into_std()
            && let Err(error) = send_refusal(stream)
        {
            tracing::debug!(%error, "could not tell a client that too many connections are open");
        }
    }
}

fn send_refusal(mut stream: std::net::TcpStream) -> io::Result<()> {
    stream.write_all(REFUSAL)?;
    stream.shutdown(Shutdown::Write)?;
    // What has arrived is read, so that closing sends an end and not a reset.
    match stream.read(&mut [0; 16 * 1024]) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// Whether only the connection that was to be accepted is lost. `accept(2)` reports network errors of the new
/// socket too. Anything else (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` …) is likely to be there at the next
/// call.
pub(super) fn is_per_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::Interrupted
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
    )
}

/// How long to wait after a failed `accept`: 50 ms, doubled each time to 1 s.
pub(super) struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(50);
    const LAST: Duration = Duration::from_secs(1);

    pub(super) const fn new() -> Self {
        Self(Self::FIRST)
    }

    /// The wait after a failure.
    pub(super) fn failed(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(Self::LAST);
        wait
    }

    /// A success: the next wait is the first again.
    pub(super) fn succeeded(&mut self) {
        self.0 = Self::FIRST;
    }
}
