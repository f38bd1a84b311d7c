//! The end of the server.

use tokio::sync::{mpsc, oneshot};

use super::*;

/// A request that stays with its handler until the test answers it.
struct Held {
    answer: oneshot::Sender<&'static str>,
}

fn holding_router() -> (Router, mpsc::UnboundedReceiver<Held>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let hold = async move || {
        let (answer, held) = oneshot::channel();
        sender.send(Held { answer }).unwrap();
        held.await.unwrap()
    };
    (router().route("/hold", get(hold)), receiver)
}

const HOLD: &[u8] = b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn idle_and_silent_connections_are_closed_at_once() {
    let server = start(router(), Limits::default()).await;
    let (mut idle, mut silent) = (server.connect().await, server.connect().await);
    ask(&mut idle, GET).await;
    let mut counts = server.counts.clone();
    soon(counts.wait_for(|counts| counts.opened == 2)).await.unwrap();

    let counts = server.stop().await;
    assert_eq!((counts.closed, counts.timed_out), (2, vec![]));
    assert_eq!(read_to_end(&mut idle).await, "");
    assert_eq!(read_to_end(&mut silent).await, "");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_does_not_wait_for_its_client_to_notice() {
    let begun = tokio::time::Instant::now();
    let mut wire = wire(router(), Limits::default());
    ask(&mut wire.client, GET).await;
    wire.server.stop.ask();
    soon(wire.task).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_request_being_worked_on_is_answered_and_then_the_connection_closed() {
    let (router, mut requests) = holding_router();
    let mut server = start(router, Limits::default()).await;
    let mut client = server.connect().await;
    soon(client.write_all(HOLD)).await.unwrap();
    let request = soon(requests.recv()).await.unwrap();

    server.shutdown.cancel();
    // The listener goes first, so a new client is not left waiting.
    soon(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    assert!(!server.task.is_finished());
    request.answer.send("done").unwrap();
    let (head, body) = soon(read_answer(&mut client)).await;
    assert!(head.contains("\r\nconnection: close\r\n"), "{head}");
    assert_eq!(body, "done");
    assert_eq!(read_to_end(&mut client).await, "");
    soon(&mut server.task).await.unwrap();
    assert_eq!(server.counts.borrow().closed, 1);
}

#[tokio::test]
async fn dropping_the_server_cuts_what_is_left() {
    let (router, mut requests) = holding_router();
    let mut server = start(router, Limits::default()).await;
    let mut client = server.connect().await;
    soon(client.write_all(HOLD)).await.unwrap();
    let mut request = soon(requests.recv()).await.unwrap();

    server.shutdown.cancel();
    server.task.abort();
    assert!(soon(&mut server.task).await.unwrap_err().is_cancelled());
    soon(request.answer.closed()).await;
    assert_eq!(read_to_end(&mut client).await, "");
    soon(server.counts.wait_for(|counts| counts.closed == 1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn half_a_head_does_not_hold_up_the_end_for_longer_than_the_header_timeout() {
    let begun = tokio::time::Instant::now();
    let mut wire = wire(router(), Limits::default());
    wire.client.write_all(b"GET /hello HT").await.unwrap();
    tokio::task::yield_now().await;
    wire.server.stop.ask();
    soon(wire.task).await.unwrap();
    assert!(begun.elapsed() <= Duration::from_millis(10_005), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_request_is_worked_on_ends_the_work_and_the_connection() {
    let (router, mut requests) = holding_router();
    let mut wire = wire(router, Limits::default());
    wire.client.write_all(HOLD).await.unwrap();
    let mut request = soon(requests.recv()).await.unwrap();
    drop(wire.client);
    soon(request.answer.closed()).await;
    soon(wire.task).await.unwrap();
    assert_eq!(wire.counts.borrow().timed_out, []);
}
