//! Memory: what users said is kept once and found again.

use std::time::Duration;

use moorgate::provider::ProviderError;
use serde_json::Value;

use crate::support::{
    gateway::Gateway,
    platform::Platform,
    process::{moorgate, run},
    sender::{Setting, linq, linq_call, linq_payload, say, talk, talk_call, talk_payload, whatsapp},
};

const OPEN: (&str, &str) = ("gateway.require_pairing", "false");

/// What is in memory, once all that was said is there.
async fn kept(gateway: &Gateway) -> String {
    gateway.remember().await;
    gateway.sql("SELECT category, channel, sender, content FROM memory ORDER BY id")
}

/// The same, where it was all said to `/webhook` without pairing.
fn of_webhook(texts: &[&str]) -> String {
    let lines: Vec<_> =
        texts.iter().map(|text| format!("conversation|webhook|addr:127.0.0.1|{text}")).collect();
    lines.join("\n")
}

#[tokio::test]
async fn each_message_to_the_webhook_is_kept_under_a_key_of_its_own() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    for key in [None, None, Some("order-1")] {
        gateway.client.post(&token, key, "hello").await;
    }
    assert_eq!(kept(&gateway).await, ["conversation|webhook|token:1|hello"; 3].join("\n"));
    let hex = |digits: usize| "[0-9a-f]".repeat(digits);
    let pattern = format!("webhook_msg_{}-{}-{}-{}-{}", hex(8), hex(4), hex(4), hex(4), hex(12));
    assert_eq!(
        gateway.sql(&format!("SELECT count(DISTINCT key) FROM memory WHERE key GLOB '{pattern}'")),
        "3"
    );
    assert_eq!(gateway.sql("SELECT created_at FROM v_memory LIMIT 1"), "2026-09-21T14:13:20.000Z");
}

/// Failure 14: memory writes fail silently, or are stored twice by a retry.
#[tokio::test]
async fn a_retry_after_a_failure_is_kept_once_and_so_is_a_replay() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    gateway.model.fail(Some(ProviderError::BadResponse("test")));
    for _ in 0..2 {
        assert_eq!(gateway.client.post("", Some("order-1"), "hello").await.status, 500);
    }
    assert_eq!(kept(&gateway).await, of_webhook(&["hello"]), "what failed was said all the same");
    gateway.model.fail(None);
    for _ in 0..2 {
        assert_eq!(gateway.client.post("", Some("order-1"), "hello").await.status, 200);
    }
    assert_eq!(kept(&gateway).await, of_webhook(&["hello"]));
    assert_eq!(gateway.sql("SELECT count(*) FROM message"), "3", "each try is on record");
    gateway.client.post("", Some("order-2"), "hello").await;
    assert_eq!(kept(&gateway).await, of_webhook(&["hello", "hello"]));
}

#[tokio::test]
async fn what_is_refused_is_not_kept() {
    let (gateway, token) = Gateway::paired_with(&[("gateway.max_in_flight", "1")]).await;
    assert_eq!(gateway.client.post("zc_wrong", None, "one").await.status, 401);
    gateway.model.hold();
    let held = gateway.client.post_apart(&token, None, "held");
    gateway.model.wait_for_calls(1).await;
    assert_eq!(gateway.client.post(&token, None, "two").await.status, 503);
    gateway.model.release();
    assert_eq!(held.await.unwrap().unwrap().status, 200);
    assert_eq!(kept(&gateway).await, "conversation|webhook|token:1|held");
}

/// Failures 12 and 14: a redelivery was stored again.
#[tokio::test]
async fn messages_of_channels_are_kept_by_sender_and_id_once() {
    let platform = Platform::start();
    let settings: Vec<Setting<'_>> =
        [whatsapp(&platform), linq(&platform), talk(&platform)].into_iter().flatten().collect();
    let gateway = Gateway::start_with(&settings).await;
    let client = &gateway.client;
    for _ in 0..3 {
        say(client, "wamid.1", "1555", "from whatsapp").await;
    }
    let payload = linq_payload("event-1", "chat-1", "+1666", "from linq");
    client.send(linq_call(client, &payload, 1_790_000_000)).await;
    let payload = talk_payload("room1", 7, "alice", "from talk");
    client.send(talk_call(client, &payload, &"r".repeat(64))).await;
    platform.wait_for_texts(3).await;
    gateway.remember().await;
    assert_eq!(
        gateway.sql("SELECT key, category, content FROM memory ORDER BY id"),
        "whatsapp_+1555_wamid.1|conversation|from whatsapp\n\
         linq_+1666_event-1|conversation|from linq\n\
         nextcloud_talk_users/alice_room1:7|conversation|from talk"
    );
}

#[tokio::test]
async fn nothing_is_kept_where_that_is_switched_off() {
    let platform = Platform::start();
    let settings: Vec<_> =
        whatsapp(&platform).into_iter().chain([OPEN, ("memory.auto_save", "false")]).collect();
    let gateway = Gateway::start_with(&settings).await;
    gateway.client.post("", None, "hello").await;
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    platform.wait_for_texts(1).await;
    assert_eq!(kept(&gateway).await, "");
}

