//! The edits, and what they bring about.

use std::path::Path;

use super::{Busy, SETTINGS, TOKEN, another_code, printed, sqlite, sqlite3, statements, until_query};
use crate::{
    operator::{message::Chat, until_status},
    support::{platform::Behaviour, wait::until},
};

const EDITS: &str = include_str!("../../../../docs/database/edits.sql");
/// As in [`SETTINGS`].
const POSTS_A_MINUTE: u32 = 1_000_000;

/// Makes an edit, with what is an example in it replaced, as it is said that edits are made.
fn edit(chat: &Chat, statement: &str, replaced: &str, by: &str) {
    assert!(statement.contains(replaced), "{statement}");
    let statement = statement.replace(replaced, by) + "\nSELECT changes() > 0;";
    let ended = tokio::task::block_in_place(|| sqlite(chat, &["-cmd", ".timeout 5000"], &statement));
    assert_eq!((ended.code, ended.out.as_str(), ended.err.as_str()), (Some(0), "1\n", ""), "{statement}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edits_hold_within_a_second_on_a_server_at_work() {
    let edits = statements(EDITS);
    let [revoke, expire, unlock, empty, withdraw, forget, resend, retry] = edits.as_slice() else {
        panic!("{} edits", edits.len())
    };
    let chat = Chat::start_with(&SETTINGS);
    let (dead, failed) = (given_up_reply(&chat).await, failed_message(&chat).await);
    let busy = Busy::start(&chat);
    busy.posts.more(50).await;
    revoke_and_expire(&chat, revoke, expire).await;
    let_try_again(&chat, unlock).await;
    empty_window(&chat, empty).await;
    withdraw_codes(&chat, withdraw).await;
    forget_key(&chat, forget).await;
    edit(&chat, resend, "= 17", &format!("= {dead}"));
    let state = format!("SELECT DISTINCT state FROM delivery WHERE message_id = {dead}");
    until_query(&chat.process.database, &state, "sent").await;
    edit(&chat, retry, "= 17", &format!("= {failed}"));
    chat.process.wait_for_state("fails", "answered").await;
    busy.posts.more(50).await;
    busy.stop(&chat).await;
    printed(&chat.folder, &["db", "check"]);
}

/// The id of a message to which the reply was refused, in two parts.
async fn given_up_reply(chat: &Chat) -> String {
    let text = "x".repeat(5000);
    chat.platform.always(Behaviour::Refuse(400, None));
    chat.say("wamid.1", &text).await;
    let states = "SELECT group_concat(state) FROM delivery";
    until_query(&chat.process.database, states, "dead,dead").await;
    chat.platform.always(Behaviour::Take);
    id_of(&chat.process.database, &text)
}

/// The id of a message that the model refused to answer.
async fn failed_message(chat: &Chat) -> String {
    chat.model.fail(Some(400));
    chat.say("wamid.2", "fails").await;
    chat.process.wait_for_state("fails", "failed").await;
    chat.model.fail(None);
    id_of(&chat.process.database, "fails")
}

fn id_of(database: &Path, text: &str) -> String {
    sqlite3(database, &format!("SELECT id FROM message WHERE text = '{text}'"))
}

async fn revoke_and_expire(chat: &Chat, revoke: &str, expire: &str) {
    let client = &chat.process.client;
    let token = client.paired(&another_code(&chat.folder, &[])).await;
    assert_eq!(client.post(&token, None, "hello").await.status, 200);
    edit(chat, revoke, "'client'", "'client'");
    until_status(401, async || client.post(&token, None, "hello").await).await;

    let token = client.paired(&another_code(&chat.folder, &["--label", "short"])).await;
    edit(chat, expire, "(unixepoch() + 3600) * 1000 WHERE id = 1", "1 WHERE label = 'short'");
    until_status(401, async || client.post(&token, None, "hello").await).await;
}

async fn let_try_again(chat: &Chat, unlock: &str) {
    let client = chat.process.client.seen_from("127.0.0.2");
    let code = another_code(&chat.folder, &[]);
    for _ in 0..5 {
        assert_eq!(client.pair("wrong").await.status, 403);
    }
    assert_eq!(client.pair(&code).await.status, 429);
    edit(chat, unlock, "203.0.113.7", "127.0.0.2");
    until_status(200, async || client.pair(&code).await).await;
}

async fn empty_window(chat: &Chat, empty: &str) {
    let client = chat.process.client.seen_from("127.0.0.3");
    let left = async || client.post(TOKEN, None, "hello").await.left("webhook");
    for hits in 1..=2 {
        assert_eq!(left().await, POSTS_A_MINUTE - hits);
    }
    edit(chat, empty, "203.0.113.7", "127.0.0.3");
    let mut since = 1; // hits since the edit count, also those of which the server hears before the edit
    let emptied = async || {
        let emptied = left().await == POSTS_A_MINUTE - since;
        since += 1;
        emptied
    };
    until("the window is empty", emptied).await;
}

async fn withdraw_codes(chat: &Chat, withdraw: &str) {
    let code = another_code(&chat.folder, &[]);
    edit(chat, withdraw, "'live'", "'live'");
    assert_eq!(chat.process.client.pair(&code).await.status, 403);
}

async fn forget_key(chat: &Chat, forget: &str) {
    let post = async || chat.process.client.post(TOKEN, Some("order-1"), "order").await;
    assert_eq!(post().await.header("idempotency-replayed"), None);
    assert_eq!(post().await.header("idempotency-replayed"), Some("true"));
    edit(chat, forget, "order-1", "order-1");
    assert_eq!(post().await.header("idempotency-replayed"), None);
    assert_eq!(chat.model.calls("order"), 2);
}
