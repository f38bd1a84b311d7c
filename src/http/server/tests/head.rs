//! Request heads at and past their limits, and what a request carries.

use super::*;

fn get_with_headers(headers: &str) -> Vec<u8> {
    format!("GET /hello HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn a_head_just_under_the_limit_is_accepted() {
    let server = start(router(), Limits::default()).await;
    let request = get_with_headers(&format!("X-Large: {}\r\n", "x".repeat(127 * 1024)));
    assert_eq!(ask(&mut server.connect().await, &request).await.1, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_head_just_over_the_limit_is_answered_with_431_and_may_still_be_sent_to_its_end() {
    let mut wire = wire(router(), Limits::default());
    let request = get_with_headers(&format!("X-Large: {}\r\n", "x".repeat(128 * 1024)));
    let (head, _) = ask(&mut wire.client, &request).await;
    assert!(head.starts_with("http/1.1 431 "), "{head}");
    soon(wire.client.write_all(&request)).await.unwrap();
    drop(wire.client);
    soon(wire.task).await.unwrap();
}

#[tokio::test]
async fn a_megabyte_of_head_is_answered_with_431_and_the_answer_arrives() {
    let server = start(router(), Limits::default()).await;
    let request = get_with_headers(&format!("X-Large: {}\r\n", "x".repeat(1024 * 1024)));
    let mut client = server.connect().await;
    // All of it is sent before anything is read: a reset would lose the answer.
    soon(client.write_all(&request)).await.unwrap();
    let answer = read_to_end(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_hundred_headers_are_accepted_and_one_more_is_answered_with_431() {
    let server = start(router(), Limits::default()).await;
    let mut client = server.connect().await;
    assert_eq!(ask(&mut client, &get_with_headers(&"X: y\r\n".repeat(99))).await.1, "hello");
    let (head, _) = ask(&mut client, &get_with_headers(&"X: y\r\n".repeat(100))).await;
    assert!(head.starts_with("http/1.1 431 "), "{head}");
}

#[tokio::test]
async fn what_is_not_http_is_answered_with_400_and_closed() {
    let server = start(router(), Limits::default()).await;
    let mut client = server.connect().await;
    soon(client.write_all(b"\x16\x03\x01 this is a TLS hello\r\n\r\n")).await.unwrap();
    assert!(read_to_end(&mut client).await.starts_with("HTTP/1.1 400 "));
}

/// A bare status would lack what every answer has.
#[tokio::test]
async fn a_head_that_is_no_request_is_answered_like_any_other_request() {
    let server = start(router(), Limits::default()).await;
    let large = get_with_headers(&format!("X-Large: {}\r\n", "x".repeat(1024 * 1024)));
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70 * 1024));
    for (request, status, body) in [
        (&b"GET /hea lth HTTP/1.1\r\n\r\n"[..], "400 bad request", r#"{"error":"Bad request"}"#),
        (&large, "431 request header fields too large", r#"{"error":"Request header fields too large"}"#),
        (long.as_bytes(), "414 uri too long", r#"{"error":"URI too long"}"#),
    ] {
        for earlier in 0..3 {
            let mut client = server.connect().await;
            for _ in 0..earlier {
                assert_eq!(ask(&mut client, GET).await.1, "hello");
            }
            let (head, answer) = ask(&mut client, request).await;
            assert!(head.starts_with(&format!("http/1.1 {status}\r\n")), "{head}");
            for header in [
                "content-type: application/json; charset=utf-8",
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
            assert_eq!(answer, body);
            assert_eq!(read_to_end(&mut client).await, "");
        }
    }
    assert_eq!(server.counts.borrow().heads_refused, 9);
}

#[tokio::test]
async fn fewer_headers_may_be_allowed() {
    let server = start(router(), Limits { max_headers: 20, ..Limits::default() }).await;
    let mut client = server.connect().await;
    assert_eq!(ask(&mut client, &get_with_headers(&"X: y\r\n".repeat(19))).await.1, "hello");
    assert!(ask(&mut client, &get_with_headers(&"X: y\r\n".repeat(20))).await.0.starts_with("http/1.1 431 "));
}

#[tokio::test]
async fn a_request_carries_the_address_it_came_from() {
    let server = start(router(), Limits::default()).await;
    let mut client = server.connect().await;
    let (_, body) = ask(&mut client, b"GET /peer HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(body, client.local_addr().unwrap().to_string());
}

#[tokio::test]
async fn the_limit_is_never_below_what_hyper_can_work_with() {
    let server = start(router(), Limits { max_head_bytes: 1, ..Limits::default() }).await;
    assert_eq!(ask(&mut server.connect().await, GET).await.1, "hello");
}
