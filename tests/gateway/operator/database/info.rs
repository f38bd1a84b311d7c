//! `moorgate db info`.

use serde_json::json;
use tempfile::TempDir;

use super::{OPEN, db, db_json, replace, rows, schema, stopped_with_a_message};
use crate::support::{gateway::sqlite3, process::Process};

#[tokio::test]
async fn info_tells_what_there_is_to_know_beside_a_running_server() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &OPEN);
    assert_eq!(process.client.post("", Some("order-1"), "hello").await.status, 200);
    let mut info = db_json(folder.path(), &["info"]);
    assert_eq!(info["runs"][0]["pid"], process.id());
    for volatile in ["/wal_bytes", "/pages", "/bytes", "/runs/0/started_at", "/runs/0/pid", "/sqlite_version"]
    {
        replace(&mut info, volatile);
    }
    let version = sqlite3(&process.database, "SELECT version FROM server_run");
    let expected = json!({
        "path": "moorgate.db", "bytes": "a number", "wal_bytes": "a number",
        "page_bytes": 8192, "pages": "a number", "free_pages": 1, // an index that a step of the schema dropped
        "schema_version": schema(&process.database), "known_schema_version": schema(&process.database),
        "sqlite_version": "a text", "server_running": true,
        "pragmas": {
            "auto_vacuum": "0", "busy_timeout": "5000", "encoding": "UTF-8", "foreign_keys": "1",
            "journal_mode": "wal", "synchronous": "2",
        },
        "rows": rows(&process.database),
        "runs": [{ "id": 1, "started_at": "a text", "stopped_at": null, "pid": "a number", "version": version }],
    });
    assert_eq!(info, expected);
}

#[tokio::test]
async fn info_is_readable_and_works_without_a_server() {
    let folder = TempDir::new().unwrap();
    stopped_with_a_message(&folder).await;
    let ended = db(folder.path(), &["info"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    for line in ["file: moorgate.db", "server: not running", "journal_mode: wal", "rows of message: 1"] {
        assert!(ended.out.lines().any(|it| it == line), "{line}\n{}", ended.out);
    }
    let last = ended.out.lines().last().unwrap();
    assert!(last.starts_with("run 1: from 20") && last.contains("Z to 20"), "{last}");
}
