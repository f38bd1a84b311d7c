//! A model's server that fails in the ways the mock knows.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

/// The time for an answer that the gateway is given where the mock takes far longer.
const TIMEOUT: (&str, &str) = ("MOORGATE_PROVIDER__TIMEOUT_SECS", "8");
/// The longest pause of the mock.
const HANG_MS: u64 = 30_000;
/// Far later than the gateway's time-out, and sooner than the mock's pause.
const LATEST: Duration = Duration::from_secs(28);

/// What the mock does to every call, the outcome of the call, and the status in the journal: 0 for a connection that the
/// mock cuts, and none where the gateway goes first.
fn failures() -> [(Value, &'static str, Option<u16>); 5] {
    [
        (json!({ "rateLimitRate": 1 }), "rate_limited", Some(429)),
        (json!({ "dropRate": 1 }), "overloaded", Some(500)),
        (json!({ "malformedRate": 1 }), "bad_response", Some(200)),
        (json!({ "disconnectRate": 1 }), "unreachable", Some(0)),
        (json!({ "latencyMs": HANG_MS }), "timed_out", None),
    ]
}

/// Says hello, and fails where the answer takes longer than [`LATEST`].
async fn hello_in_time(gateway: &Asking, key: &str) -> Reply {
    tokio::time::timeout(LATEST, gateway.hello(key)).await.expect("nothing outlives its deadline")
}

#[tokio::test]
async fn each_failure_of_openai_is_the_same_to_the_client_and_frees_the_key() {
    see_each_failure(&OPENAI).await;
}

#[tokio::test]
async fn each_failure_of_anthropic_is_the_same_to_the_client_and_frees_the_key() {
    see_each_failure(&ANTHROPIC).await;
}

#[tokio::test]
async fn each_failure_of_ollama_is_the_same_to_the_client_and_frees_the_key() {
    see_each_failure(&OLLAMA).await;
}

async fn see_each_failure(vendor: &Vendor) {
    let Some(mock) = Aimock::start() else { return };
    let gateway = Asking::start(vendor, &mock, &[TIMEOUT]).await;
    let mut journal = Vec::new();
    for (chaos, outcome, status) in failures() {
        mock.fail(&chaos).await;
        hello_in_time(&gateway, outcome).await.assert_is(500, FAILED);
        assert_eq!(gateway.attempts(vendor.kind, outcome).await, 1, "{outcome}");

        mock.recover().await;
        gateway.hello(outcome).await.assert_is(200, &vendor.answer());
        journal.extend(status.into_iter().chain([200]));
        assert_eq!(mock.statuses().await, journal, "{outcome}");
    }
    gateway.assert_logged("a turn failed");
}

#[tokio::test]
async fn the_fallback_answers_for_each_failure() {
    let Some(mock) = Aimock::start() else { return };
    let Some(other) = Aimock::start() else { return };
    let gateway = Asking::start_with_fallback((&ANTHROPIC, &mock), (&OPENAI, &other), &[TIMEOUT]).await;
    for (answered, (chaos, outcome, _)) in (1..).zip(failures()) {
        mock.fail(&chaos).await;
        hello_in_time(&gateway, outcome).await.assert_is(200, ANSWER);
        assert_eq!(gateway.attempts("anthropic", outcome).await, 1, "{outcome}");
        assert_eq!(gateway.attempts("openai", "answered").await, answered, "{outcome}");
    }
    let asked = other.journal().await;
    assert_eq!(asked.len(), failures().len(), "the fallback is asked once for each");
    assert!(asked.iter().all(|call| call.body["model"] == "model-2"), "{asked:?}");
    gateway.assert_logged("a fallback is asked");
}

#[tokio::test]
async fn a_fallback_is_left_alone_while_the_first_answers() {
    let Some(mock) = Aimock::start() else { return };
    let Some(other) = Aimock::start() else { return };
    let gateway = Asking::start_with_fallback((&OPENAI, &mock), (&OLLAMA, &other), &[]).await;
    gateway.hello("order-1").await.assert_is(200, ANSWER);
    assert_eq!((mock.statuses().await, other.statuses().await), (vec![200], vec![]));
}

#[tokio::test]
async fn two_that_hang_are_one_failure_within_one_deadline() {
    let Some(mock) = Aimock::start() else { return };
    let Some(other) = Aimock::start() else { return };
    let retries = ("MOORGATE_PROVIDER__MAX_RETRIES", "10");
    let gateway = Asking::start_with_fallback((&OPENAI, &mock), (&OLLAMA, &other), &[TIMEOUT, retries]).await;
    for mock in [&mock, &other] {
        mock.fail(&json!({ "latencyMs": HANG_MS })).await;
    }
    hello_in_time(&gateway, "order-1").await.assert_is(500, FAILED);
    for mock in [&mock, &other] {
        mock.recover().await;
    }
    gateway.hello("order-1").await.assert_is(200, ANSWER);
}

#[tokio::test]
async fn a_model_that_fails_once_is_asked_again_after_the_pause_that_it_asks_for() {
    for (vendor, status) in VENDORS.iter().zip([429, 529, 503]) {
        let Some(mock) = Aimock::start() else { return };
        let gateway = Asking::start(vendor, &mock, &[("MOORGATE_PROVIDER__MAX_RETRIES", "1")]).await;
        mock.fail_once(status).await;
        gateway.hello("order-1").await.assert_is(200, &vendor.answer());
        assert_eq!(mock.statuses().await, [status, 200]);
        let [refused, answered] = mock.journal().await.try_into().unwrap();
        let paused_ms = answered.timestamp - refused.timestamp;
        let least_ms = if status == 429 { 1_000 } else { 250 }; // with 429 the mock sends `Retry-After: 1`
        assert!(paused_ms >= least_ms - 10, "{status}: {paused_ms} ms");
    }
}

#[tokio::test]
async fn a_model_that_is_limited_longer_than_the_deadline_is_not_asked_again() {
    let Some(mock) = Aimock::start() else { return };
    let settings = [("MOORGATE_PROVIDER__TIMEOUT_SECS", "1"), ("MOORGATE_PROVIDER__MAX_RETRIES", "10")];
    let gateway = Asking::start(&OPENAI, &mock, &settings).await;
    mock.fail(&json!({ "rateLimitRate": 1 })).await;
    hello_in_time(&gateway, "order-1").await.assert_is(500, FAILED);
    // It may be that a busy machine does not get so far within the second.
    assert!(matches!(mock.statuses().await.as_slice(), [] | [429]));
}
