//! `moorgate db check`.

use std::{fs, io::Write as _};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{DATABASE, OPEN, assert_refused, damage, db, db_json, stopped_with_a_message};
use crate::support::{gateway::sqlite3, process::Process};

const CHECKS: [&str; 17] = [
    "integrity_and_foreign_keys",
    "answered_key_has_its_answer_or_no_message",
    "running_key_has_its_unfinished_message",
    "answered_keys_are_numbered_once",
    "message_is_finished_when_it_says_so",
    "message_was_begun_as_often_as_its_state_says",
    "message_is_of_its_conversation",
    "running_message_is_of_the_newest_run",
    "delivery_being_sent_is_of_the_newest_run",
    "no_row_is_of_a_run_to_come",
    "finished_delivery_is_not_being_sent",
    "parts_of_a_reply_are_in_order",
    "sent_delivery_was_begun",
    "ids_are_not_given_twice",
    "full_text_knows_how_far_it_is",
    "run_ends_after_it_began",
    "hits_and_failures_are_counted_up",
];

#[tokio::test]
async fn a_database_at_work_is_sound() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &OPEN);
    for number in 0..20 {
        assert_eq!(process.client.post("", Some(&format!("order-{number}")), "hello").await.status, 200);
    }
    assert_eq!(db_json(folder.path(), &["check"]), json!({ "checks": CHECKS, "findings": [] }));
    let ended = db(folder.path(), &["check"]);
    let expected = CHECKS.map(|check| format!("{check}: ok\n")).concat();
    assert_eq!((ended.code, ended.out, ended.err), (Some(0), expected, String::new()));
}

/// A reply of two parts, the first of which was sent.
const REPLY: &str = "
    INSERT INTO conversation (id, channel, sender, room, started_at_ms) VALUES (1, 'whatsapp', '1555', '', 1);
    INSERT INTO message (id, received_at_ms, channel, sender, text, state, attempts, run_id, answer, finished_at_ms,
                         conversation_id, platform_id)
    VALUES (50, 1, 'whatsapp', '1555', 'hello', 'answered', 1, 1, 'hello', 2, 1, 'wamid.1');
    INSERT INTO delivery (id, message_id, conversation_id, kind, part, parts, text, state, attempts, created_at_ms, finished_at_ms)
    VALUES (1, 50, 1, 'answer', 1, 2, 'hel', 'sent', 1, 2, 3), (2, 50, 1, 'answer', 2, 2, 'lo', 'due', 0, 2, NULL);";

