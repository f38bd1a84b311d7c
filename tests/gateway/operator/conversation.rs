//! `moorgate conversation`.

use serde_json::json;

use super::{
    message::{Chat, waiting, with},
    shape::{assert_refused, json, printed},
};

#[tokio::test]
async fn conversations_are_listed_and_shown_with_their_newest_messages() {
    let chat = Chat::start();
    assert_eq!(json(&chat.folder, &["conversation", "list"]), json!([]));
    chat.model.hold();
    chat.say("wamid.1", "first").await;
    chat.process.wait_for_state("first", "running").await;
    chat.say("wamid.2", "second").await;
    let conversation = json!({
        "id": 1, "started_at": "TIME", "channel": "whatsapp", "sender": "+15551234567", "room": "", "waiting": 2,
        "due": 0,
    });
    assert_eq!(json(&chat.folder, &["conversation", "list"]), json!([conversation]));
    assert_eq!(json(&chat.folder, &["conversation", "list", "--channel", "linq"]), json!([]));
    let first = with(&waiting(1, "first"), &json!({ "state": "running", "attempts": 1 }));
    let messages = |messages| with(&conversation, &json!({ "messages": messages }));
    let shown = json(&chat.folder, &["conversation", "show", "1"]);
    assert_eq!(shown, messages(vec![first, waiting(2, "second")]));
    let shown = json(&chat.folder, &["conversation", "show", "1", "--limit", "1"]);
    assert_eq!(shown, messages(vec![waiting(2, "second")]));
    let text = printed(&chat.folder, &["conversation", "show", "1"]);
    assert!(
        text.contains("sender:     +15551234567\n") && text.contains("\nMESSAGES:\nID  RECEIVED AT"),
        "{text}"
    );
    assert_refused(&chat.folder, &["conversation", "show", "2"], "there is no conversation 2");
    chat.model.release();
}
