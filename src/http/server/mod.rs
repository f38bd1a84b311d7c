//! The connection layer: accepts, bounds and closes connections, and hands requests to a responder.
//!
//! It owns what a client can do before a request exists and after its answer is given: how many connections
//! there are, how long a head may take, how long a connection may idle, how it is closed. It knows no route,
//! reads no body and bounds no request; the responder does.
//!
//! * A connection runs in a task of its own. Its end, also by a panic, touches no other.
//! * No failure of `accept` ends the server.
//! * Answers are expected to be whole: the time to take one is `idle_timeout`, and a body is not read further
//!   once the answer's head is there.

mod acceptor;
mod admission;
mod connection;
mod crowd;
mod deadline;
mod event;
mod http2;
mod limit;
mod operator;
mod progress;
mod proxy_header;
mod refusal;
mod service;
mod sniff;
mod stop;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use acceptor::{Acceptor, Backoff, is_per_connection};
use connection::{Arrival, Server};
use event::Opened;

pub use event::{ConnectionEvents, Timeout};
pub use limit::Limits;
pub use operator::OperatorSocket;
pub use refusal::Refusal;
pub use service::{Peer, Responder};

use super::{ClientSource, RequestIds, TunnelUp};

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// Clients, and proxies in front of them.
    Network(TcpListener),
    /// The operator.
    Operator(Arc<OperatorSocket>),
}

/// What connections are served with.
#[derive(Clone)]
pub struct ServerParts<R> {
    /// What answers requests.
    pub responder: R,
    /// The bounds. Listeners that are served apart are bounded apart.
    pub limits: Limits,
    /// Whose connections are not those of one client.
    pub source: ClientSource,
    /// Ids for answers that it does not give.
    pub request_ids: Arc<RequestIds>,
    /// As long as this tunnel is not up, connections from other machines are turned away.
    pub only_while: Option<TunnelUp>,
    /// Where up to half of the connections are served if there are many; `None`: all are served where this is.
    pub crowd: Option<Handle>,
    /// Who is told.
    pub events: Arc<dyn ConnectionEvents>,
}

/// Serves connections of `listener` until `shutdown` is cancelled and the last connection has ended.
///
/// On `shutdown` the listener is closed, idle connections are closed, and the others once their request is
/// answered. That takes as long as the requests take: bound it with a timeout. Dropping the future cuts what
/// is left.
pub async fn serve<R: Responder>(listener: Listener, parts: ServerParts<R>, shutdown: CancellationToken) {
    let server = Server::new(parts);
    match listener {
        Listener::Network(listener) => accept_all(listener, server, shutdown).await,
        Listener::Operator(socket) => accept_all(socket, server, shutdown).await,
    }
}

async fn accept_all<A: Acceptor, R: Responder>(
    mut acceptor: A,
    server: Server<R>,
    shutdown: CancellationToken,
) {
    let server = Arc::new(server);
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = acceptor.accept() => match accepted {
                Ok((io, peer)) => {
                    backoff.succeeded();
                    match server.let_in(peer) {
                        Ok(place) => {
                            open::<A, R>(&mut connections, &server, io, Arrival { peer, place });
                        }
                        Err(refusal) => {
                            server.events.refused(refusal);
                            A::refuse(io, &refusal.answer(&server.request_ids));
                        }
                    }
                }
                Err(error) => accept_failed(&error, &server, &mut backoff, &shutdown).await,
            },
        }
    }
    drop(acceptor);
    server.stop.ask();
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn open<A: Acceptor, R: Responder>(
    connections: &mut JoinSet<()>,
    server: &Arc<Server<R>>,
    io: A::Io,
    arrival: Arrival,
) {
    let opened = Opened::new(&server.events);
    let served_by = Arc::clone(server);
    let serve = async move |io| {
        let _opened = opened;
        connection::run(io, arrival, served_by).await;
    };
    let crowd =
        server.crowd.as_ref().and_then(|crowd| Some((crowd.seat(connections.len())?, &crowd.runtime)));
    match crowd {
        None => connections.spawn(serve(io)),
        Some((seat, runtime)) => {
            let serve_there = async move {
                match A::adopt(io) {
                    Ok(io) => serve(io).await,
                    Err(error) => tracing::debug!(%error, "a connection was lost between two threads"),
                }
                drop(seat);
            };
            connections.spawn_on(serve_there, runtime)
        }
    };
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!("a connection's task panicked");
    }
}

async fn accept_failed<R>(
    error: &io::Error,
    server: &Server<R>,
    backoff: &mut Backoff,
    shutdown: &CancellationToken,
) {
    server.events.accept_failed();
    if is_per_connection(error) {
        tracing::debug!(%error, "a connection was lost before it was accepted");
        return;
    }
    let wait = backoff.failed();
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(%error, wait_ms, "cannot accept connections");
    let _cancelled = shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
}