/// The setting that counts is that of the moment at which a message came.
#[tokio::test]
async fn what_was_said_before_that_was_switched_off_or_on_is_kept_as_it_was_then() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    gateway.client.post("", None, "on").await;
    let gateway = gateway.restart_with(&[OPEN, ("memory.auto_save", "false")]).await;
    gateway.client.post("", None, "off").await;
    let gateway = gateway.restart_with(&[OPEN]).await;
    gateway.client.post("", None, "on again").await;
    assert_eq!(kept(&gateway).await, of_webhook(&["on", "on again"]));
}

/// Their numbers are given to others. So is one that nobody could have.
#[tokio::test]
async fn what_is_said_after_the_newest_messages_were_deleted_is_kept_too() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    gateway.client.post("", None, "one").await;
    gateway.sql(
        "INSERT INTO message (id, received_at_ms, channel, sender, text, state, attempts, run_id, finished_at_ms)
         VALUES (9223372036854775807, 1, 'webhook', 'token:1', '', 'failed', 1, 1, 1)",
    );
    gateway.remember().await;
    gateway.sql("DELETE FROM message");
    let gateway = gateway.restart_with(&[OPEN]).await;
    gateway.client.post("", None, "two").await;
    assert_eq!(kept(&gateway).await, of_webhook(&["one", "two"]));
}

/// The same key with another text, the same key and text of another sender, and a key that is used again after it has expired are
/// no retries.
#[tokio::test]
async fn what_only_looks_like_a_retry_is_kept() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    let other = gateway.client.seen_from("127.0.0.2");
    gateway.model.fail(Some(ProviderError::BadResponse("test")));
    for (client, text) in [(&gateway.client, "one"), (&gateway.client, "two"), (&other, "two")] {
        assert_eq!(client.post("", Some("order-1"), text).await.status, 500);
    }
    gateway.model.fail(None);
    assert_eq!(gateway.client.post("", Some("order-2"), "three").await.status, 200);
    assert_eq!(gateway.client.post("", Some("order-1"), "two").await.status, 200);
    gateway.clock.advance(Duration::from_hours(25));
    assert_eq!(gateway.client.post("", Some("order-2"), "three").await.status, 200);
    assert_eq!(gateway.client.post("", Some("order-1"), "two").await.status, 200);
    gateway.remember().await;
    assert_eq!(gateway.sql("SELECT group_concat(content) FROM memory"), "one,two,two,three,three,two");
}

#[tokio::test]
async fn a_retry_of_what_was_said_while_that_was_switched_off_is_kept() {
    let gateway = Gateway::start_with(&[OPEN, ("memory.auto_save", "false")]).await;
    gateway.model.fail(Some(ProviderError::BadResponse("test")));
    assert_eq!(gateway.client.post("", Some("order-1"), "hello").await.status, 500);
    let gateway = gateway.restart_with(&[OPEN]).await;
    gateway.model.fail(None);
    assert_eq!(gateway.client.post("", Some("order-1"), "hello").await.status, 200);
    assert_eq!(kept(&gateway).await, of_webhook(&["hello"]));
}

#[tokio::test]
async fn what_has_no_words_is_not_kept_and_what_has_no_name_gets_one() {
    let platform = Platform::start();
    let gateway = Gateway::start_with(&whatsapp(&platform)).await;
    gateway.sql(
        "INSERT INTO conversation (id, channel, sender, room, started_at_ms) VALUES (1, 'linq', 'me', '', 1);
         INSERT INTO message (id, received_at_ms, channel, sender, text, state, attempts, run_id, finished_at_ms, conversation_id, to_remember)
         VALUES (7, 1, 'linq', 'me', '', 'failed', 1, 1, 1, 1, 1), (8, 1, 'linq', 'me', 'by hand', 'failed', 1, 1, 1, 1, 1)",
    );
    gateway.remember().await;
    assert_eq!(gateway.sql("SELECT key, content FROM memory"), "linq_me_8|by hand");
}

#[tokio::test]
async fn an_orderly_stop_leaves_nothing_to_be_put_into_memory() {
    let mut gateway = Gateway::start_with(&[OPEN]).await;
    gateway.client.post("", None, "hello").await;
    gateway.stop().await;
    assert_eq!(gateway.sql("SELECT still_to_do FROM v_memory_progress"), "0");
    assert_eq!(gateway.sql("SELECT content FROM memory"), "hello");
}

/// Messages may be kept for a shorter time than memory, or in a smaller number.
#[tokio::test]
async fn a_message_is_not_forgotten_before_it_is_in_memory() {
    let settings = [OPEN, ("database.message_max_rows", "1"), ("gateway.webhook_rate_limit_per_minute", "0")];
    let gateway = Gateway::start_with(&settings).await;
    for n in 0..5 {
        gateway.client.post("", None, &format!("m{n}")).await;
    }
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT group_concat(text) FROM message"), "m4");
    gateway.remember().await;
    assert_eq!(gateway.sql("SELECT group_concat(content) FROM memory"), "m0,m1,m2,m3,m4");
}

