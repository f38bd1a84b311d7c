//! Rows that somebody edits or deletes by hand, and rows that cannot be read.

use std::time::Duration;

use serde_json::json;

use super::{until_sql, with_whatsapp};
use crate::support::{
    gateway::Gateway,
    platform::{Behaviour, Platform},
    sender::{linq, linq_call, linq_payload, say, whatsapp, whatsapp_call, whatsapp_value},
};

async fn later(gateway: &Gateway) {
    gateway.clock.advance(Duration::from_mins(20));
    gateway.sweep().await;
}

#[tokio::test]
async fn replies_to_a_deleted_conversation_are_given_up_and_others_go_on() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::Refuse(500, None));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, "SELECT attempts, error_class FROM delivery", "1|overloaded").await;
    gateway.sql("DELETE FROM conversation");
    platform.always(Behaviour::Take);
    later(&gateway).await;
    until_sql(&gateway, "SELECT state, error_class FROM delivery", "dead|no_conversation").await;
    say(&gateway.client, "wamid.2", "1555", "again").await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["again!"]);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_holds_up_its_own_conversation_alone() {
    let (gateway, platform) = with_whatsapp(&[("channels_config.workers", "1")]).await;
    platform.always(Behaviour::Refuse(500, None));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, "SELECT attempts, error_class FROM delivery", "1|overloaded").await;
    gateway.sql("UPDATE delivery SET text = CAST(x'ff' AS TEXT)");
    platform.always(Behaviour::Take);
    later(&gateway).await;
    say(&gateway.client, "wamid.2", "1666", "another's").await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["another's!"]);
    gateway.sql("UPDATE delivery SET text = 'mended' WHERE state = 'due'");
    later(&gateway).await;
    platform.wait_for_texts(2).await;
    assert_eq!(platform.texts()[1], "mended");
}

#[tokio::test]
async fn a_message_that_is_settled_or_deleted_by_hand_while_at_work_is_not_replied_to() {
    for edit in [
        "UPDATE message SET state = 'failed', finished_at_ms = 1 WHERE text = 'at work'",
        "DELETE FROM message WHERE text = 'at work'",
    ] {
        let (gateway, platform) = with_whatsapp(&[]).await;
        gateway.model.hold();
        say(&gateway.client, "wamid.1", "1555", "at work").await;
        gateway.model.wait_for_calls(1).await;
        gateway.sql(edit);
        gateway.model.release();
        say(&gateway.client, "wamid.2", "1555", "next").await;
        platform.wait_for_texts(1).await;
        assert_eq!(platform.texts(), ["next!"]);
        gateway.until_metric("zeroclaw_inbox_waiting", 0).await;
    }
}

/// A message that may be what kills the process is given up in the end, and one that was cut by a stop in order is not.
#[tokio::test]
async fn tries_that_a_crash_cut_count_and_those_that_a_stop_cut_do_not() {
    let settings = [("channels_config.message_max_attempts", "2"), ("gateway.shutdown_grace_secs", "0")];
    let (mut gateway, platform) = with_whatsapp(&settings).await;
    gateway.model.hold();
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    for started in 1..=3 {
        gateway.model.wait_for_calls(started).await;
        assert_eq!(gateway.sql("SELECT state, attempts FROM message"), "running|1");
        gateway = gateway.restart().await;
    }
    gateway.model.wait_for_calls(4).await;
    gateway.stop().await;
    gateway.sql("UPDATE server_run SET stopped_at_ms = NULL; UPDATE message SET attempts = 2");
    let gateway = gateway.restart().await;
    until_sql(&gateway, "SELECT state, error_class FROM message", "failed|crashed").await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["Sorry, I couldn't process your message right now."]);
}

/// Meta's news may be faster than our note of what it is about.
#[tokio::test]
async fn news_of_a_message_that_is_just_being_sent_is_not_lost() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.hold();
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, "SELECT attempts FROM delivery", "1").await;
    let news = json!([{ "id": "wamid.out.1", "status": "delivered", "timestamp": "1790000003" }]);
    let payload = whatsapp_value(&json!({ "statuses": news }));
    assert_eq!(gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.status, 200);
    assert_eq!(gateway.sql("SELECT platform_id, status FROM v_early_status"), "wamid.out.1|delivered");
    platform.release();
    until_sql(&gateway, "SELECT state, status, status_at_ms FROM delivery", "sent|delivered|1790000003000")
        .await;
    later(&gateway).await;
    assert_eq!(gateway.sql("SELECT count(*) FROM early_status"), "0");
}

