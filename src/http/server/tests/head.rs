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
