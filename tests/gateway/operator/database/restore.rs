//! `moorgate db restore`.

use std::{fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use super::{
    DATABASE, OPEN, USAGE, assert_refused, db, db_json, file_names, mode, replace, rows, schema,
    stopped_with_a_message,
};
use crate::support::{gateway::sqlite3, process::Process, transaction::Transaction};

const TEXTS: &str = "SELECT group_concat(text) FROM message";

/// A stopped database with the message `hello`, and a backup of it.
async fn with_backup() -> TempDir {
    let folder = TempDir::new().unwrap();
    stopped_with_a_message(&folder).await;
    db_json(folder.path(), &["backup", "copy.db"]);
    folder
}

fn kept(folder: &Path) -> Vec<String> {
    file_names(folder).into_iter().filter(|name| name.contains(".before-restore-")).collect()
}

#[tokio::test]
async fn a_backup_takes_the_place_of_the_database_which_is_kept() {
    let folder = with_backup().await;
    let database = folder.path().join("moorgate.db");
    sqlite3(&database, "UPDATE message SET text = 'later'");
    let mut restored = db_json(folder.path(), &["restore", "copy.db", "--yes"]);
    let old = restored["kept"].as_str().unwrap().to_owned();
    replace(&mut restored, "/kept");
    let path = fs::canonicalize(&database).unwrap();
    let expected = json!({ "path": path, "schema_version": schema(&database), "rows": rows(&database), "kept": "a text" });
    assert_eq!(restored, expected);
    assert_eq!((mode(&database), mode(Path::new(&old))), (0o600, 0o600));
    let stamp = old.strip_prefix(&format!("{}.before-restore-", path.display())).unwrap();
    assert!(stamp.len() == 16 && stamp.ends_with('Z'), "{stamp}");
    assert_eq!(
        (sqlite3(&database, TEXTS), sqlite3(Path::new(&old), TEXTS)),
        ("hello".into(), "later".into())
    );

    let process = Process::start(folder.path(), &OPEN);
    let replay = process.client.post("", Some("order-1"), "hello").await;
    assert_eq!(replay.header("idempotency-replayed"), Some("true"), "{replay:?}");
}

/// What a killed server wrote last is in its WAL, which SQLite would apply to any file of that name.
#[tokio::test]
async fn a_restore_never_applies_an_old_wal_and_keeps_what_is_in_it() {
    let folder = with_backup().await;
    let process = Process::start(folder.path(), &OPEN);
    assert_eq!(process.client.post("", None, "later").await.status, 200);
    process.kill();
    let wal = fs::metadata(folder.path().join("moorgate.db-wal")).unwrap().len();
    assert!(wal > 0, "the message is in the WAL");

    let restored = db_json(folder.path(), &["restore", "copy.db", "--yes"]);
    let left = file_names(folder.path());
    assert!(!left.iter().any(|name| name.ends_with("-wal") || name.ends_with("-shm")), "{left:?}");
    assert_eq!(sqlite3(&folder.path().join("moorgate.db"), TEXTS), "hello");
    assert_eq!(sqlite3(Path::new(restored["kept"].as_str().unwrap()), TEXTS), "hello,later");
    assert_eq!(db_json(folder.path(), &["check"])["findings"], json!([]));
}

#[tokio::test]
async fn a_damaged_database_is_kept_as_it_is_and_its_journals_go_out_of_the_way() {
    let folder = with_backup().await;
    let file = |suffix: &str| folder.path().join(format!("moorgate.db{suffix}"));
    fs::write(file(""), [b'x'; 8192]).unwrap();
    for suffix in ["-wal", "-journal", "-shm"] {
        fs::write(file(suffix), [b'y'; 8192]).unwrap();
    }
    let restored = db_json(folder.path(), &["restore", "copy.db", "--yes"]);
    for suffix in ["-wal", "-journal", "-shm"] {
        assert!(!file(suffix).exists(), "{suffix}");
    }
    assert_eq!(fs::read(restored["kept"].as_str().unwrap()).unwrap(), [b'x'; 8192]);
    assert_eq!(sqlite3(&file(""), TEXTS), "hello");
}

#[tokio::test]
async fn a_restore_without_a_database_makes_one_and_takes_no_journal_over() {
    let folder = with_backup().await;
    for name in ["moorgate.db", "moorgate.db.lock"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("moorgate.db-wal"), "left over").unwrap();
    let restored = db(folder.path(), &["restore", "copy.db"]);
    assert_eq!((restored.code, restored.err.as_str()), (Some(0), ""), "there is nothing to ask about");
    assert!(restored.out.contains("\nold file: there was none\n"), "{}", restored.out);
    assert_eq!(file_names(folder.path()), ["copy.db", "moorgate.db", "moorgate.db.lock", "moorgate.log"]);
}

#[tokio::test]
async fn a_restore_is_refused_while_a_server_or_another_program_has_the_database() {
    let folder = with_backup().await;
    let process = Process::start(folder.path(), &OPEN);
    let database = fs::canonicalize(&process.database).unwrap();
    let refused = db(folder.path(), &["restore", "copy.db", "--yes"]);
    let words = format!("a moorgate server is running on {}: stop it first", database.display());
    assert_refused(&refused, DATABASE, &words);
    assert_eq!(process.client.post("", None, "more").await.status, 200);
    process.kill();

    let transaction = Transaction::begin(&database);
    let mut command = crate::support::process::moorgate(folder.path());
    command.args(["db", "restore", "copy.db", "--yes"]).env("MOORGATE_DATABASE__BUSY_TIMEOUT_MS", "50");
    let refused = crate::support::process::run(&mut command);
    let words = format!("another program has {} open: close it there first", database.display());
    assert_refused(&refused, DATABASE, &words);
    drop(transaction);
    assert_eq!(kept(folder.path()), [""; 0]);
    assert_eq!(sqlite3(&database, TEXTS), "hello,more");
}

#[tokio::test]
async fn what_is_not_confirmed_or_not_sound_changes_nothing() {
    let folder = with_backup().await;
    let database = folder.path().join("moorgate.db");
    let refused = db(folder.path(), &["restore", "copy.db"]);
    assert_refused(&refused, USAGE, "this needs --yes: there is no terminal to ask on");
    let refused = db(folder.path(), &["restore", "moorgate.db", "--yes"]);
    assert_refused(&refused, USAGE, "moorgate.db belongs to the database itself");

    fs::write(folder.path().join("text.db"), "no database").unwrap();
    let refused = db(folder.path(), &["restore", "text.db", "--yes"]);
    assert_eq!(refused.code, DATABASE);
    assert!(refused.err.contains("file is not a database"), "{}", refused.err);

    sqlite3(&folder.path().join("other.db"), "CREATE TABLE message (id INTEGER)");
    let refused = db(folder.path(), &["restore", "other.db", "--yes"]);
    assert_refused(&refused, DATABASE, "other.db is not sound: it is no database of moorgate's");

    let newer = "INSERT INTO _sqlx_migrations VALUES (99991231235959, 'later', '9999-12-31', TRUE, x'00', 0)";
    sqlite3(&folder.path().join("copy.db"), newer);
    let refused = db(folder.path(), &["restore", "copy.db", "--yes"]);
    assert_eq!(refused.code, DATABASE);
    assert!(refused.err.contains("was written by a newer moorgate"), "{}", refused.err);
    assert_eq!(kept(folder.path()), [""; 0]);
    assert!(!file_names(folder.path()).iter().any(|name| name.contains(".part")));
    assert_eq!(sqlite3(&database, TEXTS), "hello");
}
