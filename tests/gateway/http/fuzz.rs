//! Anything may come in: a valid request is answered, rubbish harms nobody.

use proptest::{
    collection,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};

use super::*;

const CASES: u32 = 200;
const ROUTES: [&str; 6] = ["/webhook", "/webhook?x=%zz&y", "/pair", "/health", "/ready", "/metrics"];
const METHODS: [&str; 7] = ["POST", "GET", "HEAD", "PUT", "OPTIONS", "CONNECT", "BREW"];
const HEADERS: [&str; 20] = [
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Authorization",
    "Connection",
    "Content-Type",
    "Content-Type",
    "Cookie",
    "Date",
    "Expect",
    "Forwarded",
    "Idempotency-Key",
    "Origin",
    "Range",
    "X-Forwarded-For",
    "X-Idempotency-Key",
    "X-Pairing-Code",
    "X-Request-Id",
    "X-Session-Id",
    "X-Webhook-Secret",
];

/// A request as it is sent.
#[derive(Debug, Clone)]
struct Request {
    method: String,
    bytes: Vec<u8>,
}

/// Method and target; every other request posts a message.
fn line() -> impl Strategy<Value = (String, String)> {
    let route =
        prop_oneof![4 => select(&ROUTES[..]).prop_map(str::to_owned), 1 => "/[a-z0-9/._~%;=@-]{0,40}"];
    let any = (select(&METHODS[..]).prop_map(str::to_owned), route);
    prop_oneof![Just(("POST".to_owned(), "/webhook".to_owned())), any]
}

/// Visible characters, spaces and the bytes beyond ASCII that HTTP allows in values.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![8 => 0x20..0x7f_u8, 1 => Just(b'\t'), 2 => 0x80..=0xff_u8];
    collection::vec(byte, 0..300)
}

fn header(token: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let name = prop_oneof![9 => select(&HEADERS[..]).prop_map(str::to_owned), 1 => "X-[a-zA-Z0-9_.-]{0,30}"];
    let fitting = vec![
        format!("Bearer {token}").into_bytes(),
        b"bearer x".to_vec(),
        b"application/json".to_vec(),
        b"100-continue".to_vec(),
        b"close".to_vec(),
        b"upgrade".to_vec(),
        b"123456".to_vec(),
        b"order-1".to_vec(),
        b"\"order-2\"".to_vec(),
    ];
    let value = prop_oneof![2 => select(fitting), 1 => noise()];
    (name, value).prop_map(|(name, value)| [name.as_bytes(), b": ", &value, b"\r\n"].concat())
}

/// Any headers; half of the time with those in front that a message needs and nothing that spoils them.
fn headers(token: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let needed = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let harmless = ("X-[a-zA-Z0-9_.-]{0,30}", noise())
        .prop_map(|(name, value)| [name.as_bytes(), b": ", &value, b"\r\n"].concat());
    let with_needed =
        collection::vec(harmless, 0..12).prop_map(move |more| [needed.as_bytes(), &more.concat()].concat());
    let any = collection::vec(header(token), 0..12).prop_map(|headers| headers.concat());
    prop_oneof![with_needed, any]
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        4 => any::<String>().prop_map(|text| serde_json::json!({ "message": text }).to_string().into_bytes()),
        2 => Just(br#"{"message":"hello"}"#.to_vec()),
        1 => "[\\[\\]{}\",:0-9a-z\\\\ ]{0,200}".prop_map(String::into_bytes),
        1 => collection::vec(any::<u8>(), 0..2000),
        1 => (60_000..80_000_usize).prop_map(|bytes| vec![b'['; bytes]),
    ]
}

/// The body with the headers that say where it ends.
fn framed(body: &[u8], chunk_bytes: usize) -> (String, Vec<u8>) {
    if chunk_bytes == 0 {
        return (format!("Content-Length: {}\r\n", body.len()), body.to_vec());
    }
    let mut bytes = Vec::new();
    for chunk in body.chunks(chunk_bytes) {
        bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    ("Transfer-Encoding: chunked\r\n".into(), bytes)
}

/// A request with nothing wrong in its syntax.
fn request(token: &str) -> impl Strategy<Value = Request> + use<> {
    let chunk_bytes = prop_oneof![Just(0), 1..5000_usize];
    (line(), headers(token), body(), chunk_bytes).prop_map(
        |((method, target), headers, body, chunk_bytes)| {
            let (framing, body) = framed(&body, chunk_bytes);
            let start = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{framing}");
            Request { method, bytes: [start.as_bytes(), &headers, b"\r\n", &body].concat() }
        },
    )
}

/// A request of which some bytes are changed or the end is missing, or no request at all.
fn rubbish(token: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let edits = collection::vec((any::<Index>(), any::<u8>()), 1..4);
    let edited = (request(token), edits).prop_map(|(Request { mut bytes, .. }, edits)| {
        let editable = bytes.len().min(1000);
        for (at, byte) in edits {
            bytes[at.index(editable)] = byte;
        }
        bytes
    });
    let cut = (request(token), any::<Index>()).prop_map(|(Request { mut bytes, .. }, end)| {
        bytes.truncate(end.index(bytes.len()));
        bytes
    });
    prop_oneof![3 => edited, 1 => cut, 1 => collection::vec(any::<u8>(), 0..3000)]
}

/// Runs `check` on many values against one gateway, which is alive and whole afterwards; this many messages at least are
/// answered, or the values do not reach far.
fn check_all<S: Strategy>(
    strategy: impl FnOnce(&str) -> S,
    least_answered: u64,
    check: &impl AsyncFn(&Gateway, S::Value),
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let settings =
        [("gateway.webhook_rate_limit_per_minute", "0"), ("gateway.pair_rate_limit_per_minute", "0")];
    let (gateway, token) = runtime.block_on(Gateway::paired_with(&settings));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy(&token), |value| {
        runtime.block_on(check(&gateway, value));
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    runtime.block_on(async {
        let series = r#"zeroclaw_http_requests_total{method="POST",route="/webhook",status="200"}"#;
        let answered = gateway.metric(series).await;
        assert!(answered >= least_answered, "{answered}");
        assert_eq!(gateway.client.post(&token, None, "hello").await.status, 200);
        assert_eq!(gateway.client.get("/ready").await.status, 200);
        assert_eq!(gateway.sql("PRAGMA integrity_check"), "ok");
    });
}

#[test]
fn every_valid_request_is_answered_and_never_with_a_500() {
    check_all(request, 10, &async |gateway, request| {
        let mut connection = Raw::connect(gateway.address()).await;
        connection.send(&request.bytes).await;
        let reply = match request.method.as_str() {
            "HEAD" => connection.reply_to_head().await,
            _ => connection.reply().await,
        };
        let known = [200, 400, 401, 403, 404, 405, 409, 413, 422, 429];
        assert!(known.contains(&reply.status), "{reply:?}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply:?}");
        assert!(reply.header("x-request-id").is_some(), "{reply:?}");
    });
}

#[test]
fn rubbish_is_answered_or_cut_off_and_never_with_a_500() {
    // None must be: a client that closes its side before the answer is there, as this one does, has hung up.
    check_all(rubbish, 0, &async |gateway, bytes| {
        let mut connection = Raw::connect(gateway.address()).await;
        connection.send(&bytes).await;
        connection.finish().await;
        let answer = connection.rest().await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{}", answer.escape_ascii());
        assert!(!answer.starts_with(b"HTTP/1.1 5"), "{}", answer.escape_ascii());
    });
}
