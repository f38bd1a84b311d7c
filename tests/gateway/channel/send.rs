//! Replies: sent once, tried again, given up, split, apologised for.

use std::time::Duration;

use moorgate::provider::ProviderError;
use serde_json::json;

use super::{until_sql, with_whatsapp};
use crate::support::{
    gateway::Gateway,
    platform::Behaviour,
    sender::{say, text_message, whatsapp_call, whatsapp_payload, whatsapp_value},
};

/// How a reply stands that is not being sent: the class of a try that failed is there until the next one ends.
const STATE: &str = "SELECT state, attempts, in_doubt, error_class FROM delivery WHERE run_id IS NULL";

/// Lets the next tries be due.
async fn later(gateway: &Gateway, by: Duration) {
    gateway.clock.advance(by);
    gateway.sweep().await;
}

#[tokio::test]
async fn a_reply_is_what_meta_documents() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    say(&gateway.client, "wamid.1", "15551234567", "hello").await;
    platform.wait_for_texts(1).await;
    let call = &platform.calls()[0];
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/106540352242922/messages"));
    assert_eq!(call.headers["authorization"], "Bearer access-token");
    assert_eq!(
        call.body,
        json!({
            "messaging_product": "whatsapp", "recipient_type": "individual", "to": "15551234567", "type": "text",
            "text": { "preview_url": false, "body": "hello!" }, "context": { "message_id": "wamid.1" },
        })
    );
    until_sql(
        &gateway,
        "SELECT state, platform_id, kind, part, parts FROM delivery",
        "sent|wamid.out.1|answer|1|1",
    )
    .await;
    assert_eq!(
        gateway.sql("SELECT state, answer, model, attempts FROM message"),
        "answered|hello!|test-model-1|1"
    );
}

/// Failure 9: a reply that fails to send is logged and lost.
#[tokio::test]
async fn a_reply_that_was_not_sent_is_sent_later() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::Refuse(500, None));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, STATE, "due|1|0|overloaded").await;
    gateway.sweep().await;
    assert_eq!(platform.calls().len(), 1, "it is not due before its pause is over");
    later(&gateway, Duration::from_secs(1)).await;
    until_sql(&gateway, STATE, "due|2|0|overloaded").await;
    platform.always(Behaviour::Take);
    later(&gateway, Duration::from_secs(2)).await;
    until_sql(&gateway, STATE, "sent|3|0|").await;
    assert_eq!((platform.texts(), gateway.model.calls()), (vec!["hello!".to_owned()], 1));
}

/// Failure 9: also over a restart.
#[tokio::test]
async fn a_reply_that_was_not_sent_is_sent_after_a_restart() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::Refuse(500, None));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, STATE, "due|1|0|overloaded").await;
    let gateway = gateway.restart().await;
    platform.always(Behaviour::Take);
    later(&gateway, Duration::from_secs(1)).await;
    until_sql(&gateway, STATE, "sent|2|0|").await;
    assert_eq!((platform.texts(), gateway.model.calls()), (vec!["hello!".to_owned()], 1));
}

#[tokio::test]
async fn the_wait_that_a_platform_asks_for_is_kept() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::Refuse(429, Some(120)));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, STATE, "due|1|0|rate_limited").await;
    platform.always(Behaviour::Take);
    later(&gateway, Duration::from_secs(119)).await;
    assert_eq!(platform.calls().len(), 1);
    later(&gateway, Duration::from_secs(1)).await;
    platform.wait_for_texts(1).await;
}

/// What was sent and not answered may be there: it is marked, counted, and sent again.
#[tokio::test]
async fn a_reply_whose_fate_is_not_known_is_marked_and_sent_again() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::TakeAndHangUp);
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, "SELECT state, in_doubt FROM delivery", "due|1").await;
    platform.always(Behaviour::Take);
    later(&gateway, Duration::from_secs(1)).await;
    until_sql(&gateway, "SELECT state, in_doubt FROM delivery", "sent|1").await;
    assert_eq!(platform.texts(), ["hello!", "hello!"]);
    let doubt = r#"zeroclaw_deliveries_total{channel="whatsapp",outcome="in_doubt"}"#;
    gateway.until_metric(doubt, 1).await;
}

