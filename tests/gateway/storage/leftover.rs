//! What a run that died left behind, as the next one finds it.

use super::{OPEN, assert_answered, assert_replayed, insert_key, insert_message, post};
use crate::support::gateway::Gateway;

const STATES: &str = "SELECT id, state, attempts, error_class FROM message ORDER BY id";

/// A gateway that has been stopped, and whose file has been changed.
async fn stopped_with(rows: &str) -> Gateway {
    let mut gateway = Gateway::start_with(&[OPEN]).await;
    gateway.stop().await;
    gateway.sql(rows);
    gateway
}

#[tokio::test]
async fn a_message_without_a_key_that_was_cut_is_marked_and_not_run_again() {
    let rows = insert_message(7, None, "running", 1) + &insert_message(8, None, "accepted", 0);
    let mut gateway = stopped_with(&rows).await.restart().await;
    gateway.stop().await;
    assert_eq!(gateway.sql(STATES), "7|interrupted|1|interrupted\n8|interrupted|0|interrupted");
    assert_eq!(gateway.model.calls(), 0);
}

/// Failure 1: the key was burnt and the message never answered.
#[tokio::test]
async fn a_message_with_a_key_is_resumed_and_its_answer_is_what_the_retry_gets() {
    let rows = insert_message(7, Some("order-1"), "running", 1) + &insert_key(7, "order-1", "running");
    let gateway = stopped_with(&rows).await;
    gateway.model.hold();
    let gateway = gateway.restart().await;
    gateway.model.wait_for_calls(1).await;
    assert_eq!(post(&gateway, "order-1").await.status, 409, "it is being worked on");
    assert_eq!(gateway.sql(STATES), "7|running|2|");
    gateway.model.release();

    let gateway = gateway.restart().await; // which finishes what is in flight
    assert_eq!(gateway.sql(STATES), "7|answered|2|");
    assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
    assert_eq!(gateway.model.calls(), 1);
}

#[tokio::test]
async fn a_message_that_was_accepted_and_not_begun_is_resumed_too() {
    let rows = insert_message(7, Some("order-1"), "accepted", 0) + &insert_key(7, "order-1", "running");
    let mut gateway = stopped_with(&rows).await.restart().await;
    gateway.stop().await;
    assert_eq!(gateway.sql(STATES), "7|answered|1|");
}

#[tokio::test]
async fn a_message_that_was_begun_five_times_is_given_up_and_its_key_is_free() {
    let rows = insert_message(7, Some("order-1"), "running", 5) + &insert_key(7, "order-1", "running");
    let gateway = stopped_with(&rows).await.restart().await;
    assert_eq!(gateway.sql(STATES), "7|failed|5|crashed");
    assert_eq!(gateway.model.calls(), 0);
    assert_answered(&post(&gateway, "order-1").await);
}

#[tokio::test]
async fn a_message_that_was_begun_four_times_gets_its_fifth() {
    let rows = insert_message(7, Some("order-1"), "running", 4) + &insert_key(7, "order-1", "running");
    let mut gateway = stopped_with(&rows).await.restart().await;
    gateway.stop().await;
    assert_eq!(gateway.sql(STATES), "7|answered|5|");
}

#[tokio::test]
async fn a_message_whose_key_was_deleted_is_not_run_again() {
    let gateway = stopped_with(&insert_message(7, Some("order-1"), "running", 1)).await.restart().await;
    assert_eq!(gateway.sql(STATES), "7|interrupted|1|interrupted");
    assert_answered(&post(&gateway, "order-1").await);
    assert_eq!(gateway.model.calls(), 1);
}

#[tokio::test]
async fn a_running_key_without_its_message_is_free() {
    let gateway = stopped_with(&insert_key(7, "order-1", "running")).await.restart().await;
    assert_answered(&post(&gateway, "order-1").await);
}

#[tokio::test]
async fn runs_are_on_record_with_how_they_ended() {
    let gateway = Gateway::start().await.restart().await;
    assert_eq!(gateway.sql("SELECT id, state FROM v_server_run"), "1|stopped\n2|running or killed");
    let pids = format!("{0}\n{0}", std::process::id());
    assert_eq!(gateway.sql("SELECT pid FROM server_run"), pids);
}
