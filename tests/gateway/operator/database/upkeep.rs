//! `moorgate db vacuum`, `migrate` and `prune`.

use serde_json::json;
use tempfile::TempDir;

use super::{DATABASE, OPEN, assert_refused, db, db_json, mode, schema, stopped_with_a_message};
use crate::support::{gateway::sqlite3, process::Process};

const MANY: &str = "INSERT INTO message (received_at_ms, channel, sender, text, state, attempts, run_id, answer, finished_at_ms)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    SELECT 1000, 'webhook', 'addr:127.0.0.1', 'old', 'answered', 1, 1, printf('%01000d', i), 2000 FROM n";

#[tokio::test]
async fn vacuum_gives_free_pages_back_when_no_server_runs() {
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &OPEN);
    sqlite3(&process.database, &format!("{MANY}; DELETE FROM message"));
    let running = "a moorgate server is running on moorgate.db: stop it first";
    assert_refused(&db(folder.path(), &["vacuum"]), DATABASE, running);
    process.signal("TERM");
    assert!(process.wait().success());

    let before = db_json(folder.path(), &["info"]);
    assert!(before["free_pages"].as_u64().unwrap() > 350, "{before}");
    let vacuumed = db_json(folder.path(), &["vacuum"]);
    let after = db_json(folder.path(), &["info"]);
    assert_eq!(vacuumed, json!({ "bytes_before": before["bytes"], "bytes": after["bytes"] }));
    assert!(after["bytes"].as_u64().unwrap() * 4 < before["bytes"].as_u64().unwrap(), "{vacuumed}");
    assert_eq!((&after["free_pages"], &after["wal_bytes"]), (&json!(0), &json!(0)));
    assert_eq!(after["pragmas"]["journal_mode"], "wal");
    let again = db(folder.path(), &["vacuum"]);
    assert!(again.out.starts_with("size before: ") && again.out.contains("\nsize: "), "{again:?}");
}

#[tokio::test]
async fn migrate_makes_the_schema_and_leaves_one_that_is_up_to_date() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("moorgate.db");
    let made = db_json(folder.path(), &["migrate"]);
    let version = schema(&database);
    assert_eq!(made, json!({ "schema_before": 0, "schema_version": version }));
    assert_eq!(mode(&database), 0o600);
    let again = db(folder.path(), &["migrate"]);
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""));
    assert_eq!(again.out, format!("schema before: {version}\nschema: {version}\n"));

    let process = Process::start(folder.path(), &OPEN);
    let running = "a moorgate server is running on moorgate.db: stop it first";
    assert_refused(&db(folder.path(), &["migrate"]), DATABASE, running);
    assert_eq!(process.client.post("", None, "hello").await.status, 200);
}

#[tokio::test]
async fn migrate_refuses_what_a_newer_program_wrote() {
    let folder = TempDir::new().unwrap();
    stopped_with_a_message(&folder).await;
    let newer = "INSERT INTO _sqlx_migrations VALUES (99991231235959, 'later', '9999-12-31', TRUE, x'00', 0)";
    sqlite3(&folder.path().join("moorgate.db"), newer);
    let words = "moorgate.db was written by a newer moorgate (schema 99991231235959); start that one, or restore a backup";
    assert_refused(&db(folder.path(), &["migrate"]), DATABASE, words);
}

#[tokio::test]
async fn prune_forgets_to_the_end_beside_a_running_server() {
    let folder = TempDir::new().unwrap();
    let config = "[database]\nmessage_retention_days = 30\nanswer_retention_days = 0\n";
    std::fs::write(folder.path().join("config.toml"), config).unwrap();
    // The server itself keeps everything, so that the prune has something to do.
    let keep = [("MOORGATE_DATABASE__MESSAGE_RETENTION_DAYS", "0")];
    let process = Process::start(folder.path(), &[&OPEN[..], &keep].concat());
    sqlite3(&process.database, MANY);
    assert_eq!(process.client.post("", Some("order-1"), "hello").await.status, 200);
    let pruned = db_json(folder.path(), &["prune"]);
    let expected = json!({
        "messages": 3000, "answers": 0, "deliveries": 0, "memories": 0, "conversations": 0, "received": 0, "keys": 0, "hits": 0, "pairing": 0,
    });
    assert_eq!(pruned, expected);
    assert_eq!(sqlite3(&process.database, "SELECT text FROM message"), "hello");
    let again = db(folder.path(), &["prune"]);
    assert_eq!((again.code, again.err.as_str()), (Some(0), ""));
    assert!(again.out.starts_with("messages deleted: 0\nanswers erased: 0\n"), "{}", again.out);
    assert_eq!(process.client.post("", Some("order-2"), "hello").await.status, 200);
}