/// Failure 9: what is refused for good, or too often, is kept and visible, and can be tried again by hand.
#[tokio::test]
async fn a_dead_reply_is_kept_and_goes_out_when_it_is_made_due_by_hand() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    platform.always(Behaviour::Refuse(400, None));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, STATE, "dead|1|0|refused").await;
    say(&gateway.client, "wamid.2", "1555", "more").await;
    until_sql(&gateway, "SELECT state FROM delivery", "dead\ndead").await;
    platform.always(Behaviour::Take);
    let text = gateway.sql("SELECT state, text_starts FROM v_delivery ORDER BY id LIMIT 1");
    assert_eq!(text, "dead|hello!");
    gateway.sql("UPDATE delivery SET state = 'due', finished_at_ms = NULL WHERE id = 1");
    gateway.sweep().await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["hello!"]);
}

#[tokio::test]
async fn a_reply_is_given_up_after_the_last_try() {
    let (gateway, platform) = with_whatsapp(&[
        ("channels_config.delivery_max_attempts", "3"),
        ("channels_config.retry_first_ms", "5000"),
        ("channels_config.retry_longest_secs", "8"),
    ])
    .await;
    platform.always(Behaviour::Refuse(503, None));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, STATE, "due|1|0|overloaded").await;
    later(&gateway, Duration::from_millis(2400)).await;
    assert_eq!(platform.calls().len(), 1, "the first pause is at least half of 5 s");
    later(&gateway, Duration::from_millis(2600)).await;
    until_sql(&gateway, STATE, "due|2|0|overloaded").await;
    later(&gateway, Duration::from_secs(8)).await;
    until_sql(&gateway, STATE, "dead|3|0|overloaded").await;
    let dead = r#"zeroclaw_deliveries_total{channel="whatsapp",outcome="dead"}"#;
    gateway.until_metric(dead, 1).await;
}

/// Failure 9: a long reply is refused by the platform because nobody split it.
#[tokio::test]
async fn a_long_reply_goes_out_in_parts_in_order_and_each_once() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let words: Vec<String> = (0..2000).map(|n| format!("word{n}")).collect();
    let mut calls = 0;
    platform.behave(move |_| {
        calls += 1;
        if calls == 2 { Behaviour::Refuse(500, None) } else { Behaviour::Take }
    });
    say(&gateway.client, "wamid.1", "1555", &words.join(" ")).await;
    until_sql(&gateway, "SELECT count(*) FROM delivery WHERE error_class = 'overloaded'", "1").await;
    later(&gateway, Duration::from_secs(1)).await;
    platform.wait_for_texts(5).await;
    let texts = platform.texts();
    assert!(texts.iter().all(|text| text.chars().count() <= 4096));
    assert_eq!(
        texts.join(" "),
        format!("{}!", words.join(" ")),
        "nothing is missing and nothing is there twice"
    );
    let quoting: Vec<bool> = platform.calls().iter().map(|call| call.body["context"].is_object()).collect();
    assert_eq!(quoting, [true, false, false, false, false, false], "only the first part quotes");
}

#[tokio::test]
async fn when_a_part_is_refused_for_good_the_rest_is_given_up_with_it() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let mut calls = 0;
    platform.behave(move |_| {
        calls += 1;
        if calls == 2 { Behaviour::Refuse(400, None) } else { Behaviour::Take }
    });
    say(&gateway.client, "wamid.1", "1555", &"long ".repeat(2500)).await;
    let states = "SELECT group_concat(state || ' ' || coalesce(error_class, ''), ', ') FROM delivery";
    until_sql(&gateway, states, "sent , dead refused, dead earlier_part_dead, dead earlier_part_dead").await;
    say(&gateway.client, "wamid.2", "1555", "next").await;
    platform.wait_for_texts(2).await;
    assert_eq!(platform.texts()[1], "next!");
}

