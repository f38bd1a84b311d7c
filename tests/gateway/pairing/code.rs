//! Codes: how many, how long, how often.

use tokio::task::JoinSet;

use crate::support::gateway::Gateway;

use super::{MINUTE, at_once, count, guess, just_before, start, wrong_code};

#[tokio::test]
async fn a_code_is_six_digits_and_pairs_once() {
    let gateway = Gateway::start().await;
    let code = gateway.code.clone().unwrap();
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    gateway.client.paired(&code).await;
    assert_eq!(gateway.client.pair(&code).await.status, 403);
    assert_eq!(gateway.sql("SELECT state, token_id FROM pairing_code"), "redeemed|1");
}

#[tokio::test]
async fn of_50_clients_with_one_code_at_once_exactly_one_is_paired() {
    let gateway = start().await;
    let replies = at_once(&gateway.client, gateway.code.as_ref().unwrap(), 50).await;
    assert_eq!(count(&replies, 200, r#"{"paired":true"#), 1);
    assert_eq!(gateway.sql("SELECT count(*) FROM token"), "1");
}

/// Failure 17: codes never expired.
#[tokio::test]
async fn a_code_expires_after_its_time() {
    for (setting, lives) in [("3600", 60 * MINUTE), ("60", MINUTE)] {
        for (after, status) in [(just_before(lives), 200), (lives, 403)] {
            let gateway = Gateway::start_with(&[("gateway.pairing_code_ttl_secs", setting)]).await;
            gateway.clock.advance(after);
            assert_eq!(gateway.client.pair(gateway.code.as_ref().unwrap()).await.status, status, "{after:?}");
        }
    }
}

/// Failure 17: only one client could ever pair; another code needed an edit of the file and a restart.
#[tokio::test]
async fn another_code_pairs_another_client_while_the_gateway_runs() {
    let gateway = Gateway::start().await;
    let first = gateway.pair().await;
    let second = gateway.client.paired(&gateway.another_code().await).await;
    assert_ne!(first, second);
    for token in [&first, &second] {
        assert_eq!(gateway.client.post(token, None, "hello").await.status, 200);
    }
    assert_eq!(gateway.sql("SELECT group_concat(label) FROM token"), "client,another");
}

#[tokio::test]
async fn codes_side_by_side_pair_a_client_each_in_any_order() {
    let gateway = Gateway::start().await;
    let codes = [gateway.code.clone().unwrap(), gateway.another_code().await, gateway.another_code().await];
    for code in codes.iter().rev() {
        gateway.client.paired(code).await;
    }
    for code in &codes {
        assert_eq!(gateway.client.pair(code).await.status, 403);
    }
}

#[tokio::test]
async fn of_eleven_codes_the_oldest_gives_way() {
    let gateway = Gateway::start().await;
    let mut codes = vec![gateway.code.clone().unwrap()];
    for _ in 0..10 {
        codes.push(gateway.another_code().await);
    }
    assert_eq!(gateway.client.pair(&codes[0]).await.status, 403);
    assert_eq!(gateway.sql("SELECT group_concat(DISTINCT state) FROM pairing_code WHERE id = 1"), "replaced");
    gateway.clock.advance(MINUTE);
    for code in &codes[1..] {
        gateway.client.paired(code).await;
    }
}

/// Wrong codes of many clients, four of each at most, so that none is locked out.
async fn guess_from_many_addresses(gateway: &Gateway, times: usize) {
    let mut clients = JoinSet::new();
    for n in 0..times.div_ceil(4) {
        let client = gateway.client.seen_from(&format!("127.0.1.{}", n + 1));
        let (code, guesses) = (wrong_code(gateway), (times - 4 * n).min(4));
        clients.spawn(async move {
            for _ in 0..guesses {
                assert_eq!(client.pair(&code).await.status, 403);
            }
        });
    }
    clients.join_all().await;
}

/// Failure 17: there was no cap over all addresses.
#[tokio::test]
async fn a_code_dies_after_100_failures_from_all_clients_together() {
    let gateway = Gateway::start().await;
    let other = gateway.another_code().await;
    guess_from_many_addresses(&gateway, 99).await;
    gateway.pair().await;
    guess(&gateway, &gateway.client, 1).await;
    assert_eq!(gateway.client.pair(&other).await.status, 403);
    assert_eq!(gateway.sql("SELECT state, failed_attempts FROM pairing_code"), "redeemed|99\nexhausted|100");
}

#[tokio::test]
async fn a_dead_code_is_dead_for_good_and_a_new_one_has_a_count_of_its_own() {
    let gateway = Gateway::start_with(&[("gateway.pairing_code_max_failures", "3")]).await;
    guess(&gateway, &gateway.client, 2).await;
    let second = gateway.another_code().await;
    guess(&gateway, &gateway.client, 1).await;
    assert_eq!(
        gateway.sql("SELECT state, failed_attempts FROM pairing_code ORDER BY id"),
        "exhausted|3\nlive|1"
    );
    let code = gateway.code.clone().unwrap();
    let gateway = gateway.restart().await;
    assert_eq!(gateway.client.pair(&code).await.status, 403);
    gateway.client.paired(&second).await;
}

/// Failure 5: what was counted against a code vanished at a restart.
#[tokio::test]
async fn failures_count_against_a_code_over_restarts() {
    let gateway = Gateway::start_with(&[("gateway.pairing_code_max_failures", "3")]).await;
    let code = gateway.code.clone().unwrap();
    guess(&gateway, &gateway.client, 2).await;
    let gateway = gateway.restart().await;
    guess(&gateway, &gateway.client, 1).await;
    assert_eq!(gateway.client.pair(&code).await.status, 403);
}

#[tokio::test]
async fn the_code_of_an_earlier_start_still_pairs() {
    let gateway = Gateway::start().await;
    let code = gateway.code.clone().unwrap();
    let gateway = gateway.restart().await;
    assert_ne!(gateway.code.as_ref(), Some(&code));
    gateway.client.paired(&code).await;
}

#[tokio::test]
async fn a_code_is_issued_at_the_start_only_while_no_token_is_live() {
    let gateway = Gateway::start().await;
    gateway.pair().await;
    let gateway = gateway.restart().await;
    assert_eq!(gateway.code, None);
    gateway.sql("UPDATE token SET revoked_at_ms = 1");
    let gateway = gateway.restart().await;
    gateway.pair().await;
    gateway.sql("UPDATE token SET expires_at_ms = 1 WHERE revoked_at_ms IS NULL");
    let gateway = gateway.restart().await;
    gateway.pair().await;
}
