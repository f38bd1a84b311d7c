//! The table of clients, which is bounded.

use std::{sync::mpsc, thread};

use moorgate::domain::{
    rate::{Decision, RateTable},
    time::Millis,
};

use super::{OPEN, WEBHOOK_LIMIT, assert_refused, hits, secs};
use crate::support::gateway::Gateway;

/// A gateway that tracks two clients, and three clients.
async fn small_table() -> Gateway {
    let settings = [
        OPEN,
        (WEBHOOK_LIMIT, "2"),
        ("gateway.rate_limit_max_keys", "2"),
        ("gateway.paired_tokens", "zc_one,zc_two,zc_three"),
    ];
    Gateway::start_with(&settings).await
}

/// Failure 26: a new address in a full table evicted a live client's window.
#[tokio::test]
async fn a_full_table_refuses_a_new_client_and_resets_nobody() {
    let gateway = small_table().await;
    let post = |token| gateway.client.post(token, None, "hello");
    assert_eq!(post("zc_one").await.status, 200);
    gateway.clock.advance(secs(1));
    assert_eq!(post("zc_two").await.status, 200);
    gateway.clock.advance(secs(1));
    for newcomer in ["zc_three", "", "zc_unknown"] {
        assert_refused(&post(newcomer).await, 58);
    }
    assert_eq!(hits(&gateway), 2, "a client that is refused is not counted");

    assert_eq!(post("zc_one").await.header("ratelimit"), Some(r#""webhook";r=0;t=58"#));
    assert_refused(&post("zc_one").await, 58);
    gateway.clock.advance(secs(58));
    assert_refused(&post("zc_three").await, 1);
    gateway.clock.advance(secs(1));
    assert_eq!(post("zc_three").await.status, 200, "the second client is idle and gives way");
    assert_refused(&post("zc_two").await, 1);
    assert_eq!(post("zc_one").await.header("ratelimit"), Some(r#""webhook";r=0;t=1"#));
}

/// Failures 5 and 26: the table was empty after a restart.
#[tokio::test]
async fn a_full_table_is_full_after_a_restart() {
    let gateway = small_table().await;
    for token in ["zc_one", "zc_two"] {
        assert_eq!(gateway.client.post(token, None, "hello").await.status, 200);
    }
    let gateway = gateway.restart().await;
    assert_refused(&gateway.client.post("zc_three", None, "hello").await, 60);
    assert_eq!(gateway.client.post("zc_one", None, "hello").await.status, 200);
}

/// Failure 26: a new address in a full table cost a scan of every key. With a scan this would be ten billion steps.
#[test]
fn a_refusal_by_a_full_table_costs_the_same_however_large_it_is() {
    const CLIENTS: u32 = 100_000;
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let mut table = RateTable::new(1, CLIENTS as usize);
        let mut refused = 0;
        for client in 0..2 * CLIENTS {
            let decision = table.hit(client, Millis(i64::from(client.min(CLIENTS) / 10)));
            refused += u32::from(matches!(decision, Decision::TableFull { .. }));
        }
        done.send((refused, table.clients())).unwrap();
    });
    let outcome = ended.recv_timeout(secs(20)).expect("no scan");
    assert_eq!(outcome, (CLIENTS, CLIENTS as usize));
}
