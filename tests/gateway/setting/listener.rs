//! `[gateway]`: where it listens, and what it allows a connection.

use moorgate::{
    app::{App, Parts, StartError},
    config::{Inputs, Override, load},
    http::bind::BindError,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{gateway::Gateway, raw::Raw};

/// Why a gateway with these settings does not start.
async fn refusal(settings: &[(&'static str, &str)]) -> StartError {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("moorgate.db").display().to_string();
    let given = settings.iter().copied().chain([("database.path", database.as_str())]);
    let overrides = given.map(|(key, value)| Override { flag: key, key, value: value.to_owned() }).collect();
    let config = load(&Inputs { cwd: folder.path().into(), overrides, ..Inputs::default() }).unwrap();
    match App::start(&config, Parts::default()).await {
        Ok(app) => panic!("it listens on {}", app.address()),
        Err(error) => error,
    }
}

#[tokio::test]
async fn host_is_the_address_to_listen_on() {
    let gateway = Gateway::start_with(&[("gateway.host", "127.0.0.2")]).await;
    assert_eq!(gateway.address().ip().to_string(), "127.0.0.2");
    assert_eq!(gateway.client.get("/health").await.status, 200);
}

#[tokio::test]
async fn port_is_the_port_to_listen_on() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let refused = refusal(&[("gateway.port", &address.port().to_string())]).await;
    let StartError::Bind(BindError::Listen { address: refused, .. }) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(*refused, address.to_string());
}

#[tokio::test]
async fn allow_public_bind_is_needed_for_an_address_that_others_reach() {
    let refused = refusal(&[("gateway.host", "0.0.0.0"), ("gateway.port", "0")]).await;
    assert!(matches!(refused, StartError::Bind(BindError::Public(_))), "{refused:?}");
    let gateway =
        Gateway::start_with(&[("gateway.host", "0.0.0.0"), ("gateway.allow_public_bind", "true")]).await;
    assert!(gateway.address().ip().is_unspecified());
}

#[tokio::test]
async fn header_timeout_secs_ends_a_connection_that_sends_half_a_head() {
    let gateway = Gateway::start_with(&[("gateway.header_timeout_secs", "1")]).await;
    let mut half = Raw::connect(gateway.address()).await;
    half.send("GET /health HTTP/1.1\r\nHost: x\r\n").await;
    assert_eq!(until_closed(&mut half).await, "");
}

#[tokio::test]
async fn idle_timeout_secs_ends_a_connection_that_asks_nothing_more() {
    let gateway = Gateway::start_with(&[("gateway.idle_timeout_secs", "1")]).await;
    let mut idle = Raw::connect(gateway.address()).await;
    assert_eq!(idle.ask("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    assert_eq!(until_closed(&mut idle).await, "");
}

#[tokio::test]
async fn max_connections_is_how_many_are_open() {
    let gateway = Gateway::start_with(&[("gateway.max_connections", "1")]).await;
    let mut first = Raw::connect(gateway.address()).await;
    assert_eq!(first.ask("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    let refused = Raw::connect(gateway.address()).await.reply().await;
    let body = r#"{"error":"Too many connections. Please retry later.","retry_after":1}"#;
    assert_eq!((refused.status, refused.text.as_str()), (503, body));
}

#[tokio::test]
async fn max_connections_per_address_is_how_many_one_client_may_have_open() {
    let gateway = Gateway::start_with(&[("gateway.max_connections_per_address", "1")]).await;
    let mut first = Raw::connect(gateway.address()).await;
    assert_eq!(first.ask("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    let refused = Raw::connect(gateway.address()).await.reply().await;
    let body = r#"{"error":"Too many connections from this address. Please retry later.","retry_after":1}"#;
    refused.assert_is(429, body);
    let mut other = Raw::connect_from([127, 0, 0, 2].into(), gateway.address()).await;
    assert_eq!(other.ask("GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.status, 200);
    let metrics = first.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.text;
    assert!(metrics.contains("\nzeroclaw_connections_address_refused_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn max_head_bytes_and_max_headers_are_how_much_a_head_may_have() {
    let settings = [("gateway.max_head_bytes", "8192"), ("gateway.max_headers", "16")];
    let gateway = Gateway::start_with(&settings).await;
    let large = format!("GET /health HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(9000));
    let many = format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(16));
    for head in [large, many] {
        let refused = Raw::connect(gateway.address()).await.ask(head).await;
        refused.assert_is(431, r#"{"error":"Request header fields too large"}"#);
    }
    let most = format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(15));
    assert_eq!(Raw::connect(gateway.address()).await.ask(most).await.status, 200);
    assert_eq!(gateway.metric("zeroclaw_request_heads_refused_total").await, 2);
}

#[tokio::test]
async fn http2_and_http2_max_streams_say_whether_and_how_wide_http2_is_spoken() {
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let gateway = Gateway::start().await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(begin).await;
    assert_eq!(client.rest().await, b"");
    let settings =
        [("gateway.http2", "true"), ("gateway.http2_max_streams", "7"), ("gateway.header_timeout_secs", "5")];
    let gateway = Gateway::start_with(&settings).await;
    let mut client = Raw::connect(gateway.address()).await;
    client.send(begin).await;
    let answer = client.rest().await;
    let max_streams = [0, 3, 0, 0, 0, 7];
    assert!(answer.windows(6).any(|setting| setting == max_streams), "{}", answer.escape_ascii());
}

/// What still comes until the gateway closes the connection. That it is after this time, and not after the default, is seen in
/// `app::part`.
async fn until_closed(connection: &mut Raw) -> String {
    String::from_utf8(connection.rest().await).unwrap()
}
