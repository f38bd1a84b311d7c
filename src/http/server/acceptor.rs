//! Where connections come from, and what becomes of one that is too many.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use super::{operator::OperatorSocket, service::Peer};

/// A source of connections.
pub(super) trait Acceptor: Send {
    /// A connection's bytes.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for a connection. Loses none when dropped.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Peer)>> + Send;

    /// Sends a connection away with this answer, without waiting for anything.
    fn refuse(io: Self::Io, answer: &[u8]);

    /// The same connection, for the runtime that this is called on.
    fn adopt(io: Self::Io) -> io::Result<Self::Io>;
}

impl Acceptor for TcpListener {
    type Io = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Answers are written whole, so waiting for more to send with them only delays them. A socket that
        // cannot do it works all the same.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        Ok((stream, Peer::Address(address)))
    }

    fn refuse(stream: TcpStream, answer: &[u8]) {
        if let Ok(stream) = stream.into_std() {
            send_refusal(&stream, answer, || stream.shutdown(Shutdown::Write));
        }
    }

    fn adopt(stream: TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(stream.into_std()?)
    }
}

impl Acceptor for Arc<OperatorSocket> {
    type Io = UnixStream;

    async fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        Ok((self.listener().accept().await?.0, Peer::Operator))
    }

    fn refuse(stream: UnixStream, answer: &[u8]) {
        if let Ok(stream) = stream.into_std() {
            send_refusal(&stream, answer, || stream.shutdown(Shutdown::Write));
        }
    }

    fn adopt(stream: UnixStream) -> io::Result<UnixStream> {
        UnixStream::from_std(stream.into_std()?)
    }
}

/// Sends on a plain socket, still non-blocking: one of tokio's waits for the runtime to see that it is writable.
fn send_refusal<S>(mut stream: S, answer: &[u8], shutdown: impl FnOnce() -> io::Result<()>)
where
    S: Read + Write,
{
    let send = move || {
        stream.write_all(answer)?;
        shutdown()?;
        // What has arrived is read, so that closing sends an end and not a reset.
        match stream.read(&mut [0; 16 * 1024]) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    };
    if let Err(error) = send() {
        tracing::debug!(%error, "could not tell a client that too many connections are open");
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
