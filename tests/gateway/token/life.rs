//! Tokens side by side, and how they end.

use std::{collections::HashSet, time::Duration};

use tokio::task::JoinSet;

use crate::support::gateway::Gateway;

use super::{NO_RATE_LIMIT, UNAUTHORIZED, is_let_in, until_refused};

/// A gateway with two paired clients.
async fn start() -> (Gateway, String, String) {
    let gateway = Gateway::start_with(&[NO_RATE_LIMIT]).await;
    let first = gateway.pair().await;
    let second = gateway.client.paired(&gateway.another_code().await).await;
    (gateway, first, second)
}

/// Failure 23: a revoked token worked on.
#[tokio::test]
async fn a_token_revoked_with_sqlite3_is_refused_within_a_second() {
    let (gateway, first, second) = start().await;
    assert!(is_let_in(&gateway, &first).await);
    gateway.sql("UPDATE token SET revoked_at_ms = unixepoch() * 1000 WHERE id = 1");
    until_refused(&gateway, &first).await;
    let reply = gateway.client.post(&first, None, "hello").await;
    assert_eq!((reply.status, reply.text.as_str()), (401, UNAUTHORIZED));
    let challenge = r#"Bearer realm="moorgate", error="invalid_token""#;
    assert_eq!(reply.header("www-authenticate"), Some(challenge));
    assert!(is_let_in(&gateway, &second).await, "the other one is as it was");
    assert_eq!(gateway.sql("SELECT label, state FROM v_token ORDER BY id"), "client|revoked\nanother|live");

    let gateway = gateway.restart().await;
    assert!(!is_let_in(&gateway, &first).await);
    assert!(is_let_in(&gateway, &second).await);
}

/// Failure 23: a token could not be removed while the gateway ran.
#[tokio::test]
async fn a_token_deleted_with_sqlite3_is_refused_within_a_second() {
    let (gateway, first, second) = start().await;
    gateway.sql("PRAGMA foreign_keys = ON; DELETE FROM token WHERE id = 1");
    until_refused(&gateway, &first).await;
    assert!(is_let_in(&gateway, &second).await);
}

/// Failure 23: tokens could not expire.
#[tokio::test]
async fn a_token_is_refused_from_the_moment_that_it_expires() {
    let (gateway, first, second) = start().await;
    let expires_at = 1_790_000_000_000_i64 + 60_000; // a minute after the clock's start
    gateway.sql(&format!(
        "UPDATE token SET expires_at_ms = {expires_at} WHERE id = 1; UPDATE token SET revoked_at_ms = 1 WHERE id = 2"
    ));
    until_refused(&gateway, &second).await; // so the other edit is seen too
    gateway.clock.advance(Duration::from_millis(59_999));
    assert!(is_let_in(&gateway, &first).await);
    assert_eq!(gateway.client.get("/health").await.json()["paired"], true);
    gateway.clock.advance(Duration::from_millis(1));
    assert!(!is_let_in(&gateway, &first).await);
    assert_eq!(gateway.client.get("/health").await.json()["paired"], false);
    gateway.clock.step_wall(-3_600_000);
    assert!(!is_let_in(&gateway, &first).await, "a clock set back does not bring it back");
}

#[tokio::test]
async fn an_edit_of_a_token_is_seen_beside_the_gateways_own_writes() {
    let (gateway, first, second) = start().await;
    gateway.sql("UPDATE token SET revoked_at_ms = 1 WHERE id = 1");
    let code = gateway.another_code().await;
    let third = gateway.client.paired(&code).await;
    until_refused(&gateway, &first).await;
    for token in [&second, &third] {
        assert!(is_let_in(&gateway, token).await);
    }
}

/// Failure 23: saving one token lost another (a lost update of a snapshot of the configuration).
#[tokio::test]
async fn clients_that_pair_at_the_same_moment_all_keep_their_tokens() {
    let gateway = Gateway::start_with(&[NO_RATE_LIMIT]).await;
    let mut codes = vec![gateway.code.clone().unwrap()];
    for _ in 1..10 {
        codes.push(gateway.another_code().await);
    }
    let mut clients = JoinSet::new();
    for code in codes {
        let client = gateway.client.clone();
        clients.spawn(async move { client.paired(&code).await });
    }
    let tokens: HashSet<String> = clients.join_all().await.into_iter().collect();
    assert_eq!(tokens.len(), 10);
    let gateway = gateway.restart().await;
    for token in &tokens {
        assert!(is_let_in(&gateway, token).await);
    }
    assert_eq!(gateway.sql("SELECT count(*) FROM token"), "10");
}
