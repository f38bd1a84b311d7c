//! Opening connections: the cap, failures, panics.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;

use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};

use super::super::acceptor::{Acceptor, Backoff, is_per_connection};
use super::super::{OperatorSocket, accept_all};
use super::*;
use crate::http::TunnelUp;

/// Gives out what it was told to, then nothing.
struct Script(VecDeque<io::Result<DuplexStream>>);

impl Acceptor for Script {
    type Io = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, Peer)> {
        match self.0.pop_front() {
            Some(next) => next.map(|io| (io, PEER)),
            None => pending().await,
        }
    }

    fn refuse(_io: DuplexStream, _answer: &[u8]) {}

    fn adopt(io: DuplexStream) -> io::Result<DuplexStream> {
        Ok(io)
    }
}

/// `EMFILE`, which has no stable kind.
fn out_of_files() -> io::Error {
    io::Error::from_raw_os_error(24)
}

#[tokio::test(start_paused = true)]
async fn a_failing_accept_is_counted_and_tried_again() {
    let (mut first, first_io) = tokio::io::duplex(1024);
    let (mut second, second_io) = tokio::io::duplex(1024);
    let (aborted, no_files) = (|| Err(ErrorKind::ConnectionAborted.into()), || Err(out_of_files()));
    let script = [no_files(), aborted(), no_files(), aborted(), Ok(first_io), no_files(), Ok(second_io)];
    let (events, counts) = recorder();
    let begun = tokio::time::Instant::now();
    let shutdown = CancellationToken::new();
    let server = Server::new(parts(router(), Limits::default(), events));
    let task = tokio::spawn(accept_all(Script(script.into()), server, shutdown.clone()));

    assert_eq!(ask(&mut first, GET).await.1, "hello");
    assert_eq!(ask(&mut second, GET).await.1, "hello");
    assert_eq!(counts.borrow().accept_failed, 5);
    // Only the lack of files is waited for: 50 ms, 100 ms and, after a success, 50 ms again.
    assert!((200..206).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    shutdown.cancel();
    soon(task).await.unwrap();
}

/// Failure 30: a failed tunnel says "local only" and stays bound to 0.0.0.0.
#[tokio::test]
async fn other_machines_come_in_only_while_the_tunnel_is_up() {
    let server = |tunnel: Option<&TunnelUp>| {
        let parts = parts(router(), Limits::default(), Arc::new(()));
        Server::new(ServerParts { only_while: tunnel.cloned(), ..parts })
    };
    let up = TunnelUp::default();
    let from = |server: &Server<Router>, address: &str| {
        let peer = Peer::Address((address.parse::<IpAddr>().unwrap(), 1).into());
        server.let_in(peer).map(drop)
    };
    assert!(server(Some(&up)).let_in(Peer::Operator).is_ok());
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(from(&server(Some(&up)), address), Ok(()));
    }
    for address in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0"] {
        assert_eq!(from(&server(None), address), Ok(()));
        up.set(true);
        assert_eq!(from(&server(Some(&up)), address), Ok(()));
        up.set(false);
        assert_eq!(from(&server(Some(&up)), address), Err(Refusal::TunnelDown));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_waits_after_a_failure_still_stops_at_once() {
    let begun = tokio::time::Instant::now();
    let (events, mut counts) = recorder();
    let shutdown = CancellationToken::new();
    let script = Script([Err(out_of_files())].into());
    let server = Server::new(parts(router(), Limits::default(), events));
    let task = tokio::spawn(accept_all(script, server, shutdown.clone()));
    soon(counts.wait_for(|counts| counts.accept_failed == 1)).await.unwrap();
    shutdown.cancel();
    soon(task).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[test]
fn the_wait_after_failures_doubles_to_a_second_and_starts_again_after_a_success() {
    let mut backoff = Backoff::new();
    let waits: Vec<_> = (0..7).map(|_| backoff.failed().as_millis()).collect();
    assert_eq!(waits, [50, 100, 200, 400, 800, 1000, 1000]);
    backoff.succeeded();
    assert_eq!(backoff.failed(), Duration::from_millis(50));
}

#[test]
fn only_failures_of_one_connection_are_not_waited_for() {
    assert!(is_per_connection(&ErrorKind::ConnectionAborted.into()));
    assert!(!is_per_connection(&out_of_files()));
    assert!(!is_per_connection(&ErrorKind::OutOfMemory.into()));
}

#[tokio::test]
async fn one_connection_too_many_is_told_so_and_closed_and_the_next_is_served_when_there_is_room() {
    let server = start(router(), Limits { max_connections: 2, ..Limits::default() }).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    ask(&mut first, GET).await;
    ask(&mut second, GET).await;

    let mut third = server.connect().await;
    let (head, body) = soon(read_answer(&mut third)).await;
    assert!(head.starts_with("http/1.1 503 service unavailable\r\n"), "{head}");
    for header in [
        "content-type: application/json; charset=utf-8",
        "retry-after: 1",
        "connection: close",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "referrer-policy: no-referrer",
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
    ] {
        assert!(head.lines().any(|line| line == header), "{head}");
    }
    assert!(head.contains("\r\nx-request-id: "), "{head}");
    assert_eq!(body, r#"{"error":"Too many connections. Please retry later.","retry_after":1}"#);
    assert_eq!(read_to_end(&mut third).await, "");

    drop(first);
    let mut counts = server.counts.clone();
    soon(counts.wait_for(|counts| counts.closed == 1)).await.unwrap();
    assert_eq!(ask(&mut server.connect().await, GET).await.1, "hello");
    let counts = counts.borrow().clone();
    assert_eq!((counts.opened, counts.refused), (3, vec![Refusal::Full]));
}

#[tokio::test]
async fn an_address_with_as_many_connections_as_it_may_have_gets_no_more_and_others_do() {
    let server = start(router(), Limits { max_connections_per_address: 1, ..Limits::default() }).await;
    let mut first = server.connect().await;
    ask(&mut first, GET).await;
    let (head, body) = soon(read_answer(&mut server.connect().await)).await;
    assert!(head.starts_with("http/1.1 429 too many requests\r\n"), "{head}");
    assert!(head.contains("\r\nretry-after: 1\r\n") && head.contains("\r\nx-request-id: "), "{head}");
    assert_eq!(
        body,
        r#"{"error":"Too many connections from this address. Please retry later.","retry_after":1}"#
    );

    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind((Ipv4Addr::new(127, 0, 0, 2), 0).into()).unwrap();
    let mut other = soon(other.connect(server.address)).await.unwrap();
    assert_eq!(ask(&mut other, GET).await.1, "hello");
    drop(first);
    let mut counts = server.counts.clone();
    soon(counts.wait_for(|counts| counts.closed == 1)).await.unwrap();
    assert_eq!(ask(&mut server.connect().await, GET).await.1, "hello");
    assert_eq!(counts.borrow().refused, [Refusal::AddressFull]);
}

#[tokio::test]
async fn a_refused_client_can_read_why_though_it_has_sent_its_request() {
    let server = start(router(), Limits { max_connections: 0, ..Limits::default() }).await;
    // Blocking, so that the request is there before the server's task has a chance to accept.
    let mut client = std::net::TcpStream::connect(server.address).unwrap();
    std::io::Write::write_all(&mut client, GET).unwrap();
    client.set_nonblocking(true).unwrap();
    let mut client = TcpStream::from_std(client).unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(server.counts.borrow().refused, [Refusal::Full]);
}

#[tokio::test]
async fn a_panic_ends_one_connection_and_nothing_else() {
    let server = start(router(), Limits::default()).await;
    let mut other = server.connect().await;
    ask(&mut other, GET).await;

    let mut client = server.connect().await;
    soon(client.write_all(b"GET /panic HTTP/1.1\r\nHost: x\r\n\r\n")).await.unwrap();
    assert_eq!(read_to_end(&mut client).await, "");

    assert_eq!(ask(&mut other, GET).await.1, "hello");
    assert_eq!(ask(&mut server.connect().await, GET).await.1, "hello");
    let counts = server.stop().await;
    assert_eq!((counts.opened, counts.closed), (3, 3));
}

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(1).thread_name(name).enable_all().build().unwrap()
}

#[test]
fn an_adopted_connection_needs_the_runtime_that_accepted_it_no_more() {
    adopts(|| async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener, client)
    });
    adopts(|| async {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        (Arc::new(OperatorSocket::inherited(listener)), client)
    });
}

