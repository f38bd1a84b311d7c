//! What an operator does with `sqlite3` while the gateway runs.

use super::{OPEN, assert_answered, assert_replayed, insert_key, insert_message, post};
use crate::support::gateway::Gateway;

/// Keys are looked for part by part, of 1024 messages each.
#[tokio::test]
async fn a_key_is_found_however_many_messages_lie_between_it_and_the_newest() {
    let mut gateway = Gateway::start_with(&[OPEN]).await;
    gateway.stop().await;
    let far = [1, 1023, 1024, 5000, 5001, 90_000_000];
    for (id, number) in far.into_iter().zip(1..) {
        let name = format!("order-{id}");
        let key = insert_key(id, &name, "answered").replace(", 1);", &format!(", {number});"));
        gateway.sql(&(insert_message(id, Some(&name), "answered", 1) + &key));
    }
    let gateway = gateway.restart().await;
    for id in far {
        assert_replayed(&post(&gateway, &format!("order-{id}")).await, "by hand", "pen");
    }
    assert_answered(&post(&gateway, "order-2").await);
    assert_replayed(&post(&gateway, "order-2").await, "hello!", "test-model-1");
    assert_eq!(gateway.sql("SELECT max(id) FROM message"), "90000001");
}

#[tokio::test]
async fn a_key_inserted_while_no_gateway_runs_is_replayed() {
    let mut gateway = Gateway::start_with(&[OPEN]).await;
    gateway.stop().await;
    let key = insert_key(100, "order-1", "answered");
    gateway.sql(&(insert_message(100, Some("order-1"), "answered", 1) + &key));
    let gateway = gateway.restart().await;
    assert_replayed(&post(&gateway, "order-1").await, "by hand", "pen");
    let other = gateway.client.post("", Some("order-1"), "good day").await;
    assert_eq!((other.status, gateway.model.calls()), (422, 0));
}

#[tokio::test]
async fn a_key_deleted_by_hand_is_free_at_once() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "order-1").await);
    gateway.sql("DELETE FROM idempotency_key");
    assert_answered(&post(&gateway, "order-1").await);
    assert_eq!(gateway.model.calls(), 2);
    assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
}

#[tokio::test]
async fn an_answer_corrected_by_hand_is_what_the_retry_gets() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "order-1").await);
    gateway.sql("UPDATE message SET answer = 'corrected'");
    assert_replayed(&post(&gateway, "order-1").await, "corrected", "test-model-1");
}

#[tokio::test]
async fn a_message_inserted_by_hand_is_not_in_the_way_of_the_next() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "order-1").await);
    gateway.sql(&insert_message(2, None, "interrupted", 1));
    assert_answered(&post(&gateway, "order-2").await);
    assert_eq!(gateway.sql("SELECT id, state FROM message"), "1|answered\n2|interrupted\n3|answered");
}

#[tokio::test]
async fn a_key_whose_message_was_deleted_by_hand_is_free() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "order-1").await);
    gateway.sql("DELETE FROM message");
    assert_answered(&post(&gateway, "order-1").await);
    assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
    assert_eq!(gateway.model.calls(), 2);
}

#[tokio::test]
async fn a_row_that_takes_the_number_of_a_deleted_message_is_not_its_answer() {
    let mut gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "order-1").await);
    gateway.stop().await;
    gateway.sql("DELETE FROM message");
    let gateway = gateway.restart().await;
    let other = gateway.client.post("", Some("order-2"), "private").await;
    assert_eq!(other.status, 200);
    assert_eq!(gateway.sql("SELECT id, text FROM message"), "2|private", "its key still has the number");
    gateway.sql(&insert_message(1, Some("order-3"), "answered", 1));
    assert_answered(&post(&gateway, "order-1").await);
}

/// A gateway that was stopped at work on a message, which was edited before the next start.
async fn started_after_edit_of_work(edit: &str) -> Gateway {
    let mut gateway = Gateway::start_with(&[OPEN]).await;
    gateway.stop().await;
    gateway.sql(&(insert_message(1, Some("order-1"), "running", 1) + &insert_key(1, "order-1", "running")));
    gateway.sql(edit);
    gateway.restart().await
}

#[tokio::test]
async fn work_is_resumed_though_it_names_the_run_that_comes_next() {
    let gateway = started_after_edit_of_work("UPDATE message SET run_id = 2").await;
    crate::support::raw::soon(gateway.model.wait_for_calls(1)).await;
}

#[tokio::test]
async fn a_database_that_was_moved_takes_no_writes() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "order-1").await);
    let (here, there) = (gateway.database(), gateway.database().with_extension("old"));
    std::fs::rename(&here, &there).unwrap();
    let refused = post(&gateway, "order-2").await;
    assert_eq!((refused.status, refused.retry_after()), (503, 5));
    std::fs::rename(&there, &here).unwrap();
    assert_answered(&post(&gateway, "order-2").await);
}

#[tokio::test]
async fn a_key_whose_work_was_ended_by_hand_is_free() {
    let ended = "UPDATE message SET state = 'failed', finished_at_ms = 1789999999001";
    let gateway = started_after_edit_of_work(ended).await;
    assert_answered(&post(&gateway, "order-1").await);
    assert_replayed(&post(&gateway, "order-1").await, "hello!", "test-model-1");
}
