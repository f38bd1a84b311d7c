//! Connections: how slow, how long and how many they may be.

use super::*;

const HALF_A_HEAD: &str = "GET /health HTTP/1.1\r\nHost: x\r\n";

/// Failure 29: half a request head stayed open for ever.
#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_disconnected_and_no_other_is() {
    let gateway = Gateway::start_with(&[("gateway.header_timeout_secs", "1")]).await;
    let mut slow = Raw::connect(gateway.address()).await;
    let mut silent = Raw::connect(gateway.address()).await;
    let mut good = Raw::connect(gateway.address()).await;
    slow.send(HALF_A_HEAD).await;
    assert_eq!(good.ask(GET_HEALTH).await.status, 200);
    let mut later = Raw::connect(gateway.address()).await;
    assert_eq!(later.ask(GET_HEALTH).await.status, 200);
    later.send(HALF_A_HEAD).await;
    for connection in [&mut slow, &mut silent, &mut later] {
        assert_eq!(connection.rest().await, b"");
    }
    assert_eq!(good.ask(GET_HEALTH).await.status, 200, "between requests there is more time");
    gateway.until_metric("zeroclaw_connections_timed_out_total", 3).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_that_is_no_misbehaviour() {
    let gateway = Gateway::start_with(&[("gateway.idle_timeout_secs", "1")]).await;
    let mut connection = Raw::connect(gateway.address()).await;
    assert_eq!(connection.ask(GET_HEALTH).await.status, 200);
    assert_eq!(connection.rest().await, b"");
    assert_eq!(gateway.metric("zeroclaw_connections_timed_out_total").await, 0);
}

/// Failure 29: there was no cap on connections.
#[tokio::test]
async fn a_connection_too_many_is_told_so_counted_and_closed_and_the_others_go_on() {
    let gateway = Gateway::start_with(&[("gateway.max_connections", "2")]).await;
    let mut first = Raw::connect(gateway.address()).await;
    let mut second = Raw::connect(gateway.address()).await;
    assert_eq!(first.ask(GET_HEALTH).await.status, 200);
    assert_eq!(second.ask(GET_HEALTH).await.status, 200);
    for _ in 0..3 {
        let mut third = Raw::connect(gateway.address()).await;
        let reply = third.reply().await;
        let body = r#"{"error":"Too many connections. Please retry later.","retry_after":1}"#;
        assert_eq!((reply.status, reply.text.as_str(), reply.retry_after()), (503, body, 1));
        assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(third.rest().await, b"");
    }
    let metrics = first.ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.text;
    for line in ["zeroclaw_connections_refused_total 3", "zeroclaw_connections_open 2"] {
        assert!(metrics.lines().any(|shown| shown == line), "{line}");
    }
    second.send("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(second.rest().await.starts_with(b"HTTP/1.1 200 "));
    assert_eq!(Raw::connect(gateway.address()).await.ask(GET_HEALTH).await.status, 200);
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_refused_and_the_gateway_goes_on() {
    let gateway = Gateway::start().await;
    let mut connection = Raw::connect(gateway.address()).await;
    let head = format!("GET /health HTTP/1.1\r\nX-Large: {}\r\n\r\n", "x".repeat(1024 * 1024));
    connection.send(head).await;
    assert_eq!(connection.reply().await.status, 431);
    assert_eq!(gateway.client.get("/ready").await.status, 200);
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_the_gateway_goes_on() {
    let gateway = Gateway::start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/1.1\r\nBad Name: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"GET /hea lth HTTP/1.1\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /webhook HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut connection = Raw::connect(gateway.address()).await;
        connection.send(bytes).await;
        let answer = connection.rest().await;
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{} {}", bytes.escape_ascii(), answer.escape_ascii());
    }
    assert_eq!(gateway.client.get("/ready").await.status, 200);
}

#[tokio::test]
async fn requests_that_are_sent_at_once_are_answered_one_after_the_other() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let one = |text: &str| {
        let body = format!(r#"{{"message":"{text}"}}"#);
        webhook_head(&token, &format!("Content-Length: {}\r\n", body.len())) + &body
    };
    let mut connection = Raw::connect(gateway.address()).await;
    connection.send(one("a") + GET_HEALTH + &one("b")).await;
    assert_eq!(connection.reply().await.json()["response"], "a!");
    assert_eq!(connection.reply().await.json()["status"], "ok");
    assert_eq!(connection.reply().await.json()["response"], "b!");
}