fn adopts<A, C, F>(connect: impl FnOnce() -> F)
where
    A: Acceptor,
    C: Read + Write,
    F: Future<Output = (A, C)>,
{
    let (first, second) = (runtime("first"), runtime("second"));
    let (mut client, accepted) = first.block_on(async {
        let (mut acceptor, client) = connect().await;
        (client, soon(acceptor.accept()).await.unwrap().0)
    });
    let mut adopted = second.block_on(async { A::adopt(accepted) }).unwrap();
    drop(first);
    client.write_all(b"ping").unwrap();
    second.block_on(async {
        let mut heard = [0; 4];
        soon(adopted.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"ping");
        soon(adopted.write_all(b"pong")).await.unwrap();
    });
    let mut heard = [0; 4];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"pong");
}

#[test]
fn many_connections_are_served_on_two_runtimes_and_closed_on_both() {
    let (crowd, own) = (runtime("crowd"), runtime("own"));
    let name_of_thread = async || std::thread::current().name().unwrap_or_default().to_owned();
    let served = async move {
        let (events, counts) = recorder();
        let router = Router::new().route("/hello", get(name_of_thread));
        let parts = parts(router, Limits::default(), events);
        let running = start_with(ServerParts { crowd: Some(crowd.handle().clone()), ..parts }, counts).await;
        let (mut open, mut threads) = (Vec::new(), Vec::new());
        for _ in 0..140 {
            let mut stream = running.connect().await;
            threads.push(ask(&mut stream, GET).await.1);
            open.push(stream);
        }
        let (first, rest) = threads.split_at(128);
        assert!(first.iter().all(|thread| thread == "own"), "{threads:?}");
        assert!(rest.iter().all(|thread| thread == "crowd"), "{threads:?}");
        assert_eq!(ask(open.last_mut().unwrap(), GET).await.1, "crowd");
        let counts = running.stop().await;
        assert_eq!((counts.opened, counts.closed), (140, 140));
        crowd
    };
    drop(own.block_on(own.spawn(served)).unwrap());
}
