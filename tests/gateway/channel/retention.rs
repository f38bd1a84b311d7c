//! What is kept, and what is forgotten.

use std::time::Duration;

use moorgate::system::Clock as _;

use super::{until_sql, with_whatsapp};
use crate::support::{
    gateway::Gateway,
    platform::Behaviour,
    sender::{Setting, say},
};

const DAY: Duration = Duration::from_hours(24);

async fn answered(settings: &[Setting<'_>], messages: usize) -> Gateway {
    let (gateway, platform) = with_whatsapp(settings).await;
    for n in 0..messages {
        say(&gateway.client, &format!("wamid.{n}"), "1555", &format!("m{n}")).await;
    }
    platform.wait_for_texts(messages).await;
    until_sql(&gateway, "SELECT count(*) FROM delivery WHERE state = 'sent'", &messages.to_string()).await;
    gateway
}

fn rows(gateway: &Gateway) -> String {
    gateway.sql(
        "SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM message WHERE answer <> ''), (SELECT count(*) FROM delivery)",
    )
}

#[tokio::test]
async fn messages_answers_and_deliveries_are_kept_for_as_long_as_configured() {
    let gateway = answered(
        &[
            ("database.message_retention_days", "30"),
            ("database.answer_retention_days", "10"),
            ("database.delivery_retention_days", "20"),
        ],
        3,
    )
    .await;
    for (day, left) in
        [(9, "3|3|3"), (10, "3|0|3"), (19, "3|0|3"), (20, "3|0|0"), (29, "3|0|0"), (30, "0|0|0")]
    {
        gateway.clock.advance((DAY * day).saturating_sub(gateway.clock.monotonic()));
        gateway.sweep().await;
        assert_eq!(rows(&gateway), left, "after {day} days");
    }
}

#[tokio::test]
async fn of_messages_answers_and_deliveries_as_many_are_kept_as_configured() {
    let gateway = answered(
        &[
            ("database.message_max_rows", "30"),
            ("database.answer_max_rows", "10"),
            ("database.delivery_max_rows", "20"),
        ],
        40,
    )
    .await;
    gateway.sweep().await;
    assert_eq!(rows(&gateway), "30|10|20");
    assert_eq!(gateway.sql("SELECT text FROM message ORDER BY id LIMIT 1"), "m10", "the oldest go first");
}

#[tokio::test]
async fn what_is_still_needed_is_kept() {
    let settings = [
        ("gateway.require_pairing", "false"),
        ("gateway.idempotency_ttl_secs", "2419200"),
        ("database.message_retention_days", "1"),
        ("database.answer_retention_days", "1"),
        ("database.delivery_retention_days", "1"),
    ];
    let (gateway, platform) = with_whatsapp(&settings).await;
    platform.always(Behaviour::Refuse(500, Some(86_400)));
    assert_eq!(gateway.client.post("", Some("order-1"), "with a key").await.status, 200);
    assert_eq!(gateway.client.post("", None, "without").await.status, 200);
    say(&gateway.client, "wamid.1", "1555", "not sent").await;
    until_sql(&gateway, "SELECT state, attempts FROM delivery", "due|1").await;
    gateway.model.hold();
    say(&gateway.client, "wamid.2", "1666", "at work").await;
    gateway.model.wait_for_calls(4).await;
    platform.hold();
    gateway.clock.advance(DAY);
    gateway.sweep().await;
    assert_eq!(gateway.sql("SELECT text FROM message ORDER BY id"), "with a key\nat work");
    assert_eq!(gateway.sql("SELECT count(*) FROM delivery"), "1");
    let replay = gateway.client.post("", Some("order-1"), "with a key").await;
    assert_eq!((replay.status, &replay.json()["response"]), (200, &"with a key!".into()));
    gateway.model.release();
    platform.release();
}

#[tokio::test]
async fn nothing_is_forgotten_where_there_is_no_limit() {
    let gateway = answered(
        &[
            ("database.message_retention_days", "0"),
            ("database.answer_retention_days", "0"),
            ("database.delivery_retention_days", "0"),
            ("database.message_max_rows", "0"),
            ("database.answer_max_rows", "0"),
            ("database.delivery_max_rows", "0"),
        ],
        3,
    )
    .await;
    gateway.clock.advance(DAY * 36_500);
    gateway.sweep().await;
    assert_eq!(rows(&gateway), "3|3|3");
}
