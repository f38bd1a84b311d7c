//! Connections as a client sees them. Deadlines run on tokio's paused clock over an in-memory stream,
//! everything else over sockets on free ports.

mod accept;
mod answer;
mod deadline;
mod head;
mod http2;
mod proxy;
mod shutdown;

use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::connection::{Arrival, Server, run};
use super::{ConnectionEvents, Limits, Listener, Peer, Refusal, Responder, ServerParts, Timeout, serve};
use crate::http::{ClientSource, RequestIds};

const GET: &[u8] = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
const GET_AND_CLOSE: &[u8] = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    opened: usize,
    closed: usize,
    refused: Vec<Refusal>,
    heads_refused: usize,
    proxies_refused: usize,
    accept_failed: usize,
    timed_out: Vec<Timeout>,
}

/// Counts events, and lets a test wait for them.
struct Recorder(watch::Sender<Counts>);

impl ConnectionEvents for Recorder {
    fn opened(&self) {
        self.0.send_modify(|counts| counts.opened += 1);
    }
    fn closed(&self) {
        self.0.send_modify(|counts| counts.closed += 1);
    }
    fn refused(&self, refusal: Refusal) {
        self.0.send_modify(|counts| counts.refused.push(refusal));
    }
    fn head_refused(&self) {
        self.0.send_modify(|counts| counts.heads_refused += 1);
    }
    fn proxy_header_refused(&self) {
        self.0.send_modify(|counts| counts.proxies_refused += 1);
    }
    fn accept_failed(&self) {
        self.0.send_modify(|counts| counts.accept_failed += 1);
    }
    fn timed_out(&self, timeout: Timeout) {
        self.0.send_modify(|counts| counts.timed_out.push(timeout));
    }
}

fn recorder() -> (Arc<Recorder>, watch::Receiver<Counts>) {
    let (sender, receiver) = watch::channel(Counts::default());
    (Arc::new(Recorder(sender)), receiver)
}

/// Fails the test instead of hanging. Longer than any deadline, since a paused clock jumps to the next one.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(90), future).await.unwrap()
}

fn router() -> Router {
    Router::new()
        .route("/hello", get(async || "hello"))
        .route("/peer", get(async |Extension(peer): Extension<Peer>| shown(peer)))
        .route("/long", get(async || "x".repeat(1024 * 1024)))
        .route("/never", get(pending::<()>))
        .route("/echo", post(async |body: Bytes| body))
        .route("/refuse", post(async || (http::StatusCode::TOO_MANY_REQUESTS, "no".repeat(500))))
        .route("/first", post(read_first_frame))
        .route("/refuse-at-length", post(async || "x".repeat(1024 * 1024)))
        .route("/panic", get(panic_on_purpose))
}

fn shown(peer: Peer) -> String {
    match peer {
        Peer::Address(address) => address.to_string(),
        Peer::Operator => "operator".to_owned(),
    }
}

async fn panic_on_purpose() -> &'static str {
    panic!("a handler panics on purpose")
}

/// Answers when the first part of the body is there, and leaves the rest.
async fn read_first_frame(request: Request) -> String {
    let frame = request.into_body().frame().await.unwrap().unwrap();
    format!("{} bytes", frame.into_data().unwrap().len())
}

/// A connection over memory.
struct Wire {
    client: DuplexStream,
    task: JoinHandle<()>,
    counts: watch::Receiver<Counts>,
    server: Arc<Server<Router>>,
}

const PEER: Peer = Peer::Address(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1));

/// Routes with nothing around them.
impl Responder for Router {
    async fn respond(&self, request: Request) -> Response {
        self.clone().call(request).await.unwrap()
    }
}

fn parts(responder: Router, limits: Limits, events: Arc<dyn ConnectionEvents>) -> ServerParts<Router> {
    let request_ids = Arc::new(RequestIds::new(*b"the test"));
    let (source, only_while, crowd) = (ClientSource::default(), None, None);
    ServerParts { responder, limits, source, request_ids, only_while, crowd, events }
}

fn wire(router: Router, limits: Limits) -> Wire {
    let (events, counts) = recorder();
    wire_to(parts(router, limits, events), counts)
}

fn wire_to(parts: ServerParts<Router>, counts: watch::Receiver<Counts>) -> Wire {
    let (client, io) = tokio::io::duplex(64 * 1024);
    let server = Arc::new(Server::new(parts));
    let task = tokio::spawn(serve_one(io, Arc::clone(&server)));
    Wire { client, task, counts, server }
}

/// Serves one connection of [`PEER`].
async fn serve_one(io: DuplexStream, server: Arc<Server<Router>>) {
    let place = server.admission.enter(server.counted_address(PEER)).ok().unwrap();
    run(io, Arrival { peer: PEER, place }, server).await;
}

/// A server on a socket.
struct Running {
    address: SocketAddr,
    task: JoinHandle<()>,
    counts: watch::Receiver<Counts>,
    shutdown: CancellationToken,
}

async fn start(router: Router, limits: Limits) -> Running {
    let (events, counts) = recorder();
    start_with(parts(router, limits, events), counts).await
}

async fn start_with(parts: ServerParts<Router>, counts: watch::Receiver<Counts>) -> Running {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(Listener::Network(listener), parts, shutdown.clone()));
    Running { address, task, counts, shutdown }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(self.address)).await.unwrap()
    }

    async fn stop(mut self) -> Counts {
        self.shutdown.cancel();
        soon(&mut self.task).await.unwrap();
        self.counts.borrow_and_update().clone()
    }
}

/// Sends a request and reads the head of its answer and, by `Content-Length`, its body.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &[u8]) -> (String, String) {
    soon(stream.write_all(request)).await.unwrap();
    soon(read_answer(stream)).await
}

async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length =
        head.split("content-length: ").nth(1).unwrap_or("0").lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

async fn read_to_end<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut text = Vec::new();
    soon(stream.read_to_end(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}
