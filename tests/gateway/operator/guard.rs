//! What an edit by hand must not do: refused with a sentence that says why, beside a running server, and nothing is changed.

use std::process::Command;

use tempfile::TempDir;

use super::{database::db_json, sqlite3};
use crate::support::process::{Process, run};

/// A row of each kind that has a rule: a conversation with a message that was answered in two parts, one that was interrupted,
/// one of `/webhook` that failed; codes and tokens, spent and live.
const ROWS: &str = "
    INSERT INTO conversation (id, channel, sender, room, started_at_ms) VALUES (1, 'whatsapp', '1555', '', 1);
    INSERT INTO message (id, received_at_ms, channel, sender, text, state, attempts, run_id, answer, error_class, finished_at_ms,
                         conversation_id, platform_id)
    VALUES (50, NOW, 'whatsapp', '1555', 'hello', 'answered', 1, 1, 'hello', NULL, NOW, 1, 'wamid.1'),
           (51, NOW, 'whatsapp', '1555', 'odd', 'failed', 1, 1, NULL, 'refused', NOW, 1, 'wamid.2'),
           (52, NOW, 'webhook', 'addr:127.0.0.1', 'cut', 'interrupted', 1, 1, NULL, 'interrupted', NOW, NULL, NULL),
           (53, NOW, 'webhook', 'addr:127.0.0.1', 'odd', 'failed', 1, 1, NULL, 'refused', NOW, NULL, NULL);
    INSERT INTO delivery (id, message_id, conversation_id, kind, part, parts, text, state, attempts, created_at_ms, finished_at_ms)
    VALUES (1, 50, 1, 'answer', 1, 2, 'hel', 'sent', 1, NOW, NOW), (2, 50, 1, 'answer', 2, 2, 'lo', 'dead', 0, NOW, NOW);
    INSERT INTO pairing_code (id, salt, code_hash, label, state, issued_at_ms, expires_at_ms)
    VALUES (90, zeroblob(16), zeroblob(32), 'spent', 'redeemed', NOW, NOW + 3600000);";

const MESSAGE: &str =
    "a message stays what it is: its id, channel, sender, key, conversation and platform id do not change";
const STATE: &str = "a message that is answered or interrupted stays so, and so does one of /webhook that failed; one of a \
                     channel that failed may be accepted again";
const FINISHED: &str =
    "finished_at_ms of a message is NULL while it is accepted or running, and then the time of its end";
const DELIVERY: &str = "a delivery stays with its message and its conversation, and the part that it is";
const CONVERSATION: &str = "a conversation stays where it is: its id, channel, sender and room do not change";
const TOKEN: &str = "a token keeps its id, hash and source: revoke it, and make another one";
const CODE: &str = "a pairing code keeps its id, salt and hash: moorgate pair makes another one";
const KEY: &str = "an idempotency key that was answered stands for its message: delete it, and the next request is answered anew";

const RUN: &str = "the newest server_run stays: it is the server at work, or the last one that was; older ones may be deleted";

