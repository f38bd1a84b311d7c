//! A clock that was set back while nothing ran. What is on record goes back with it once, and not again at each further start.

use std::time::Duration;

use super::{OPEN, assert_answered, assert_replayed, post};
use crate::support::{gateway::Gateway, time::HOUR_MS};

/// Failure 5: keys vanished. The newest message still told of the time before, so each further start set all back again.
#[tokio::test]
async fn answered_keys_live_their_time_over_any_number_of_restarts_after_the_clock_was_set_back() {
    let mut gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "order-1").await);
    gateway = gateway.restart_with_clock_set(-HOUR_MS).await;
    for _ in 0..3 {
        assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
        gateway = gateway.restart().await;
    }
    gateway.clock.advance(Duration::from_millis(299_999));
    assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
    gateway.clock.advance(Duration::from_millis(1));
    assert_answered(&post(&gateway, "order-1").await);
}

/// Hits that had left their window, and were not yet removed, came back into it.
#[tokio::test]
async fn hits_that_have_left_their_window_stay_outside_when_the_clock_is_set_back() {
    let gateway = Gateway::start_with(&[OPEN, ("gateway.webhook_rate_limit_per_minute", "2")]).await;
    for key in ["order-1", "order-2"] {
        assert_answered(&post(&gateway, key).await);
    }
    let mut gateway = gateway;
    gateway.clock.advance(Duration::from_secs(61));
    gateway.stop().await;
    gateway.sql(
        "INSERT INTO rate_hit VALUES (1790000000000, 'webhook', 0, '127.0.0.1', 2) ON CONFLICT DO NOTHING",
    );
    gateway.clock.step_wall(-HOUR_MS);
    let gateway = gateway.restart().await;
    assert_answered(&post(&gateway, "order-3").await);
}
