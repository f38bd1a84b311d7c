//! Slow clients. Times are exact to the clock's tick: a millisecond.

use tokio::sync::oneshot;
use tokio::time::{Instant, interval};

use super::*;

const HEADER: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_mins(1);

/// Runs until the server ends the connection, and says when that was.
async fn ended_after(wire: Wire, since: Instant) -> (Duration, Vec<Timeout>) {
    let Wire { client, task, counts, .. } = wire;
    soon(task).await.unwrap();
    drop(client);
    (since.elapsed(), counts.borrow().timed_out.clone())
}

#[track_caller]
fn assert_cut((after, timeouts): (Duration, Vec<Timeout>), expected: Duration, timeout: Timeout) {
    assert_eq!(timeouts, [timeout]);
    assert!(after >= expected && after < expected + Duration::from_millis(5), "{after:?}, not {expected:?}");
}

/// Writes a byte every `period` for as long as anyone reads.
async fn drip(client: &mut DuplexStream, period: Duration, bytes: &[u8]) {
    let mut ticks = interval(period);
    for byte in bytes.iter().cycle() {
        ticks.tick().await;
        if client.write_u8(*byte).await.is_err() {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_when_the_header_timeout_is_over() {
    let now = Instant::now();
    assert_cut(ended_after(wire(router(), Limits::default()), now).await, HEADER, Timeout::Header);
}

#[tokio::test(start_paused = true)]
async fn a_first_head_that_drips_is_cut_by_the_time_since_the_connection_began() {
    let now = Instant::now();
    let mut wire = wire(router(), Limits::default());
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(6)).await;
    wire.client.write_all(b"GET /hello HTTP/1.1\r\nX-Drip: ").await.unwrap();
    soon(drip(&mut wire.client, Duration::from_millis(700), b"x")).await;
    let (_, timeouts) = ended_after(wire, now).await;
    assert_eq!(timeouts, [Timeout::Header]);
    assert!(now.elapsed() >= HEADER && now.elapsed() < HEADER + Duration::from_millis(705));
}

#[tokio::test(start_paused = true)]
async fn a_later_head_is_cut_by_the_time_since_its_first_byte() {
    let mut wire = wire(router(), Limits::default());
    ask(&mut wire.client, GET).await;
    tokio::time::advance(Duration::from_secs(45)).await;
    tokio::task::yield_now().await;
    let now = Instant::now();
    wire.client.write_all(b"G").await.unwrap();
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(8)).await;
    wire.client.write_all(b"ET /hello HTTP/1.1\r\n").await.unwrap();
    assert_cut(ended_after(wire, now).await, HEADER, Timeout::Header);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_further_request_is_closed_when_the_idle_timeout_is_over() {
    let mut wire = wire(router(), Limits::default());
    ask(&mut wire.client, GET).await;
    let now = Instant::now();
    assert_cut(ended_after(wire, now).await, IDLE, Timeout::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_connection_lives_as_long_as_requests_keep_coming() {
    let mut wire = wire(router(), Limits::default());
    for _ in 0..20 {
        assert_eq!(ask(&mut wire.client, GET).await.1, "hello");
        tokio::time::advance(Duration::from_millis(59_990)).await;
    }
    let now = Instant::now();
    ask(&mut wire.client, GET).await;
    assert_cut(ended_after(wire, now).await, IDLE, Timeout::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_being_worked_on_has_no_deadline_here() {
    let (answer, waiting) = oneshot::channel::<&str>();
    let slot = Arc::new(std::sync::Mutex::new(Some(waiting)));
    let wait = async move || {
        let waiting = slot.lock().unwrap().take().unwrap();
        waiting.await.unwrap()
    };
    let mut wire = wire(router().route("/wait", get(wait)), Limits::default());
    wire.client.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    for _ in 0..100 {
        tokio::task::yield_now().await;
        tokio::time::advance(IDLE).await;
    }
    answer.send("at last").unwrap();
    assert_eq!(soon(read_answer(&mut wire.client)).await.1, "at last");
    let now = Instant::now();
    assert_cut(ended_after(wire, now).await, IDLE, Timeout::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_has_no_deadline_here() {
    let mut wire = wire(router(), Limits::default());
    wire.client.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n").await.unwrap();
    let mut ticks = interval(Duration::from_secs(9));
    for _ in 0..50 {
        ticks.tick().await;
        wire.client.write_u8(b'x').await.unwrap();
    }
    assert_eq!(soon(read_answer(&mut wire.client)).await.1, "x".repeat(50));
}

#[tokio::test(start_paused = true)]
async fn half_a_head_sent_along_with_the_request_before_it_is_cut_like_any_other() {
    for before in
        [GET, b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"]
    {
        let mut wire = wire(router(), Limits::default());
        ask(&mut wire.client, &[before, b"GET /hello HTTP/1.1\r\nX: "].concat()).await;
        let now = Instant::now();
        assert_cut(ended_after(wire, now).await, HEADER, Timeout::Header);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_sent_all_at_once_leave_an_idle_connection() {
    let mut wire = wire(router(), Limits::default());
    let post = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody";
    wire.client.write_all(&[GET, post, GET, post].concat()).await.unwrap();
    for expected in ["hello", "body", "hello", "body"] {
        assert_eq!(soon(read_answer(&mut wire.client)).await.1, expected);
    }
    let now = Instant::now();
    assert_cut(ended_after(wire, now).await, IDLE, Timeout::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_take_its_answer_is_cut_when_the_idle_timeout_is_over() {
    let now = Instant::now();
    let mut wire = wire(router(), Limits::default());
    wire.client.write_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert_cut(ended_after(wire, now).await, IDLE, Timeout::Idle);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_stops_sending_after_an_early_answer_is_cut_without_a_timeout_event() {
    let now = Instant::now();
    let mut wire = wire(router(), Limits::default());
    let head = b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    assert!(ask(&mut wire.client, head).await.0.contains("429"));
    soon(drip(&mut wire.client, Duration::from_millis(100), b"x")).await;
    let (after, timeouts) = ended_after(wire, now).await;
    assert_eq!(timeouts, []);
    assert!(after >= Duration::from_secs(2) && after < Duration::from_millis(2200), "{after:?}");
}