fn search(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let database = gateway.database();
    let folder = database.parent().unwrap();
    let found = run(moorgate(folder).args(["memory", "search", "--json", "--"]).args(arguments));
    assert_eq!((found.code, found.err.as_str()), (Some(0), ""), "{arguments:?}");
    serde_json::from_str(&found.out).unwrap()
}

fn contents(gateway: &Gateway, words: &[&str]) -> Vec<String> {
    search(gateway, words).iter().map(|found| found["content"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_is_found_by_its_words_beside_the_running_server() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    for text in
        ["A red bicycle, please", "Ein rotes Fahrrad für Zoë", "the bicycle is RED \"NOT blue\"", "nothing"]
    {
        gateway.client.post("", None, text).await;
    }
    assert_eq!(contents(&gateway, &["ZOE", "fur"]), ["Ein rotes Fahrrad für Zoë"]);
    assert_eq!(contents(&gateway, &["red bicycle"]).len(), 2);
    assert_eq!(contents(&gateway, &["NOT", "\"blue"]), ["the bicycle is RED \"NOT blue\""]);
    for nothing in ["*", "content:red", "\"", "red OR absent", "-red", "red*"] {
        let found = contents(&gateway, &[nothing]);
        assert!(found.is_empty() || nothing.starts_with('-') || nothing == "red*", "{nothing}: {found:?}");
    }
    let whole = &search(&gateway, &["zoe"])[0];
    let key = whole["key"].as_str().unwrap();
    let expected = serde_json::json!({
        "key": key, "category": "conversation", "channel": "webhook", "sender": "addr:127.0.0.1",
        "content": "Ein rotes Fahrrad für Zoë", "created_at": "2026-09-21T14:13:20.000Z",
    });
    assert_eq!(whole, &expected);
    let database = gateway.database();
    let few = run(moorgate(database.parent().unwrap()).args(["memory", "search", "bicycle", "--limit", "1"]));
    assert!(few.out.contains("webhook") && few.out.lines().count() == 2, "{few:?}");
}

/// Puts something into memory.
fn by_hand(content: &str) -> String {
    format!(
        "INSERT INTO memory (key, category, channel, sender, content, created_at_ms)
         VALUES ('by-hand', 'core', 'webhook', 'me', '{content}', 1)"
    )
}

/// An operator's edit holds: also in the full text, whatever of it was there already.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_by_hand_is_an_edit_of_the_full_text() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    for text in ["alpha", "beta", "gamma"] {
        gateway.client.post("", None, text).await;
    }
    assert_eq!(contents(&gateway, &["gamma"]), ["gamma"]); // all three are in the full text now
    gateway.sql(&by_hand("delta")); // this one is not, until somebody looks
    gateway.sql("DELETE FROM memory WHERE content IN ('gamma', 'delta')");
    gateway.sql("UPDATE memory SET content = 'omega' WHERE content = 'beta'");
    gateway.sql(&by_hand("epsilon"));
    for (word, found) in [("alpha", 1), ("beta", 0), ("gamma", 0), ("delta", 0), ("omega", 1), ("epsilon", 1)]
    {
        assert_eq!(contents(&gateway, &[word]).len(), found, "{word}");
    }
    gateway.sql("INSERT INTO memory_text (memory_text) VALUES ('integrity-check')");
    assert_eq!(gateway.sql("SELECT still_to_do FROM v_memory_progress"), "0");
    // Whatever is said of how far it is, nothing is in it twice.
    for odd in [
        "UPDATE memory_progress SET indexed_to = 0",
        "INSERT INTO memory_text (memory_text) VALUES ('rebuild'); UPDATE memory_progress SET indexed_to = 1",
    ] {
        gateway.sql(odd);
        gateway.client.post("", None, "zeta").await;
        assert_eq!(contents(&gateway, &["alpha"]), ["alpha"], "{odd}");
        gateway.sql("INSERT INTO memory_text (memory_text) VALUES ('integrity-check')");
        assert_eq!(gateway.sql("DELETE FROM memory WHERE content = 'zeta' RETURNING content"), "zeta");
        assert_eq!(contents(&gateway, &["zeta"]), [""; 0]);
    }
    gateway.sql("INSERT INTO memory_text (memory_text) VALUES ('integrity-check')");
}

#[tokio::test]
async fn memory_is_kept_for_as_long_and_as_much_as_configured() {
    let settings = [
        OPEN,
        ("memory.retention_days", "10"),
        ("memory.max_rows", "3"),
        ("gateway.webhook_rate_limit_per_minute", "0"),
    ];
    let gateway = Gateway::start_with(&settings).await;
    for n in 0..5 {
        gateway.client.post("", None, &format!("m{n}")).await;
    }
    gateway.remember().await;
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT group_concat(content) FROM memory"), "m2,m3,m4");
    gateway.clock.advance(Duration::from_hours(9 * 24));
    gateway.client.post("", None, "young").await;
    gateway.remember().await;
    gateway.clock.advance(Duration::from_hours(24));
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT group_concat(content) FROM memory"), "young");
    gateway.sql("INSERT INTO memory_text (memory_text) VALUES ('integrity-check')");
}