/// Pauses and ids do not outlive a clock that was ahead.
#[tokio::test]
async fn a_pause_is_as_long_as_it_was_after_the_clock_was_set_back() {
    let (mut gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::Refuse(500, None));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, "SELECT attempts, error_class FROM delivery", "1|overloaded").await;
    gateway.stop().await;
    gateway.clock.step_wall(-86_400_000);
    let gateway = gateway.restart().await;
    platform.always(Behaviour::Take);
    gateway.clock.advance(Duration::from_secs(2));
    gateway.sweep().await;
    platform.wait_for_texts(1).await;
    assert_eq!(gateway.sql("SELECT received_at_ms <= 1790000000000 - 86400000 FROM received_id"), "1");
}

#[tokio::test]
async fn answers_are_erased_whatever_the_order_of_their_times() {
    let (gateway, platform) = with_whatsapp(&[("database.answer_retention_days", "1")]).await;
    for n in 0..3 {
        say(&gateway.client, &format!("wamid.{n}"), "1555", &format!("m{n}")).await;
    }
    platform.wait_for_texts(3).await;
    until_sql(&gateway, "SELECT count(*) FROM delivery WHERE state = 'sent'", "3").await;
    gateway.sql("UPDATE message SET received_at_ms = received_at_ms + 3600000 WHERE id = 2");
    gateway.clock.advance(Duration::from_hours(24));
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT group_concat(answer) FROM message"), ",m1!,m2!");
    gateway.clock.advance(Duration::from_hours(1));
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT group_concat(answer) FROM message"), ",,");
}

/// What came of a job is written to its own row, whoever gets its number afterwards.
#[tokio::test]
async fn a_number_that_was_deleted_is_not_given_to_another_message() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    gateway.model.hold();
    say(&gateway.client, "wamid.1", "1555", "deleted").await;
    gateway.model.wait_for_calls(1).await;
    gateway.sql("DELETE FROM message");
    gateway.sweep().await;
    say(&gateway.client, "wamid.2", "1666", "another's").await;
    gateway.model.wait_for_calls(2).await;
    assert_eq!(gateway.sql("SELECT id > 1, text, state FROM message"), "1|another's|running");
    gateway.model.release();
    platform.wait_for_texts(1).await;
    assert_eq!((platform.texts(), platform.calls()[0].to()), (vec!["another's!".to_owned()], "1666"));
    until_sql(&gateway, "SELECT answer FROM message", "another's!").await;
}

/// Messages of a channel that is not configured any more are kept, and take nobody's place.
#[tokio::test]
async fn a_channel_that_was_removed_does_not_fill_the_inbox() {
    let platform = Platform::start();
    let most = ("channels_config.max_waiting_messages", "2");
    let both: Vec<_> = whatsapp(&platform).into_iter().chain(linq(&platform)).chain([most]).collect();
    let gateway = Gateway::start_with(&both).await;
    gateway.model.hold();
    say(&gateway.client, "wamid.1", "1555", "one").await;
    say(&gateway.client, "wamid.2", "1555", "two").await;
    let event = |id: &str| linq_payload(id, "chat-1", "+15552223333", "from Linq");
    let refused = gateway.client.send(linq_call(&gateway.client, &event("event-1"), 1_790_000_000)).await;
    assert_eq!(refused.status, 503);
    let linq_alone: Vec<_> = linq(&platform).into_iter().chain([most]).collect();
    let gateway = gateway.restart_with(&linq_alone).await;
    let taken = gateway.client.send(linq_call(&gateway.client, &event("event-1"), 1_790_000_000)).await;
    assert_eq!(taken.status, 200);
    gateway.model.release();
    platform.wait_for_texts(1).await;
    assert_eq!(gateway.sql("SELECT count(*) FROM message WHERE state IN ('accepted', 'running')"), "2");
    let gateway = gateway.restart_with(&both).await;
    platform.wait_for_texts(3).await;
    gateway.until_metric("zeroclaw_inbox_waiting", 0).await;
}
