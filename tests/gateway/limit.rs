//! Rate limits as clients meet them: exact windows, true waits, and what is counted against whom.

mod client;
mod count;
mod table;
mod window;

use std::time::Duration;

use crate::support::{client::Reply, gateway::Gateway};

const OPEN: (&str, &str) = ("gateway.require_pairing", "false");
const WEBHOOK_LIMIT: &str = "gateway.webhook_rate_limit_per_minute";
const PAIR_LIMIT: &str = "gateway.pair_rate_limit_per_minute";

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A gateway without pairing that admits so many posts of a client in a minute.
async fn open_gateway(limit: &str) -> Gateway {
    Gateway::start_with(&[OPEN, (WEBHOOK_LIMIT, limit)]).await
}

async fn post(gateway: &Gateway) -> Reply {
    gateway.client.post("", None, "hello").await
}

/// Checks that `/webhook` refused, and what it said about the wait.
fn assert_refused(reply: &Reply, wait_secs: u64) {
    let body =
        format!(r#"{{"error":"Too many webhook requests. Please retry later.","retry_after":{wait_secs}}}"#);
    assert_eq!((reply.status, reply.text.as_str()), (429, body.as_str()));
    assert_eq!(reply.retry_after(), wait_secs);
    assert_eq!(reply.header("ratelimit"), Some(format!("\"webhook\";r=0;t={wait_secs}").as_str()));
}

/// The hits on disk.
fn hits(gateway: &Gateway) -> u32 {
    gateway.sql("SELECT coalesce(sum(hits), 0) FROM rate_hit").parse().unwrap()
}
