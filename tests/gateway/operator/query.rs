//! The queries and edits of docs/DATABASE.md, word for word, through Debian's `sqlite3` beside a server at work. Queries wait for
//! nothing; edits wait as it is said there.

mod edit;

use std::process::Command;

use serde_json::json;

use super::{
    command::another_code,
    database::load::Load,
    message::Chat,
    shape::{json, printed},
    sqlite3, until_query,
};
use crate::support::{
    client::Client,
    platform::Behaviour,
    process::{Ended, run},
    sender::{
        Setting, TALK_SECRET, talk_call, talk_payload, undated_message, whatsapp_call, whatsapp_payload,
        whatsapp_value,
    },
};

const QUERIES: &str = include_str!("../../../docs/database/queries.sql");

/// The columns of each query, in their order.
const COLUMNS: [&str; 20] = [
    "id|label|source|state|created_at|expires_at",
    "id|label|messages|answered|last_at",
    "client|state|lockouts_in_a_day|locked_at|locked_until",
    "id|label|state|failed_attempts|issued_at|expires_at|token_id",
    "scope|token_id|address|hits_in_60_s|last_at",
    "id|received_at|channel|sender|state|error_class|took_ms|text_starts|answer_starts",
    "channel|state|messages",
    "id|received_at|channel|sender|state|attempts|next_attempt|error_class|text_starts",
    "channel|error_class|messages|last_at",
    "minute|messages|mean_ms|longest_ms",
    "id|received_at|channel|provider|model|provider_calls|provider_ms|prompt_tokens|completion_tokens",
    "day|provider|model|turns|answered|calls|prompt_tokens|completion_tokens|mean_ms|longest_ms",
    "id|received_at|state|text|answer",
    "id|channel|sender|room|turns|waiting|replies_due",
    "id|message_id|channel|sender|part|state|attempts|error_class|created_at|text_starts",
    "id|message_id|channel|sender|part|state|in_doubt|platform_id|created_at",
    "channel|messages|parts|mean_ms|longest_ms|read",
    "owner|key|state|message_id|answered_at|received_at|text_starts",
    "id|created_at|channel|sender|content",
    "id|started_at|stopped_at|state|pid|version",
];
const ROUNDS: usize = 5;

/// A token that the configuration brings, so that the first code is not printed.
const TOKEN: &str = "zc_imported";
const SETTINGS: [Setting<'_>; 3] = [
    ("gateway.paired_tokens", TOKEN),
    ("gateway.webhook_rate_limit_per_minute", "1000000"),
    ("gateway.pair_rate_limit_per_minute", "1000000"),
];
/// A Nextcloud that is not there.
const TALK: [Setting<'_>; 3] = [
    ("channels_config.nextcloud_talk.base_url", "http://127.0.0.1:9"),
    ("channels_config.nextcloud_talk.webhook_secret", TALK_SECRET),
    ("channels_config.nextcloud_talk.allowed_users", "*"),
];

const IN_DOUBT: &str = "15550000001";
const REFUSED: &str = "15550000002";

/// The statements of a file of them, without the comments before each.
fn statements(file: &str) -> Vec<String> {
    let code =
        |block: &str| block.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    file.trim().split("\n\n").skip(1).map(code).collect()
}

/// Runs `sqlite3` with these arguments, the database and a statement.
fn sqlite(chat: &Chat, arguments: &[&str], statement: &str) -> Ended {
    let mut command = Command::new("sqlite3");
    run(command.args(arguments).arg(&chat.process.database).arg(statement))
}

/// A server that answers many clients until it is told to stop.
struct Busy {
    posts: Load,
}

impl Busy {
    fn start(chat: &Chat) -> Self {
        let mut posts = Load::start(&chat.process.client, TOKEN);
        let client = chat.process.client.clone();
        posts.add_worker(move |number| say(client.clone(), number));
        Self { posts }
    }

    /// Stops. All were answered; the server has not waited for a lock in vain.
    async fn stop(self, chat: &Chat) {
        self.posts.stop().await;
        let logged = chat.process.logged();
        assert!(!logged.contains("database is"), "locked or busy: {logged}");
    }
}

/// Says something as one of fifty users of WhatsApp.
async fn say(client: Client, number: usize) {
    let message =
        undated_message(&format!("wamid.busy-{number}"), &format!("1556{:04}", number % 50), "busy");
    let reply = client.send(whatsapp_call(&client, &whatsapp_payload(&[message]))).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_twenty_queries_read_a_server_at_work() {
    let queries = statements(QUERIES);
    assert_eq!(queries.len(), COLUMNS.len());
    let chat = Chat::start_with(&[SETTINGS.as_slice(), &TALK].concat());
    fill(&chat).await;
    assert_all_tables_have_rows(&chat);
    let busy = Busy::start(&chat);
    for _ in 0..ROUNDS {
        busy.posts.more(50).await;
        for (query, columns) in queries.iter().zip(COLUMNS) {
            let ended = tokio::task::block_in_place(|| sqlite(&chat, &["-readonly", "-header"], query));
            assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{query}");
            let mut lines = ended.out.lines();
            assert_eq!(lines.next(), Some(columns), "{query}");
            assert!(lines.next().is_some(), "no rows: {query}");
        }
    }
    busy.stop(&chat).await;
}

/// Brings something into every table that each of the queries finds.
async fn fill(chat: &Chat) {
    let client = &chat.process.client;
    chat.platform.behave(|call| match call.to() {
        IN_DOUBT => Behaviour::TakeAndHangUp,
        REFUSED => Behaviour::Refuse(500, Some(3600)),
        _ => Behaviour::Take,
    });
    another_code(&chat.folder, &[]);
    for _ in 0..5 {
        client.pair("wrong").await;
    }
    client.seen_from("127.0.0.2").pair("wrong").await;

    chat.say("wamid.1", "a red bicycle, please").await;
    chat.say_as(IN_DOUBT, "wamid.2", "does it arrive?").await;
    chat.say_as(REFUSED, "wamid.3", "is it sent?").await;
    until_query(&chat.process.database, "SELECT count(*) FROM delivery WHERE attempts > 0", "3").await;
    until_query(&chat.process.database, "SELECT count(*) > 0 FROM delivery WHERE in_doubt > 0", "1").await;
    chat.say_as(REFUSED, "wamid.4", "this one waits").await;
    chat.model.fail(Some(400));
    chat.say("wamid.5", "this one fails").await;
    chat.process.wait_for_state("this one fails", "failed").await;
    chat.model.fail(None);
    assert_eq!(client.post(TOKEN, Some("order-1"), "hello").await.status, 200);

    let payload = talk_payload("room1", 7, "alice", "hello");
    assert_eq!(client.send(talk_call(client, &payload, &"r".repeat(64))).await.status, 200);
    let news = json!([{ "id": "wamid.out.99", "status": "read", "timestamp": "1790000003" }]);
    let payload = whatsapp_value(&json!({ "statuses": news }));
    assert_eq!(client.send(whatsapp_call(client, &payload)).await.status, 200);
    assert_eq!(json(&chat.folder, &["memory", "search", "bicycle"])[0]["content"], "a red bicycle, please");
}

fn assert_all_tables_have_rows(chat: &Chat) {
    let database = &chat.process.database;
    let views = sqlite3(database, "SELECT name FROM sqlite_schema WHERE type = 'view' ORDER BY name");
    assert!(views.lines().count() > 10, "{views}");
    for view in views.lines() {
        assert_eq!(sqlite3(database, &format!("SELECT count(*) > 0 FROM {view}")), "1", "{view} is empty");
    }
}
