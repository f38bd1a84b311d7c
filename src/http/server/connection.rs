//! One connection, from its first byte to its last.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};

use super::ServerParts;
use super::admission::{Admission, Place};
use super::crowd::Crowd;
use super::deadline::Deadline;
use super::event::{ConnectionEvents, Timeout};
use super::http2 as second;
use super::limit::{HYPERS_MAX_HEADERS, Limits};
use super::progress::{Phase, Progress};
use super::proxy_header::{self, Caller, HeaderError};
use super::refusal::Refusal;
use super::service::{Peer, Responder, connection_service};
use super::sniff::Sniffed;
use super::stop::Stop;
use super::stream::Stream;
use crate::http::{ClientSource, RequestIds, TunnelUp};

/// What all connections have in common.
pub(super) struct Server<R> {
    http1: http1::Builder,
    http2: Option<http2::Builder<TokioExecutor>>,
    source: ClientSource,
    only_while: Option<TunnelUp>,
    pub(super) responder: R,
    pub(super) limits: Limits,
    pub(super) admission: Arc<Admission>,
    pub(super) request_ids: Arc<RequestIds>,
    pub(super) events: Arc<dyn ConnectionEvents>,
    pub(super) stop: Stop,
    pub(super) crowd: Option<Crowd>,
}

/// A connection that was let in: whose it is, and its place among the others.
pub(super) struct Arrival {
    pub(super) peer: Peer,
    pub(super) place: Place,
}

fn is_this_machine(peer: Peer) -> bool {
    match peer {
        Peer::Address(address) => address.ip().to_canonical().is_loopback(),
        Peer::Operator => true,
    }
}

impl<R: Responder> Server<R> {
    pub(super) fn new(parts: ServerParts<R>) -> Self {
        let ServerParts { responder, limits, source, request_ids, only_while, crowd, events } = parts;
        let mut http1 = http1::Builder::new();
        // hyper's own timeout runs from the last answer, not from the head's first byte, so it cannot tell a
        // slow head from an idle connection. `Deadline` can.
        http1.header_read_timeout(None).max_buf_size(limits.head_buffer_bytes());
        // To set it costs, as hyper documents, an allocation for every request.
        if limits.max_headers != HYPERS_MAX_HEADERS {
            http1.max_headers(limits.max_headers);
        }
        let http2 = limits.http2_max_streams.map(|max| second::builder(&limits, max));
        let admission = Admission::new(&limits);
        let (stop, crowd) = (Stop::default(), crowd.map(Crowd::new));
        Self {
            http1,
            http2,
            source,
            only_while,
            responder,
            limits,
            admission,
            request_ids,
            events,
            stop,
            crowd,
        }
    }

    /// A place for a connection, or why it gets none.
    pub(super) fn let_in(&self, peer: Peer) -> Result<Place, Refusal> {
        if self.only_while.as_ref().is_some_and(|tunnel| !tunnel.get()) && !is_this_machine(peer) {
            return Err(Refusal::TunnelDown);
        }
        self.admission.enter(self.counted_address(peer))
    }

    /// The address that a connection is counted for: none if it is the operator's, or of a proxy that has many clients.
    pub(super) fn counted_address(&self, peer: Peer) -> Option<IpAddr> {
        match peer {
            Peer::Address(address) => Some(address.ip()).filter(|address| !self.source.may_forward(*address)),
            Peer::Operator => None,
        }
    }

    fn is_introduced(&self, peer: Peer) -> bool {
        matches!(peer, Peer::Address(address) if self.source.is_introduced(address.ip()))
    }

    /// Waits for what must be there before the first request.
    async fn in_time<T>(&self, awaited: impl Future<Output = T>, opened: Instant) -> Option<T> {
        let awaited = async {
            match opened.checked_add(self.limits.header_timeout) {
                Some(due) => timeout_at(due, awaited).await.ok(),
                None => Some(awaited.await),
            }
        };
        let awaited = self.stop.ends(awaited).await?;
        if awaited.is_none() {
            self.events.timed_out(Timeout::Header);
        }
        awaited
    }

    /// Reads whom a proxy connects for, and counts the connection as that client's; `None` if it has ended.
    async fn introduce<IO: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: &mut IO,
        arrival: &mut Arrival,
        opened: Instant,
    ) -> Option<()> {
        match self.in_time(proxy_header::read(io), opened).await? {
            Ok(Caller::Client(client)) => arrival.peer = Peer::Address(client),
            Ok(Caller::Proxy) => return Some(()),
            Err(HeaderError::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => return None,
            Err(error) => {
                self.events.proxy_header_refused();
                tracing::debug!(%error, "no header of the PROXY protocol could be read");
                return None;
            }
        }
        let address = self.counted_address(arrival.peer);
        match address.map_or(Ok(()), |address| arrival.place.is_from(address)) {
            Ok(()) => Some(()),
            Err(refusal) => {
                self.refuse(io, refusal).await;
                None
            }
        }
    }

    async fn refuse<IO: AsyncWrite + Unpin>(&self, io: &mut IO, refusal: Refusal) {
        self.events.refused(refusal);
        let answer = refusal.answer(&self.request_ids);
        let send = async {
            io.write_all(&answer).await?;
            io.shutdown().await
        };
        timeout(self.limits.linger_timeout, send).await.ok();
    }
}

/// Serves requests until the client leaves, misses a deadline, or the server's connections are asked to stop: then it finishes the
/// request at hand, if any. Drop the future to cut the connection.
pub(super) async fn run<IO, R>(mut io: IO, mut arrival: Arrival, server: Arc<Server<R>>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
    R: Responder,
{
    let opened = Instant::now();
    if server.is_introduced(arrival.peer) && server.introduce(&mut io, &mut arrival, opened).await.is_none() {
        return;
    }
    let Arrival { peer, place: _place } = arrival;
    let Some(http2) = &server.http2 else {
        return run_http1(Sniffed::unseen(io), peer, server, opened).await;
    };
    match server.in_time(Sniffed::new(io), opened).await {
        Some(Ok((io, true))) => {
            Box::pin(second::run(io, peer, (&server, http2), opened)).await;
        }
        Some(Ok((io, false))) => run_http1(io, peer, Arc::clone(&server), opened).await,
        Some(Err(error)) => tracing::debug!(%error, "connection ended"),
        None => {}
    }
}

async fn run_http1<IO, R>(io: IO, peer: Peer, server: Arc<Server<R>>, opened: Instant)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
    R: Responder,
{
    let progress = Arc::new(Progress::new());
    let mut deadline = Deadline::new(server.limits, opened);
    let stream = Stream::new(io, Arc::clone(&progress), Arc::clone(&server));
    let service = connection_service(&server.responder, peer, &progress);
    let mut http = pin!(server.http1.serve_connection(TokioIo::new(stream), service));
    let mut stop = pin!(server.stop.asked());
    let mut stopping = false;
    let ended = poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            http.as_mut().graceful_shutdown();
        }
        match http.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => deadline.poll_expired(cx, &progress).map(Err),
        }
    })
    .await;
    match ended {
        Ok(Ok(())) | Err(Phase::Busy | Phase::Lingering) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection ended"),
        Err(Phase::Opening | Phase::Head) => server.events.timed_out(Timeout::Header),
        Err(Phase::Idle) => server.events.timed_out(Timeout::Idle),
    }
}
