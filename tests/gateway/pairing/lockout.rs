//! Lockouts of clients that guess.

use std::time::Duration;

use moorgate::{
    app::open_beside,
    config::{Inputs, Override, load},
    domain::client::ClientAddress,
    service::pairing::PairOutcome,
};
use tempfile::TempDir;

use crate::support::gateway::Gateway;

use super::{
    DAY, MINUTE, NO_RATE_LIMIT, REFUSED, TICK, assert_locked_out, assert_right_code_locked_out, at_once,
    count, guess, just_before, lock_out, start, wrong_code,
};

const LOCKED_OUT: &str = r#"{"error":"Too many failed attempts. Try again in 300s."#;

/// Failure 19: parallel guesses passed a check that was apart from its count.
#[tokio::test]
async fn of_200_wrong_codes_at_once_exactly_five_are_tried() {
    let gateway = start().await;
    let replies = at_once(&gateway.client, &wrong_code(&gateway), 200).await;
    assert_eq!(count(&replies, 403, REFUSED), 5);
    assert_eq!(count(&replies, 429, LOCKED_OUT), 195);
    assert_eq!(gateway.sql("SELECT failed_attempts FROM pairing_code"), "5");
}

/// Failure 19: parallel guesses passed a check that was apart from its count.
#[tokio::test]
async fn of_200_wrong_codes_at_once_ten_pass_the_rate_limit_and_five_are_tried() {
    let gateway = Gateway::start().await;
    let replies = at_once(&gateway.client, &wrong_code(&gateway), 200).await;
    assert_eq!(count(&replies, 403, REFUSED), 5);
    assert_eq!(count(&replies, 429, LOCKED_OUT), 5);
    assert_eq!(count(&replies, 429, r#"{"error":"Too many pairing requests. Please retry later."#), 190);
    assert_eq!(gateway.sql("SELECT sum(hits) FROM rate_hit"), "10");
}

#[tokio::test]
async fn a_lockout_is_for_the_right_code_too_and_ends_on_time() {
    let gateway = start().await;
    guess(&gateway, &gateway.client, 5).await;
    assert_right_code_locked_out(&gateway, 300).await;
    gateway.clock.advance(just_before(5 * MINUTE));
    assert_right_code_locked_out(&gateway, 1).await;
    gateway.clock.advance(TICK);
    gateway.pair().await;
}

/// Failure 19: failures never decayed: four typos in January and one in March locked.
#[tokio::test]
async fn failures_decay_after_15_minutes() {
    for (after, locks) in [(just_before(15 * MINUTE), true), (15 * MINUTE, false)] {
        let gateway = start().await;
        guess(&gateway, &gateway.client, 4).await;
        gateway.clock.advance(after);
        gateway.sweep().await;
        guess(&gateway, &gateway.client, 1).await;
        let next = gateway.client.pair(gateway.code.as_ref().unwrap()).await;
        assert_eq!(next.status, if locks { 429 } else { 200 }, "{after:?}");
    }
}

#[tokio::test]
async fn each_further_lockout_is_twice_as_long_up_to_an_hour() {
    let gateway = start().await;
    for secs in [300, 600, 1200, 2400, 3600, 3600] {
        lock_out(&gateway, secs).await;
        gateway.clock.advance(Duration::from_secs(secs));
        gateway.sweep().await;
    }
}

#[tokio::test]
async fn a_day_later_a_lockout_is_a_first_one_again() {
    for (after, secs) in [(just_before(DAY), 600), (DAY, 300)] {
        let gateway = start().await;
        lock_out(&gateway, 300).await;
        gateway.clock.advance(after);
        gateway.sweep().await;
        lock_out(&gateway, secs).await;
    }
}

#[tokio::test]
async fn the_length_of_the_first_lockout_is_a_setting() {
    for (setting, lengths) in [("1", [1, 2]), ("2000", [2000, 3600]), ("3600", [3600, 3600])] {
        let gateway = Gateway::start_with(&[NO_RATE_LIMIT, ("gateway.pair_lockout_secs", setting)]).await;
        for secs in lengths {
            lock_out(&gateway, secs).await;
            gateway.clock.advance(Duration::from_secs(secs));
        }
    }
}

#[tokio::test]
async fn a_success_clears_failures_and_lockouts() {
    let gateway = start().await;
    lock_out(&gateway, 300).await;
    gateway.clock.advance(5 * MINUTE);
    guess(&gateway, &gateway.client, 4).await;
    gateway.pair().await;
    lock_out(&gateway, 300).await;
}

#[tokio::test]
async fn a_lockout_is_of_one_client() {
    let gateway = start().await;
    let other = gateway.client.seen_from("127.0.0.2");
    guess(&gateway, &other, 4).await;
    lock_out(&gateway, 300).await;
    other.paired(gateway.code.as_ref().unwrap()).await;
    assert_right_code_locked_out(&gateway, 300).await;
}

#[tokio::test]
async fn a_success_clears_its_own_client_only() {
    let gateway = start().await;
    let other = gateway.client.seen_from("127.0.0.2");
    guess(&gateway, &other, 4).await;
    gateway.pair().await;
    guess(&gateway, &other, 1).await;
    assert_locked_out(&other.pair("123456").await, 300);
}

/// Failure 17: whoever has one address of an IPv6 /64 has endless addresses, and had endless guesses.
#[tokio::test]
async fn all_addresses_of_an_ipv6_64_share_one_lockout() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("moorgate.db").display().to_string();
    let overrides = vec![Override { flag: "--database", key: "database.path", value: path }];
    let config = load(&Inputs { cwd: folder.path().into(), overrides, ..Inputs::default() }).unwrap();
    let (store, pairing, clock) = open_beside(&config).await.unwrap();
    let now = clock.now();
    let attempt = async |address: &str| {
        let client: ClientAddress = address.parse::<std::net::IpAddr>().unwrap().into();
        pairing.redeem(None, client, None, now).await.unwrap()
    };
    for host in ["1", "2", "ffff:ffff:ffff:ffff", "a:b:c:d", "8000:0:0:0"] {
        let outcome =
            attempt(&format!("2001:db8:1:2:{}{host}", if host.len() == 1 { ":" } else { "" })).await;
        assert!(matches!(outcome, PairOutcome::Refused), "{host}");
    }
    assert!(matches!(attempt("2001:db8:1:2::77").await, PairOutcome::LockedOut(left) if left == 5 * MINUTE));
    assert!(matches!(attempt("2001:db8:1:3::1").await, PairOutcome::Refused), "the next /64");
    store.close().await;
}

/// Failure 5: a crash loop gave fresh guesses.
#[tokio::test]
async fn a_restart_gives_no_fresh_guesses() {
    let mut gateway = start().await;
    for _ in 0..5 {
        guess(&gateway, &gateway.client, 1).await;
        gateway = gateway.restart().await;
    }
    assert_right_code_locked_out(&gateway, 300).await;
}

/// Failure 5: lockouts vanished at a restart.
#[tokio::test]
async fn a_restart_neither_ends_a_lockout_nor_forgets_the_ones_before() {
    let gateway = start().await;
    lock_out(&gateway, 300).await;
    gateway.clock.advance(MINUTE);
    let gateway = gateway.restart().await;
    assert_right_code_locked_out(&gateway, 240).await;
    gateway.clock.advance(4 * MINUTE);
    let gateway = gateway.restart().await;
    lock_out(&gateway, 600).await;
}

#[tokio::test]
async fn an_operator_ends_a_lockout_with_sqlite3() {
    let gateway = start().await;
    lock_out(&gateway, 300).await;
    gateway.sql("DELETE FROM pairing_lockout WHERE client = '127.0.0.1'");
    gateway.pair().await;
}
