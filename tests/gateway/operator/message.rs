//! `moorgate message`.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    shape::{assert_refused, json, printed},
    until_query,
};
use crate::support::{
    model_server::ModelServer,
    platform::Platform,
    process::Process,
    sender::{Setting, env_of, undated_message, whatsapp, whatsapp_call, whatsapp_payload},
};

/// A gateway with WhatsApp and a model of the test.
pub struct Chat {
    pub folder: TempDir,
    pub process: Process,
    pub platform: Platform,
    pub model: ModelServer,
}

impl Chat {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts with some keys set, by their dotted names.
    pub fn start_with(settings: &[Setting<'_>]) -> Self {
        let (folder, platform, model) = (TempDir::new().unwrap(), Platform::start(), ModelServer::start());
        let channel = env_of(&[whatsapp(&platform).as_slice(), settings].concat());
        let channel = channel.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let env: Vec<_> = channel.chain(model.env("any")).collect();
        let process = Process::start(folder.path(), &env);
        Self { folder, process, platform, model }
    }

    /// Says something as a user of WhatsApp.
    pub async fn say(&self, id: &str, text: &str) {
        self.say_as("15551234567", id, text).await;
    }

    /// Says something as the user with this number.
    pub async fn say_as(&self, number: &str, id: &str, text: &str) {
        let payload = whatsapp_payload(&[undated_message(id, number, text)]);
        let reply = self.process.client.send(whatsapp_call(&self.process.client, &payload)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

/// A message in a list, as it is before anything happens to it.
pub fn waiting(id: u32, text: &str) -> Value {
    json!({
        "id": id, "received_at": "TIME", "channel": "whatsapp", "conversation": 1, "sender": "+15551234567",
        "state": "accepted", "attempts": 0, "next_attempt_at": null, "error": null, "text": text,
    })
}

/// The same with other fields.
pub fn with(value: &Value, fields: &Value) -> Value {
    let mut value = value.clone();
    value.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    value
}

/// Without the time that the model took.
fn untimed(mut message: Value) -> Value {
    assert!(message["provider_ms"].take().is_u64(), "{message}");
    message
}

#[tokio::test]
async fn a_message_that_failed_is_answered_when_it_is_tried_again() {
    let chat = Chat::start();
    chat.model.fail(Some(400));
    chat.say("wamid.1", "hello").await;
    chat.process.wait_for_state("hello", "failed").await;
    chat.platform.wait_for_texts(1).await;
    let failed = with(&waiting(1, "hello"), &json!({ "state": "failed", "attempts": 1, "error": "refused" }));
    assert_eq!(json(&chat.folder, &["message", "list", "--state", "failed"]), json!([failed]));

    chat.model.fail(None);
    let due = with(
        &waiting(1, "hello"),
        &json!({
            "answer": null, "model": null, "finished_at": null, "idempotency_key": null,
            "platform_id": "wamid.1",
        }),
    );
    let account = json!({
        "provider": "openai", "provider_calls": 1, "provider_ms": null, "prompt_tokens": null, "completion_tokens": null,
    });
    assert_eq!(untimed(json(&chat.folder, &["message", "retry", "1"])), with(&due, &account));
    chat.platform.wait_for_texts(2).await;
    assert_eq!(chat.platform.texts()[1], "hello: answer 2");
    chat.process.wait_for_state("hello", "answered").await;
    let reason = "message 1 is answered: that is final";
    assert_refused(&chat.folder, &["message", "retry", "1"], reason);
    assert_refused(&chat.folder, &["message", "discard", "1", "--yes"], reason);
}

#[tokio::test]
async fn a_message_at_work_is_left_alone_and_the_one_behind_it_can_be_discarded() {
    let chat = Chat::start();
    chat.model.hold();
    chat.say("wamid.1", "first").await;
    chat.process.wait_for_state("first", "running").await;
    chat.say("wamid.2", "second").await;
    let reason =
        "message 1 is at work just now (or was, when the server was killed: the next start takes it up)";
    assert_refused(&chat.folder, &["message", "retry", "1"], reason);
    assert_refused(&chat.folder, &["message", "discard", "1", "--yes"], reason);

    assert_eq!(printed(&chat.folder, &["message", "discard", "2", "--yes"]), "Message 2 is discarded.\n");
    let discarded = with(&waiting(2, "second"), &json!({ "state": "failed", "error": "discarded" }));
    assert_eq!(json(&chat.folder, &["message", "list", "--state", "failed"]), json!([discarded]));
    let reason = "message 2 is failed: that is final";
    assert_refused(&chat.folder, &["message", "discard", "2", "--yes"], reason);
    chat.say("wamid.3", "third").await;
    chat.model.release();
    chat.platform.wait_for_texts(2).await;
    assert_eq!(chat.platform.texts(), ["first: answer 1", "third: answer 1"]);
    assert_eq!(chat.model.calls("second"), 0);
}

#[tokio::test]
async fn messages_are_listed_by_state_channel_and_age() {
    let chat = Chat::start();
    let token = chat.process.pair().await;
    chat.process.client.post(&token, Some("order-1"), "by webhook").await;
    chat.say("wamid.1", "by chat").await;
    chat.process.wait_for_state("by chat", "answered").await;
    let webhook = json!({
        "id": 1, "received_at": "TIME", "channel": "webhook", "conversation": null, "sender": "token:1",
        "state": "answered", "attempts": 1, "next_attempt_at": null, "error": null, "text": "by webhook",
    });
    let chatted = with(&waiting(2, "by chat"), &json!({ "state": "answered", "attempts": 1 }));
    let list = |filters: &[&str]| json(&chat.folder, &[&["message", "list"], filters].concat());
    assert_eq!(list(&[]), json!([chatted, webhook]));
    assert_eq!(list(&["--channel", "webhook"]), json!([webhook]));
    assert_eq!(list(&["--channel", "whatsapp", "--state", "answered"]), json!([chatted]));
    assert_eq!(list(&["--state", "failed"]), json!([]));
    assert_eq!(list(&["--limit", "1"]), json!([chatted]));
    super::sqlite3(
        &chat.process.database,
        "UPDATE message SET received_at_ms = received_at_ms - 7200000 WHERE id = 1",
    );
    assert_eq!(list(&["--since", "1h"]), json!([chatted]));
    assert_eq!(list(&["--since", "3h"]), json!([chatted, webhook]));
}

#[tokio::test]
async fn a_message_is_shown_with_its_replies() {
    let chat = Chat::start();
    chat.say("wamid.1", "hello").await;
    chat.platform.wait_for_texts(1).await;
    until_query(&chat.process.database, "SELECT state FROM delivery", "sent").await;
    let reply = json!({
        "id": 1, "created_at": "TIME", "channel": "whatsapp", "conversation": 1, "message": 1, "kind": "answer",
        "part": 1, "parts": 1, "state": "sent", "attempts": 1, "in_doubt": 0, "next_attempt_at": null,
        "status": null, "error": null, "text": "hello: answer 1",
    });
    let expected = with(
        &waiting(1, "hello"),
        &json!({
            "state": "answered", "attempts": 1, "answer": "hello: answer 1", "model": "any",
            "finished_at": "TIME", "idempotency_key": null, "platform_id": "wamid.1", "replies": [reply],
            "provider": "openai", "provider_calls": 1, "provider_ms": null, "prompt_tokens": null,
            "completion_tokens": null,
        }),
    );
    assert_eq!(untimed(json(&chat.folder, &["message", "show", "1"])), expected);
    let shown = printed(&chat.folder, &["message", "show", "1"]);
    for line in
        ["text:              hello\n", "answer:            hello: answer 1\n", "\nREPLIES:\nID  CREATED AT"]
    {
        assert!(shown.contains(line), "{line:?}: {shown}");
    }
    assert_refused(&chat.folder, &["message", "show", "2"], "there is no message 2");
    assert_refused(&chat.folder, &["message", "retry", "2"], "there is no message 2");
    assert_refused(&chat.folder, &["message", "discard", "2", "--yes"], "there is no message 2");
}

#[tokio::test]
async fn a_message_of_webhook_is_not_tried_again_for_nobody_waits_for_it() {
    let chat = Chat::start();
    let token = chat.process.pair().await;
    chat.model.fail(Some(400));
    assert_eq!(chat.process.client.post(&token, Some("order-1"), "hello").await.status, 500);
    let reason =
        "message 1 came in through /webhook: its sender knows what came of it, and sends it again by itself";
    assert_refused(&chat.folder, &["message", "retry", "1"], reason);
    assert_refused(&chat.folder, &["message", "discard", "1", "--yes"], reason);

    chat.model.fail(None);
    chat.model.hold();
    let posted = chat.process.client.post_apart(&token, None, "at work");
    chat.process.wait_for_state("at work", "running").await;
    let reason =
        "message 2 is at work just now (or was, when the server was killed: the next start takes it up)";
    assert_refused(&chat.folder, &["message", "discard", "2", "--yes"], reason);
    chat.model.release();
    assert_eq!(posted.await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn what_strangers_write_does_not_steer_a_terminal() {
    let chat = Chat::start();
    chat.say("wamid.1", "red \u{1b}[31m\nalert").await;
    chat.platform.wait_for_texts(1).await;
    let listed = printed(&chat.folder, &["message", "list"]);
    assert!(listed.contains("red \u{fffd}[31m alert\n"), "{listed}");
    let shown = printed(&chat.folder, &["message", "show", "1"]);
    assert!(shown.contains("red \u{fffd}[31m\n                   alert\n"), "{shown}");
    assert_eq!(json(&chat.folder, &["message", "list"])[0]["text"], "red \u{1b}[31m\nalert");
}
