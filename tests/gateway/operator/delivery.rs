//! `moorgate delivery`.

use serde_json::{Value, json};

use super::{
    message::{Chat, with},
    shape::{assert_refused, json, printed},
    sqlite3, until_query,
};
use crate::support::platform::Behaviour;

/// What is due, sent and dead, and why.
const STATES: &str = "SELECT group_concat(state || coalesce(':' || error_class, ''), ' ') FROM delivery";

/// Something whose answer has three parts.
fn long() -> String {
    "x".repeat(9000)
}

fn due(id: u32, part: u32, text: &str) -> Value {
    json!({
        "id": id, "created_at": "TIME", "channel": "whatsapp", "conversation": 1, "message": 1, "kind": "answer",
        "part": part, "parts": 3, "state": "due", "attempts": 0, "in_doubt": 0, "next_attempt_at": null,
        "status": null, "error": null, "text": text,
    })
}

#[tokio::test]
async fn a_reply_that_was_given_up_goes_out_whole_when_it_is_tried_again() {
    let chat = Chat::start();
    chat.platform.always(Behaviour::Refuse(400, None));
    chat.say("wamid.1", &long()).await;
    until_query(&chat.process.database, STATES, "dead:refused dead:earlier_part_dead dead:earlier_part_dead")
        .await;
    let dead = json(&chat.folder, &["delivery", "list", "--state", "dead"]);
    let texts: Vec<&str> = (0..3).rev().map(|at| dead[at]["text"].as_str().unwrap()).collect();
    assert_eq!(texts.concat(), long() + ": answer 1");
    let expected = |id: u32, error: &str, attempts: u32| {
        let text = texts[id as usize - 1];
        with(&due(id, id, text), &json!({ "state": "dead", "error": error, "attempts": attempts }))
    };
    let given_up = "earlier_part_dead";
    assert_eq!(dead, json!([expected(3, given_up, 0), expected(2, given_up, 0), expected(1, "refused", 1)]));
    let details = json!({
        "sender": "+15551234567", "sending": false, "platform_id": null, "status_at": null, "finished_at": "TIME",
    });
    assert_eq!(json(&chat.folder, &["delivery", "show", "1"]), with(&expected(1, "refused", 1), &details));

    chat.platform.always(Behaviour::Take);
    let again: Vec<Value> = (1..=3).map(|id| due(id, id, texts[id as usize - 1])).collect();
    assert_eq!(json(&chat.folder, &["delivery", "retry", "1"]), json!(again));
    chat.platform.wait_for_texts(3).await;
    assert_eq!(chat.platform.texts(), texts);
    until_query(&chat.process.database, STATES, "sent sent sent").await;
    let reason = "delivery 2 is sent: that is final";
    assert_refused(&chat.folder, &["delivery", "retry", "2"], reason);
    assert_refused(&chat.folder, &["delivery", "discard", "2", "--yes"], reason);
}

#[tokio::test]
async fn a_reply_that_waits_is_discarded_with_the_parts_behind_it() {
    let chat = Chat::start();
    chat.platform.always(Behaviour::Refuse(500, Some(3600)));
    chat.say("wamid.1", &long()).await;
    until_query(&chat.process.database, STATES, "due:overloaded due due").await;
    assert_eq!(json(&chat.folder, &["delivery", "list", "--state", "due", "--limit", "1"])[0]["id"], 3);
    assert_eq!(json(&chat.folder, &["delivery", "show", "1"])["next_attempt_at"], "TIME");
    let said = printed(&chat.folder, &["delivery", "discard", "2", "--yes"]);
    assert_eq!(said, "Deliveries 2, 3 are discarded.\n");
    let states = "due:overloaded dead:discarded dead:earlier_part_dead";
    assert_eq!(sqlite3(&chat.process.database, STATES), states);
    assert_refused(&chat.folder, &["delivery", "discard", "2", "--yes"], "delivery 2 is dead: that is final");

    chat.platform.always(Behaviour::Take);
    assert_eq!(printed(&chat.folder, &["delivery", "retry", "1"]), "Delivery 1 is due again.\n");
    chat.platform.wait_for_texts(1).await;
    until_query(&chat.process.database, STATES, "sent dead:discarded dead:earlier_part_dead").await;
    assert_eq!(printed(&chat.folder, &["delivery", "retry", "3"]), "Delivery 3 is due again.\n");
    chat.platform.wait_for_texts(2).await;
}

#[tokio::test]
async fn a_reply_that_is_being_sent_is_left_alone() {
    let chat = Chat::start();
    chat.platform.hold();
    chat.say("wamid.1", "hello").await;
    until_query(&chat.process.database, "SELECT run_id IS NOT NULL FROM delivery", "1").await;
    let reason =
        "delivery 1 is at work just now (or was, when the server was killed: the next start takes it up)";
    assert_refused(&chat.folder, &["delivery", "retry", "1"], reason);
    assert_refused(&chat.folder, &["delivery", "discard", "1", "--yes"], reason);
    assert_eq!(json(&chat.folder, &["delivery", "show", "1"])["sending"], true);
    for command in
        [&["delivery", "show", "2"][..], &["delivery", "retry", "2"], &["delivery", "discard", "2", "--yes"]]
    {
        assert_refused(&chat.folder, command, "there is no delivery 2");
    }
    chat.platform.release();
    chat.platform.wait_for_texts(1).await;
}
