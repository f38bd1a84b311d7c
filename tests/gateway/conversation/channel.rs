//! Conversations on chat platforms.

use super::*;
use crate::{
    channel::with_whatsapp,
    support::{
        platform::Platform,
        sender::{say, talk_call, talk_payload, whatsapp_call, whatsapp_payload},
    },
};

#[tokio::test]
async fn each_chat_has_its_own_turns_and_sessions_with_its_name_see_nothing_of_them() {
    let (gateway, platform) = with_whatsapp(&[OPEN]).await;
    for (n, (from, text)) in [("1555", "one"), ("1666", "two"), ("1555", "three")].into_iter().enumerate() {
        say(&gateway.client, &format!("wamid.{n}"), from, text).await;
        platform.wait_for_texts(n + 1).await;
    }
    assert_eq!(gateway.model.history_of("two"), [""; 0]);
    assert_eq!(gateway.model.history_of("three"), ["one", "one!"]);
    post_in(&gateway, "", "+1555", "four").await;
    assert_eq!(gateway.model.history_of("four"), [""; 0]);
}

#[tokio::test]
async fn messages_that_wait_together_know_the_ones_before_them() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    gateway.model.hold_message("one");
    say(&gateway.client, "wamid.1", "1555", "one").await;
    gateway.model.wait_for_calls(1).await;
    for (id, text) in [("wamid.2", "two"), ("wamid.3", "three")] {
        say(&gateway.client, id, "1555", text).await;
    }
    gateway.model.release();
    platform.wait_for_texts(3).await;
    assert_eq!(gateway.model.history_of("two"), ["one", "one!"]);
    assert_eq!(gateway.model.history_of("three"), ["one", "one!", "two", "two!"]);
}

#[tokio::test]
async fn a_picture_and_the_notice_about_it_are_no_turn() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    say(&gateway.client, "wamid.1", "1555", "one").await;
    platform.wait_for_texts(1).await;
    let picture = serde_json::json!({
        "from": "1555", "id": "wamid.2", "timestamp": "1790000000", "type": "image", "image": { "id": "1" },
    });
    gateway.client.send(whatsapp_call(&gateway.client, &whatsapp_payload(&[picture]))).await;
    platform.wait_for_texts(2).await;
    say(&gateway.client, "wamid.3", "1555", "three").await;
    platform.wait_for_texts(3).await;
    assert_eq!(gateway.model.history_of("three"), ["one", "one!"]);
}

#[tokio::test]
async fn the_same_member_in_another_room_has_another_conversation() {
    let platform = Platform::start();
    let gateway = Gateway::start_with(&crate::support::sender::talk(&platform)).await;
    for (n, (room, text)) in [("room1", "one"), ("room2", "two"), ("room1", "three")].into_iter().enumerate()
    {
        let payload = talk_payload(room, u32::try_from(n).unwrap(), "alice", text);
        gateway
            .client
            .send(talk_call(&gateway.client, &payload, &format!("random-{n}-{}", "r".repeat(50))))
            .await;
        platform.wait_for_texts(n + 1).await;
    }
    assert_eq!(gateway.model.history_of("two"), [""; 0]);
    assert_eq!(gateway.model.history_of("three"), ["one", "one!"]);
}

/// What a terminal or a chat program would act on is not sent to one.
#[tokio::test]
async fn control_characters_of_a_model_do_not_reach_a_channel() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    gateway.model.say("\u{1b}[31mred\u{7}\r\nnext\tline\u{9b}2J\0");
    say(&gateway.client, "wamid.1", "1555", "one").await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["[31mred\nnext\tline2J"]);
    gateway.model.say("\u{1b}\u{7}\u{0}");
    say(&gateway.client, "wamid.2", "1555", "two").await;
    platform.wait_for_texts(2).await;
    assert_eq!(platform.texts()[1], "Sorry, I couldn't process your message right now.");
    assert_eq!(gateway.sql("SELECT error_class FROM message WHERE text = 'two'"), "blank_answer");
}

#[tokio::test]
async fn a_message_over_the_bound_is_cut_with_a_mark_and_counted() {
    let (gateway, platform) = with_whatsapp(&[("conversation.max_message_chars", "16")]).await;
    say(&gateway.client, "wamid.1", "1555", "sixteen chars ok").await;
    say(&gateway.client, "wamid.2", "1555", "seventeen chars no").await;
    platform.wait_for_texts(2).await;
    assert_eq!(platform.texts(), ["sixteen chars ok!", "seventeen ch […]!"]);
    gateway.until_metric("zeroclaw_messages_cut_total", 1).await;
}