/// Edits and why they are refused: by a trigger, or by a CHECK of the table.
const REFUSED: [(&str, &str); 34] = [
    ("UPDATE message SET id = 99 WHERE id = 50", MESSAGE),
    ("UPDATE message SET channel = 'webhook' WHERE id = 50", MESSAGE),
    ("UPDATE message SET sender = '1666' WHERE id = 50", MESSAGE),
    ("UPDATE message SET idempotency_key = 'other' WHERE id = 1", MESSAGE),
    ("UPDATE message SET conversation_id = NULL WHERE id = 50", MESSAGE),
    ("UPDATE message SET platform_id = 'wamid.9' WHERE id = 50", MESSAGE),
    ("UPDATE message SET state = 'failed', answer = NULL WHERE id = 1", STATE),
    ("UPDATE message SET state = 'accepted', answer = NULL, finished_at_ms = NULL WHERE id = 50", STATE),
    ("UPDATE message SET state = 'running', finished_at_ms = NULL WHERE id = 52", STATE),
    ("UPDATE message SET state = 'accepted', finished_at_ms = NULL WHERE id = 53", STATE),
    ("UPDATE message SET state = 'answered', answer = 'mine' WHERE id = 51", STATE),
    ("UPDATE message SET state = 'accepted' WHERE id = 51", FINISHED),
    ("UPDATE message SET finished_at_ms = NULL WHERE id = 50", FINISHED),
    ("UPDATE message SET answer = NULL WHERE id = 50", "CHECK constraint failed: message_answered"),
    ("UPDATE message SET state = 'lost' WHERE id = 50", "CHECK constraint failed: message_state"),
    ("UPDATE delivery SET message_id = 51 WHERE id = 2", DELIVERY),
    ("UPDATE delivery SET conversation_id = 2 WHERE id = 2", DELIVERY),
    ("UPDATE delivery SET part = 1 WHERE id = 2", DELIVERY),
    (
        "UPDATE delivery SET state = 'due', finished_at_ms = NULL WHERE id = 1",
        "a delivery that was sent stays so; one that is dead may be due again",
    ),
    ("UPDATE delivery SET state = 'due' WHERE id = 2", "CHECK constraint failed: delivery_finished"),
    ("UPDATE delivery SET state = 'lost' WHERE id = 2", "CHECK constraint failed: delivery_state"),
    ("UPDATE delivery SET kind = 'joke' WHERE id = 2", "CHECK constraint failed: delivery_kind"),
    ("UPDATE delivery SET status = 'seen' WHERE id = 2", "CHECK constraint failed: delivery_status"),
    ("INSERT INTO rate_hit VALUES (1, 'all', 0, '::1', 1)", "CHECK constraint failed: rate_hit_scope"),
    ("UPDATE conversation SET sender = '1666'", CONVERSATION),
    ("UPDATE token SET token_hash = 'abc'", "CHECK constraint failed: token_hash_is_sha256"),
    ("UPDATE token SET token_hash = printf('%064d', 7)", TOKEN),
    ("UPDATE token SET id = 7", TOKEN),
    (
        "INSERT INTO token_import VALUES ('zc_plain', 1)",
        "token_import.token_hash is a SHA-256 in 64 lowercase hex digits",
    ),
    (
        "INSERT INTO pairing_code (salt, code_hash, label, issued_at_ms, expires_at_ms) VALUES (x'', '123456', '', 1, 2)",
        "cannot store TEXT value in BLOB column pairing_code.code_hash",
    ),
    (
        "INSERT INTO pairing_code (salt, code_hash, label, issued_at_ms, expires_at_ms) VALUES (x'', x'', '', 1, 2)",
        "a pairing code has a salt of 16 bytes and a hash of 32: moorgate pair makes one",
    ),
    ("UPDATE pairing_code SET code_hash = zeroblob(32) WHERE id <> 90", CODE),
    (
        "UPDATE pairing_code SET state = 'live' WHERE id = 90",
        "a pairing code that was spent or withdrawn stays so: moorgate pair makes another one",
    ),
    ("UPDATE idempotency_key SET state = 'running', answered_at_ms = NULL, answered_no = NULL", KEY),
];

const KEY_IS_FIXED: &str = "an idempotency key keeps its owner, its name and its message: delete it";

/// More of them, on columns that several rules are about.
const REFUSED_TOO: [(&str, &str); 10] = [
    ("UPDATE idempotency_key SET message_id = 50", KEY_IS_FIXED),
    ("UPDATE idempotency_key SET owner = 'token:9'", KEY_IS_FIXED),
    ("DELETE FROM server_run WHERE id = (SELECT max(id) FROM server_run)", RUN),
    ("DELETE FROM server_run", RUN),
    ("UPDATE server_run SET id = 9", "server_run.id does not change: messages and deliveries name it"),
    (
        "UPDATE token_import SET token_hash = printf('%064d', 7)",
        "token_import.token_hash does not change: insert a new row",
    ),
    (
        "DELETE FROM memory_progress",
        "memory_progress keeps its row: it says how far memory and its full text have come",
    ),
    (
        "INSERT OR REPLACE INTO memory_progress (only, indexed_to) VALUES (1, 0)",
        "memory_progress has its row: update it",
    ),
    (
        "INSERT INTO memory_progress (only, indexed_to) VALUES (2, 0)",
        "memory_progress has its row: update it",
    ),
    (
        "UPDATE memory_progress SET remembered_to = 99; UPDATE memory_progress SET remembered_to = 0",
        "memory_progress.remembered_to does not go back: what was said would be remembered twice",
    ),
];

