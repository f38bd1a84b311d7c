//! HTTP/2 by prior knowledge.

use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `GET http://x/`, ending its stream: static indexes of HPACK, and the authority as it is.
const GET_ROOT: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'x'];
const GOAWAY: u8 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

fn limits() -> Limits {
    Limits { http2_max_streams: Some(2), ..Limits::default() }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Speaks HTTP/2 with a connection in the background.
async fn client<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
) -> SendRequest<axum::body::Body> {
    let (sender, connection) = soon(handshake(TokioExecutor::new(), TokioIo::new(stream))).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn get_path(sender: &SendRequest<axum::body::Body>, path: &str) -> hyper::Result<(u16, String)> {
    let mut sender = sender.clone();
    let request = http::Request::get(format!("http://x{path}")).body(axum::body::Body::empty()).unwrap();
    let response = soon(sender.send_request(request)).await?;
    let status = response.status().as_u16();
    let body = soon(response.into_body().collect()).await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

/// The reason that the server gives for closing the connection.
async fn reason_of_goaway<S: AsyncRead + Unpin>(stream: &mut S) -> u32 {
    loop {
        let mut head = [0; 9];
        soon(stream.read_exact(&mut head)).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        soon(stream.read_exact(&mut payload)).await.unwrap();
        if head[3] == GOAWAY {
            return u32::from_be_bytes(payload[4..8].try_into().unwrap());
        }
    }
}

#[tokio::test]
async fn both_versions_are_spoken_on_one_port() {
    let server = start(router(), limits()).await;
    let sender = client(server.connect().await).await;
    for _ in 0..3 {
        assert_eq!(get_path(&sender, "/hello").await.unwrap(), (200, "hello".to_owned()));
    }
    assert!(get_path(&sender, "/peer").await.unwrap().1.starts_with("127.0.0.1:"));
    assert_eq!(get_path(&sender, "/long").await.unwrap().1.len(), 1024 * 1024);
    assert_eq!(ask(&mut server.connect().await, GET).await.1, "hello");
    let mut other = server.connect().await;
    assert_eq!(
        ask(&mut other, b"PUT /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.0.get(..12),
        Some("http/1.1 405")
    );
}

#[tokio::test]
async fn http2_is_not_spoken_unless_it_is_wanted() {
    let server = start(router(), Limits::default()).await;
    let mut client = server.connect().await;
    soon(client.write_all(&[PREFACE, EMPTY_SETTINGS].concat())).await.unwrap();
    let mut answer = Vec::new();
    soon(client.read_to_end(&mut answer)).await.ok();
    assert_eq!(answer, b"");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_cut_when_the_header_timeout_is_over() {
    let half = [&PREFACE[..10], PREFACE, &[PREFACE, EMPTY_SETTINGS].concat()];
    let block = frame(1, 0, 1, &GET_ROOT[..3]); // a head that a CONTINUATION would end
    for sent in half.into_iter().chain([&*[PREFACE, EMPTY_SETTINGS, &block].concat()]) {
        let begun = Instant::now();
        let mut wire = wire(router(), limits());
        wire.client.write_all(sent).await.unwrap();
        soon(wire.task).await.unwrap();
        let after = begun.elapsed();
        assert!(after >= Duration::from_secs(10) && after < Duration::from_millis(10_005), "{after:?}");
        assert_eq!(wire.counts.borrow().timed_out, [Timeout::Header]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_when_the_idle_timeout_is_over() {
    let wire = wire(router(), limits());
    let sender = client(wire.client).await;
    assert_eq!(get_path(&sender, "/hello").await.unwrap().0, 200);
    let begun = Instant::now();
    soon(wire.task).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_mins(1), "{:?}", begun.elapsed());
    assert_eq!(wire.counts.borrow().timed_out, [Timeout::Idle]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_taken_back_leaves_an_idle_connection() {
    let mut wire = wire(Router::new().fallback(pending::<()>), limits());
    let begun = [PREFACE, EMPTY_SETTINGS, &frame(1, 5, 1, GET_ROOT)].concat();
    wire.client.write_all(&begun).await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_mins(2)).await;
    assert!(!wire.task.is_finished(), "a request that is worked on has no deadline here");
    let taken_back = Instant::now();
    wire.client.write_all(&frame(3, 0, 1, &8_u32.to_be_bytes())).await.unwrap();
    soon(wire.task).await.unwrap();
    assert!(taken_back.elapsed() >= Duration::from_mins(1), "{:?}", taken_back.elapsed());
    assert_eq!(wire.counts.borrow().timed_out, [Timeout::Idle]);
}

#[tokio::test]
async fn a_flood_of_requests_that_are_taken_back_at_once_ends_the_connection_and_no_other() {
    let server = start(router(), limits()).await;
    let other = client(server.connect().await).await;
    assert_eq!(get_path(&other, "/hello").await.unwrap().0, 200);

    let (mut reader, mut writer) = server.connect().await.into_split();
    let mut flood = [PREFACE, EMPTY_SETTINGS].concat();
    for stream in (1..20_000).step_by(2) {
        flood.extend(frame(1, 5, stream, GET_ROOT));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let sending = tokio::spawn(async move {
        writer.write_all(&flood).await.ok();
        writer
    });
    assert_eq!(reason_of_goaway(&mut reader).await, ENHANCE_YOUR_CALM);
    assert_eq!(get_path(&other, "/hello").await.unwrap().0, 200);
    drop(soon(sending).await.unwrap());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = start(router(), limits()).await;
    let sender = client(server.connect().await).await;
    let mut sending = sender.clone();
    let request = http::Request::get("http://x/hello").header("x-large", "x".repeat(200 * 1024));
    let answer = soon(sending.send_request(request.body(axum::body::Body::empty()).unwrap())).await;
    assert_eq!(answer.unwrap().status().as_u16(), 431);
}

#[tokio::test]
async fn a_server_that_stops_answers_what_it_works_on_and_then_closes() {
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(Some(released)));
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let hold = async move || {
        begun.send(()).unwrap();
        let released = released.lock().unwrap().take().unwrap();
        released.await.ok();
        "done"
    };
    let mut server = start(router().route("/hold", get(hold)), limits()).await;
    let idle = client(server.connect().await).await;
    assert_eq!(get_path(&idle, "/hello").await.unwrap().0, 200);
    let sender = client(server.connect().await).await;
    let asking = tokio::spawn(async move { get_path(&sender, "/hold").await });
    soon(begins.recv()).await.unwrap();
    server.shutdown.cancel();
    let mut counts = server.counts.clone();
    soon(counts.wait_for(|counts| counts.closed == 1)).await.unwrap();
    assert!(!server.task.is_finished());
    release.send(()).unwrap();
    assert_eq!(soon(asking).await.unwrap().unwrap(), (200, "done".to_owned()));
    soon(&mut server.task).await.unwrap();
    assert_eq!(counts.borrow().timed_out, []);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_does_not_wait_long_for_a_client_that_does_not_answer() {
    let begun = Instant::now();
    let mut wire = wire(router(), limits());
    wire.client.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    wire.server.stop.ask();
    soon(wire.task).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