#[tokio::test]
async fn each_check_finds_what_it_is_for() {
    let edits = [
        (
            "INSERT INTO pairing_code (id, salt, code_hash, label, issued_at_ms, expires_at_ms, token_id) VALUES (9, x'', x'', '', 1, 2, 99)",
            0,
            "row 9 of pairing_code names a row of token that is not there",
        ),
        (
            "UPDATE message SET state = 'failed', answer = NULL WHERE id = 1",
            1,
            "key order-1 of addr:127.0.0.1, message 1 is failed",
        ),
        (
            "UPDATE idempotency_key SET state = 'running', answered_at_ms = NULL, answered_no = NULL",
            2,
            "key order-1 of addr:127.0.0.1",
        ),
        (
            "INSERT INTO idempotency_key SELECT 77, owner, 'twin', body_hash, state, answered_at_ms, answered_no FROM idempotency_key",
            3,
            "number 1 of addr:127.0.0.1",
        ),
        ("UPDATE message SET finished_at_ms = NULL WHERE id = 1", 4, "message 1 is answered"),
        ("UPDATE message SET attempts = 0 WHERE id = 1", 5, "message 1 is answered after 0"),
        ("UPDATE message SET conversation_id = NULL WHERE id = 50", 6, "message 50"),
        (
            "UPDATE message SET state = 'running', answer = NULL, finished_at_ms = NULL, run_id = 0 WHERE id = 50",
            7,
            "message 50 of run 0",
        ),
        ("UPDATE delivery SET run_id = 0 WHERE id = 2", 8, "delivery 2 of run 0"),
        ("UPDATE message SET run_id = 2 WHERE id = 50", 9, "message 50 of run 2"),
        ("UPDATE delivery SET run_id = 1 WHERE id = 1", 10, "delivery 1 is sent"),
        ("UPDATE delivery SET part = 1 WHERE id = 2", 11, "delivery 2"),
        ("UPDATE delivery SET attempts = 0 WHERE id = 1", 12, "delivery 1"),
        ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'delivery'", 13, "delivery 2"),
        ("DELETE FROM memory_progress", 14, "memory_progress has 0 rows"),
        ("UPDATE server_run SET stopped_at_ms = 1", 15, "run 1"),
        (
            "INSERT INTO rate_hit VALUES (1000, 'webhook', 0, '127.0.0.1', 0)",
            16,
            "rate_hit of webhook at 1000",
        ),
    ];
    let folder = TempDir::new().unwrap();
    stopped_with_a_message(&folder).await;
    let database = folder.path().join("moorgate.db");
    sqlite3(&database, REPLY);
    assert_eq!(db_json(folder.path(), &["check"])["findings"], json!([]));
    assert_eq!(edits.len(), CHECKS.len(), "every check has its edit");
    // Most of the edits are refused; what breaks a rule all the same was there before the rule, or is damage.
    let rules = "SELECT group_concat('DROP TRIGGER ' || name, '; ') FROM sqlite_schema WHERE sql LIKE '%RAISE(ABORT%'";
    sqlite3(&database, &sqlite3(&database, rules));
    for (edit, check, found) in edits {
        fs::copy(&database, folder.path().join("edited.db")).unwrap();
        sqlite3(&folder.path().join("edited.db"), edit);
        let ended = db(folder.path(), &["check", "--json", "--database", "edited.db"]);
        assert_eq!(ended.code, DATABASE, "{edit}");
        assert_refused(&ended, DATABASE, "edited.db is not sound: 1 of the checks above found something");
        let checked: Value = serde_json::from_str(&ended.out).unwrap();
        let finding = &checked["findings"][0];
        assert_eq!(finding["check"], CHECKS[check], "{edit}");
        assert!(finding["found"].as_str().unwrap().starts_with(found), "{edit}: {finding}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_found_and_nothing_else_is_asked_of_it() {
    let folder = TempDir::new().unwrap();
    stopped_with_a_message(&folder).await;
    let database = folder.path().join("moorgate.db");
    damage(&database, "message");
    let ended = db(folder.path(), &["check", "--json"]);
    assert_eq!(ended.code, DATABASE, "{ended:?}");
    let checked: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(checked["checks"], json!([CHECKS[0]]));
    assert!(!checked["findings"].as_array().unwrap().is_empty());

    fs::File::create(&database).unwrap().write_all(&[b'x'; 8192]).unwrap();
    let ended = db(folder.path(), &["check"]);
    assert_eq!(ended.code, DATABASE, "{ended:?}");
    assert!(ended.err.contains("file is not a database"), "{}", ended.err);
}

#[tokio::test]
async fn another_schema_is_not_judged() {
    let folder = TempDir::new().unwrap();
    stopped_with_a_message(&folder).await;
    let database = folder.path().join("moorgate.db");
    sqlite3(
        &database,
        "INSERT INTO _sqlx_migrations VALUES (99991231235959, 'later', '9999-12-31', TRUE, x'00', 0)",
    );
    let newer = "moorgate.db was written by a newer moorgate (schema 99991231235959); start that one, or restore a backup";
    assert_refused(&db(folder.path(), &["check"]), DATABASE, newer);
    sqlite3(&database, "DELETE FROM _sqlx_migrations WHERE version > 20261121120000");
    let older = "moorgate.db has schema 20261121120000, which is older than this moorgate: run `moorgate db migrate` first";
    assert_refused(&db(folder.path(), &["check"]), DATABASE, older);
}
