//! `moorgate db backup`.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use super::{
    DATABASE, OPEN, USAGE, assert_refused, damage, db, db_json, file_names, mode, replace, rows, schema,
    stopped_with_a_message,
};
use crate::support::{gateway::sqlite3, process::Process};

#[tokio::test]
async fn a_backup_is_the_database_as_it_is_in_one_file_for_its_owner_alone() {
    let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let process = Process::start(folder.path(), &OPEN);
    assert_eq!(process.client.post("", Some("order-1"), "hello").await.status, 200);
    let target = elsewhere.path().join("copy.db");
    let mut backup = db_json(folder.path(), &["backup", target.to_str().unwrap()]);
    replace(&mut backup, "/bytes");
    let expected = json!({
        "path": target, "bytes": "a number",
        "schema_version": schema(&process.database), "rows": rows(&process.database),
    });
    assert_eq!(backup, expected);
    assert_eq!(file_names(elsewhere.path()), ["copy.db"]);
    assert_eq!(mode(&target), 0o600);
    assert_eq!(sqlite3(&target, "PRAGMA integrity_check; SELECT text FROM message"), "ok\nhello");
}

#[tokio::test]
async fn a_backup_replaces_a_file_only_when_it_is_told_to() {
    let folder = TempDir::new().unwrap();
    stopped_with_a_message(&folder).await;
    fs::write(folder.path().join("copy.db"), "precious").unwrap();
    let refused = db(folder.path(), &["backup", "copy.db"]);
    assert_refused(&refused, USAGE, "copy.db exists: --force replaces it");
    assert_eq!(fs::read(folder.path().join("copy.db")).unwrap(), b"precious");

    fs::write(folder.path().join("copy.db-wal"), "").unwrap();
    let refused = db(folder.path(), &["backup", "copy.db", "--force"]);
    assert_refused(&refused, DATABASE, "copy.db is a database in use: its journal is beside it");
    fs::remove_file(folder.path().join("copy.db-wal")).unwrap();

    let made = db(folder.path(), &["backup", "copy.db", "--force"]);
    assert_eq!((made.code, made.err.as_str()), (Some(0), ""));
    assert!(made.out.starts_with("backup: copy.db\nsize: "), "{}", made.out);
    assert!(made.out.contains("\nrows of message: 1\n"), "{}", made.out);
    assert_eq!(mode(&folder.path().join("copy.db")), 0o600);
}

#[tokio::test]
async fn a_backup_never_replaces_the_database_or_what_belongs_to_it() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &OPEN);
    std::os::unix::fs::symlink(&process.database, folder.path().join("alias.db")).unwrap();
    fs::hard_link(&process.database, folder.path().join("twin.db")).unwrap();
    for name in
        ["moorgate.db", "alias.db", "twin.db", "moorgate.db-wal", "moorgate.db-journal", "moorgate.db.lock"]
    {
        let refused = db(folder.path(), &["backup", name, "--force"]);
        assert_refused(&refused, USAGE, &format!("{name} belongs to the database itself"));
    }
    assert_eq!(process.client.post("", None, "hello").await.status, 200);
}

#[tokio::test]
async fn a_backup_of_a_file_with_small_pages_has_large_ones() {
    let folder = TempDir::new().unwrap();
    let page_size = |name| sqlite3(&folder.path().join(name), "PRAGMA page_size");
    sqlite3(&folder.path().join("moorgate.db"), "PRAGMA page_size = 4096; VACUUM");
    stopped_with_a_message(&folder).await;
    db_json(folder.path(), &["backup", "copy.db"]);
    assert_eq!((page_size("moorgate.db"), page_size("copy.db")), ("4096".to_owned(), "8192".to_owned()));
    assert_eq!(db_json(folder.path(), &["check", "--database", "copy.db"])["findings"], json!([]));
}

#[tokio::test]
async fn a_backup_that_fails_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    stopped_with_a_message(&folder).await;
    let missing = db(folder.path(), &["backup", "nowhere/copy.db"]);
    assert_eq!(missing.code, DATABASE, "{missing:?}");
    assert!(missing.err.starts_with("moorgate: cannot use nowhere/copy.db."), "{}", missing.err);
    damage(&folder.path().join("moorgate.db"), "message");
    let damaged = db(folder.path(), &["backup", "copy.db"]);
    assert_eq!(damaged.code, DATABASE, "{damaged:?}");
    let left = file_names(folder.path());
    assert!(!left.iter().any(|name| name.starts_with("copy.db")), "{left:?}");
}
