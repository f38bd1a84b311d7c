//! `POST /pair`: codes, guesses, lockouts, and what is on disk before the answer.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::{
    client::{Client, Reply},
    gateway::Gateway,
};

mod answer;
mod clock;
mod code;
mod durable;
mod file;
mod header;
mod limit;
mod lockout;

const REFUSED: &str = r#"{"error":"Invalid pairing code"}"#;
const NO_RATE_LIMIT: (&str, &str) = ("gateway.pair_rate_limit_per_minute", "0");
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const TICK: Duration = Duration::from_millis(1);

/// A gateway that leaves the guesses to the lockout.
async fn start() -> Gateway {
    Gateway::start_with(&[NO_RATE_LIMIT]).await
}

/// The last moment before.
fn just_before(end: Duration) -> Duration {
    end.saturating_sub(TICK)
}

/// Six digits that are not the code that was printed at the start.
fn wrong_code(gateway: &Gateway) -> String {
    let code: u32 = gateway.code.as_deref().unwrap_or("0").parse().unwrap();
    format!("{:06}", (code + 1) % 1_000_000)
}

/// Wrong codes that are all tried, and all wrong.
async fn guess(gateway: &Gateway, client: &Client, times: usize) {
    for _ in 0..times {
        let reply = client.pair(&wrong_code(gateway)).await;
        assert_eq!((reply.status, reply.text.as_str()), (403, REFUSED));
    }
}

/// Five wrong codes, which lock the client out for so long.
async fn lock_out(gateway: &Gateway, secs: u64) {
    guess(gateway, &gateway.client, 5).await;
    assert_locked_out(&gateway.client.pair(&wrong_code(gateway)).await, secs);
}

/// The right code while its client is locked out for so long.
async fn assert_right_code_locked_out(gateway: &Gateway, secs: u64) {
    assert_locked_out(&gateway.client.pair(gateway.code.as_ref().unwrap()).await, secs);
}

fn assert_locked_out(reply: &Reply, secs: u64) {
    let text =
        format!(r#"{{"error":"Too many failed attempts. Try again in {secs}s.","retry_after":{secs}}}"#);
    assert_eq!((reply.status, &reply.text), (429, &text));
    assert_eq!(reply.retry_after(), secs);
}

/// What so many requests with one code get that are sent at the same moment.
async fn at_once(client: &Client, code: &str, times: usize) -> Vec<Reply> {
    let mut requests = JoinSet::new();
    for _ in 0..times {
        let (client, code) = (client.clone(), code.to_owned());
        requests.spawn(async move { client.pair(&code).await });
    }
    requests.join_all().await
}

fn count(replies: &[Reply], status: u16, start: &str) -> usize {
    replies.iter().filter(|reply| reply.status == status && reply.text.starts_with(start)).count()
}
