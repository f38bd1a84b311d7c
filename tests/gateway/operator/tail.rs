//! `moorgate message tail`: beside a running server, and how it ends.

use std::process::Stdio;

use serde_json::{Value, json};

use super::{
    message::{Chat, waiting, with},
    shape::{json_of, printed},
};
use crate::support::process::{Running, moorgate};

/// A tail of the chat's messages.
fn tail(chat: &Chat, arguments: &[&str]) -> Running {
    let mut command = moorgate(chat.folder.path());
    Running::spawn(command.args(["message", "tail"]).args(arguments).stdout(Stdio::piped()))
}

/// The next line, as JSON with its times replaced.
fn next(tail: &Running) -> Value {
    json_of(&tail.line().expect("a line"))
}

/// Reads on to the line that says this of a message; what comes before is about the same message.
fn until(tail: &Running, text: &str, state: &str) -> Value {
    loop {
        let line = next(tail);
        assert_eq!(line["text"], text, "{line}");
        if line["state"] == state {
            return line;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_shown_as_they_come_in_and_whenever_their_state_changes() {
    let chat = Chat::start();
    let all = tail(&chat, &["--json"]);
    chat.say("wamid.1", "one").await;
    let answered = with(&waiting(1, "one"), &json!({ "state": "answered", "attempts": 1 }));
    assert_eq!(until(&all, "one", "answered"), answered);

    chat.model.hold();
    chat.say("wamid.2", "two").await;
    let running = with(&waiting(2, "two"), &json!({ "state": "running", "attempts": 1 }));
    assert_eq!(until(&all, "two", "running"), running);
    chat.model.fail(Some(400));
    chat.model.release();
    let failed = with(&running, &json!({ "state": "failed", "error": "refused" }));
    assert_eq!(until(&all, "two", "failed"), failed);

    chat.model.hold();
    chat.model.fail(None);
    printed(&chat.folder, &["message", "retry", "2"]);
    until(&all, "two", "running");
    chat.model.release();
    until(&all, "two", "answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_begins_with_what_there_is_and_keeps_to_its_filters() {
    let chat = Chat::start();
    let token = chat.process.pair().await;
    for text in ["one", "two", "three"] {
        chat.process.client.post(&token, None, text).await;
    }
    let texts = |tail: &Running, count: usize| -> Vec<Value> {
        (0..count).map(|_| next(tail)["text"].take()).collect()
    };
    assert_eq!(texts(&tail(&chat, &["--json", "--lines", "2"]), 2), ["two", "three"]);
    assert_eq!(texts(&tail(&chat, &["--json", "--since", "1h"]), 3), ["one", "two", "three"]);

    let of_whatsapp = tail(&chat, &["--json", "--channel", "whatsapp"]);
    let failed = tail(&chat, &["--json", "--state", "failed"]);
    chat.process.client.post(&token, None, "by webhook").await;
    chat.model.fail(Some(400));
    chat.say("wamid.1", "by chat").await;
    until(&of_whatsapp, "by chat", "failed");
    assert_eq!(next(&failed)["text"], "by chat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_on_a_terminal_or_in_a_file_has_columns() {
    let chat = Chat::start();
    chat.process.client.post(&chat.process.pair().await, None, "hello").await;
    let tail = tail(&chat, &[]);
    let names = tail.line().unwrap();
    let expected =
        "ID  RECEIVED AT  CHANNEL  CONVERSATION  SENDER  STATE  ATTEMPTS  NEXT ATTEMPT AT  ERROR  TEXT";
    assert_eq!(names.split_whitespace().collect::<Vec<_>>(), expected.split_whitespace().collect::<Vec<_>>());
    let row = tail.line().unwrap();
    assert!(row.starts_with(" 1  20") && row.ends_with("  -      hello"), "{row}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_ends_at_a_signal_and_when_nobody_reads_it() {
    let chat = Chat::start();
    chat.process.client.post(&chat.process.pair().await, None, "hello").await;
    for signal in ["INT", "TERM"] {
        let mut tail = tail(&chat, &["--json"]);
        next(&tail); // from here on it catches signals
        tail.signal(signal);
        assert_eq!(tail.wait().code(), Some(0), "{signal}");
    }
    let (reader, nobody) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = moorgate(chat.folder.path());
    let mut tail = Running::spawn(command.args(["message", "tail", "--lines", "0"]).stdout(nobody));
    assert_eq!(tail.wait().code(), Some(0), "also if there is nothing to write");
}
