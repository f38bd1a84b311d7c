//! Answers given before the request's body was read.

use super::*;

const BODY_BYTES: usize = 1_000_000;

fn post_head(path: &str, more: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES}\r\n{more}\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_still_sending_its_body_can_read_the_whole_early_answer() {
    let server = start(router(), Limits::default()).await;
    for path in ["/refuse", "/first"] {
        let (mut reader, mut writer) = server.connect().await.into_split();
        let head = post_head(path, "");
        let sending = tokio::spawn(async move {
            writer.write_all(&head).await.unwrap();
            for _ in 0..BODY_BYTES / 1000 {
                writer.write_all(&[b'x'; 1000]).await?;
            }
            Ok::<_, std::io::Error>(writer)
        });
        let (head, body) = soon(read_answer(&mut reader)).await;
        assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
        assert!(body == "no".repeat(500) || body.ends_with(" bytes"), "{body}");
        assert_eq!(read_to_end(&mut reader).await, "");
        soon(sending).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_only_after_it_has_sent_everything_can_read_the_early_answer() {
    let server = start(router(), Limits::default()).await;
    for _ in 0..20 {
        let mut client = server.connect().await;
        soon(client.write_all(&post_head("/refuse", ""))).await.unwrap();
        soon(client.write_all(&vec![b'x'; BODY_BYTES])).await.unwrap();
        let answer = read_to_end(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 429 ") && answer.ends_with("nono"), "{answer}");
    }
}

#[tokio::test]
async fn a_long_early_answer_arrives_whole_though_it_cannot_be_sent_at_once() {
    let mut wire = wire(router(), Limits::default());
    let (_, body) = ask(&mut wire.client, &post_head("/refuse-at-length", "")).await;
    assert_eq!(body.len(), 1024 * 1024);
}

#[tokio::test]
async fn no_more_is_thrown_away_after_an_early_answer_than_the_limit() {
    let (mut client, io) = tokio::io::duplex(1024);
    let limits = Limits { linger_max_bytes: 100 * 1024, ..Limits::default() };
    let parts = parts(router(), limits, Arc::new(()));
    let task = tokio::spawn(serve_one(io, Arc::new(Server::new(parts))));
    ask(&mut client, &post_head("/refuse", "")).await;
    let mut sent = 0;
    while soon(client.write_all(&[b'x'; 1024])).await.is_ok() {
        sent += 1024;
    }
    soon(task).await.unwrap();
    assert!((100 * 1024..110 * 1024).contains(&sent), "{sent}");
}

#[tokio::test]
async fn a_small_body_nobody_read_does_not_cost_the_connection() {
    let server = start(router(), Limits::default()).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        let request = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
        let (head, _) = ask(&mut client, request).await;
        assert!(head.contains("429") && !head.contains("connection: close"), "{head}");
    }
    assert_eq!(ask(&mut client, GET).await.1, "hello");
    assert_eq!(server.counts.borrow().opened, 1);
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_when_its_body_is_wanted() {
    let server = start(router(), Limits::default()).await;
    let mut client = server.connect().await;
    let head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let (interim, _) = ask(&mut client, head).await;
    assert!(interim.starts_with("http/1.1 100 "), "{interim}");
    assert_eq!(ask(&mut client, b"body").await.1, "body");
    assert_eq!(ask(&mut client, GET).await.1, "hello");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_only_the_refusal_when_its_body_is_not_wanted() {
    let server = start(router(), Limits::default()).await;
    for length in ["4", "1000000"] {
        let mut client = server.connect().await;
        let head = format!(
            "POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
        );
        let (answer, _) = ask(&mut client, head.as_bytes()).await;
        assert!(
            answer.starts_with("http/1.1 429 ") && answer.contains("\r\nconnection: close\r\n"),
            "{answer}"
        );
        assert_eq!(read_to_end(&mut client).await, "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_it_sees_the_connection_closed_after_the_answer_at_once() {
    let begun = tokio::time::Instant::now();
    let mut wire = wire(router(), Limits::default());
    assert_eq!(ask(&mut wire.client, GET_AND_CLOSE).await.1, "hello");
    // The client has not closed its side, and the server does not wait for it.
    soon(wire.task).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}