/// Edits that are nobody's business but the operator's. A change to what a row was already is none.
const ALLOWED: [&str; 10] = [
    "UPDATE message SET id = id, channel = channel, sender = sender, state = state WHERE id = 50",
    "UPDATE message SET answer = 'corrected', text = 'mended' WHERE id = 50",
    "UPDATE message SET state = 'accepted', finished_at_ms = NULL, error_class = NULL, attempts = 0 WHERE id = 51",
    "UPDATE delivery SET state = 'due', finished_at_ms = NULL WHERE id = 2",
    "UPDATE token SET label = 'renamed', expires_at_ms = 1",
    "UPDATE token SET revoked_at_ms = 1",
    "UPDATE pairing_code SET state = 'replaced' WHERE state = 'live'",
    "DELETE FROM idempotency_key",
    "DELETE FROM server_run WHERE id < (SELECT max(id) FROM server_run)",
    "DELETE FROM message WHERE id IN (1, 52, 53)",
];

/// What a token of the configuration is imported from, so that there is one.
const ENV: [(&str, &str); 1] = [("MOORGATE_GATEWAY__PAIRED_TOKENS", "zc_imported")];

#[tokio::test]
async fn an_edit_that_would_break_what_the_server_counts_on_is_refused_and_says_why() {
    let folder = TempDir::new().unwrap();
    Process::start(folder.path(), &ENV).kill(); // an older run
    let process = Process::start(folder.path(), &ENV);
    assert_eq!(process.client.post("zc_imported", Some("order-1"), "hello").await.status, 200);
    super::command::another_code(&folder, &[]);
    sqlite3(&process.database, &ROWS.replace("NOW", "unixepoch() * 1000")); // or the server would sweep them away
    let tables =
        ["message", "delivery", "conversation", "token", "token_import", "pairing_code", "idempotency_key"];
    let contents = || {
        let runs = sqlite3(&process.database, "SELECT id FROM server_run"); // their heartbeats go on
        tables.map(|table| sqlite3(&process.database, &format!(".dump {table}"))).join("\n") + &runs
    };
    let before = contents();
    for (edit, sentence) in REFUSED.iter().chain(&REFUSED_TOO) {
        let mut command = Command::new("sqlite3");
        let ended = run(command.args(["-cmd", ".timeout 10000"]).arg(&process.database).arg(edit));
        assert_ne!(ended.code, Some(0), "{edit}");
        assert!(ended.err.contains(sentence), "{edit}: {}", ended.err);
        assert_eq!(contents(), before, "{edit}");
    }
    for edit in ALLOWED {
        assert_ne!(sqlite3(&process.database, &format!("{edit}; SELECT changes()")), "0", "{edit}");
    }
    assert_eq!(db_json(folder.path(), &["check"])["findings"], serde_json::json!([]));
}

/// Nothing is looked at that a request inserts, and nothing that the server changes often but a state.
#[test]
fn no_row_that_a_request_inserts_is_looked_at() {
    let folder = TempDir::new().unwrap();
    db_json(folder.path(), &["migrate"]);
    let on_insert = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND sql LIKE '%INSERT ON %' AND tbl_name IN
                     ('message', 'delivery', 'conversation', 'rate_hit', 'idempotency_key', 'received_id', 'received_nonce')";
    assert_eq!(sqlite3(&folder.path().join("moorgate.db"), on_insert), "");
}

/// SQLite makes a table of a longer list for each row that it checks.
#[test]
fn no_check_of_a_row_that_a_request_writes_asks_a_list_of_more_than_two() {
    let folder = TempDir::new().unwrap();
    db_json(folder.path(), &["migrate"]);
    let tables = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name IN
                  ('message', 'delivery', 'conversation', 'rate_hit', 'idempotency_key', 'received_id', 'received_nonce')";
    let tables = sqlite3(&folder.path().join("moorgate.db"), tables);
    let lists = tables.split(" IN (").skip(1).filter_map(|rest| rest.split(')').next());
    assert_eq!(lists.filter(|list| list.split(',').count() > 2).collect::<Vec<_>>(), [""; 0]);
}