#[tokio::test]
async fn when_the_model_fails_for_good_the_sender_gets_one_apology() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    gateway.model.fail(Some(ProviderError::BadResponse("no choice")));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    for attempt in 1..5 {
        until_sql(&gateway, "SELECT state, attempts FROM message", &format!("accepted|{attempt}")).await;
        assert_eq!(platform.calls().len(), 0);
        later(&gateway, Duration::from_secs(1 << (attempt - 1))).await;
    }
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["Sorry, I couldn't process your message right now."]);
    until_sql(&gateway, "SELECT m.state, m.attempts, m.error_class, d.kind, d.state FROM message AS m JOIN delivery AS d ON d.message_id = m.id",
        "failed|5|bad_response|apology|sent").await;
}

#[tokio::test]
async fn attempts_and_apology_are_as_configured() {
    let attempts = ("channels_config.message_max_attempts", "1");
    let (gateway, platform) = with_whatsapp(&[attempts, ("channels_config.failure_reply", "No luck.")]).await;
    gateway.model.fail(Some(ProviderError::Unreachable("refused".into())));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["No luck."]);

    let (gateway, platform) = with_whatsapp(&[attempts, ("channels_config.failure_reply", "")]).await;
    gateway.model.fail(Some(ProviderError::Unreachable("refused".into())));
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, "SELECT state FROM message", "failed").await;
    gateway.model.fail(None);
    say(&gateway.client, "wamid.2", "1555", "again").await;
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["again!"], "an empty text sends no apology");
}

#[tokio::test]
async fn a_call_to_the_platform_takes_no_longer_than_configured() {
    let (gateway, platform) = with_whatsapp(&[("channels_config.send_timeout_secs", "1")]).await;
    platform.hold();
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    until_sql(&gateway, STATE, "due|1|1|timed_out").await;
    platform.release();
}

/// News of sent messages may come in any order.
#[tokio::test]
async fn the_delivery_remembers_how_far_it_has_come() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    say(&gateway.client, "wamid.1", "1555", "hello").await;
    platform.wait_for_texts(1).await;
    until_sql(&gateway, "SELECT state FROM delivery", "sent").await;
    for (status, expected) in [
        ("sent", "sent|1790000001000"),
        ("read", "read|1790000002000"),
        ("delivered", "read|1790000002000"),
        ("failed", "failed|1790000004000"),
    ] {
        let at = match status {
            "sent" => "1790000001",
            "read" => "1790000002",
            "delivered" => "1790000003",
            _ => "1790000004",
        };
        let news =
            json!([{ "id": "wamid.out.1", "status": status, "timestamp": at, "recipient_id": "1555" }]);
        let payload = whatsapp_value(&json!({ "statuses": news }));
        let reply = gateway.client.send(whatsapp_call(&gateway.client, &payload)).await;
        reply.assert_is(200, r#"{"status":"ok"}"#);
        assert_eq!(gateway.sql("SELECT status, status_at_ms FROM delivery"), expected);
    }
    assert_eq!((gateway.model.calls(), platform.calls().len()), (1, 1), "news is not answered");
}

#[tokio::test]
async fn who_sends_a_picture_is_told_once_that_only_text_is_understood() {
    let (gateway, platform) = with_whatsapp(&[]).await;
    let picture = json!({ "from": "1555", "id": "wamid.1", "timestamp": "1790000000", "type": "image", "image": { "id": "1" } });
    let payload = whatsapp_payload(&[picture, text_message("wamid.2", "1555", "hello")]);
    for _ in 0..3 {
        gateway
            .client
            .send(whatsapp_call(&gateway.client, &payload))
            .await
            .assert_is(200, r#"{"status":"ok"}"#);
    }
    platform.wait_for_texts(2).await;
    assert_eq!(platform.texts(), ["Sorry, I can only understand text messages.", "hello!"]);
    assert_eq!(gateway.model.calls(), 1);
    let rows = gateway.sql("SELECT state, answer FROM message ORDER BY id LIMIT 1");
    assert_eq!(rows, "answered|Sorry, I can only understand text messages.");

    let (gateway, platform) =
        with_whatsapp(&[("channels_config.whatsapp.reply_to_unsupported", "false")]).await;
    gateway.client.send(whatsapp_call(&gateway.client, &payload)).await.assert_is(200, r#"{"status":"ok"}"#);
    platform.wait_for_texts(1).await;
    assert_eq!(platform.texts(), ["hello!"]);
}
