//! The file: who may read it, who may open it, and what an operator finds in it.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use moorgate::{app::StartError, sqlite::OpenError};
use tempfile::TempDir;

use super::{OPEN, assert_answered, post};
use crate::support::gateway::{Gateway, sqlite3};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_new_database_and_its_folder_are_for_their_owner_alone() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("new/deep/moorgate.db");
    let gateway = Gateway::start_with(&[OPEN, ("database.path", database.to_str().unwrap())]).await;
    assert_answered(&post(&gateway, "one").await);
    for name in ["moorgate.db", "moorgate.db-wal", "moorgate.db-shm", "moorgate.db.lock"] {
        assert_eq!(mode(&database.with_file_name(name)), 0o600, "{name}");
    }
    for name in ["new", "new/deep"] {
        assert_eq!(mode(&folder.path().join(name)), 0o700, "{name}");
    }
}

#[tokio::test]
async fn a_folder_that_exists_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let shared = folder.path().join("shared");
    fs::DirBuilder::new().mode(0o755).create(&shared).unwrap();
    let database = shared.join("moorgate.db");
    let _gateway = Gateway::start_with(&[("database.path", database.to_str().unwrap())]).await;
    assert_eq!((mode(&shared), mode(&database)), (0o755, 0o600));
}

#[tokio::test]
async fn a_second_server_on_the_same_file_is_refused() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    let refused = gateway.start_another().await.err();
    assert!(matches!(&refused, Some(StartError::Open(OpenError::InUse(_)))), "{refused:?}");
    assert_answered(&post(&gateway, "one").await);
    assert_eq!(gateway.sql("SELECT count(*) FROM server_run"), "1", "the second one wrote nothing");
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_and_left_alone() {
    let mut gateway = Gateway::start().await;
    gateway.stop().await;
    gateway
        .sql("INSERT INTO _sqlx_migrations VALUES (99991231235959, 'later', '9999-12-31', TRUE, x'00', 0)");
    let refused = gateway.start_another().await.err();
    let Some(StartError::Open(OpenError::TooNew { version, .. })) = &refused else { panic!("{refused:?}") };
    assert_eq!(*version, 99_991_231_235_959);
    assert_eq!(gateway.sql("SELECT count(*) FROM server_run"), "1");
    gateway.sql("DELETE FROM _sqlx_migrations WHERE version = 99991231235959");
    gateway.restart().await;
}

#[tokio::test]
async fn every_table_has_a_view_and_every_view_can_be_read() {
    let gateway =
        Gateway::start_with(&[("gateway.paired_tokens", "zc_old"), ("gateway.pair_lockout_secs", "60")])
            .await;
    let code = gateway.another_code().await;
    let token = gateway.client.paired(&code).await;
    for _ in 0..6 {
        gateway.client.pair("x").await;
    }
    gateway.client.post(&token, Some("order-1"), "hello").await;
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT GLOB '_*' AND name NOT GLOB 'sqlite*' AND name NOT GLOB 'memory_text*'";
    let views = "SELECT substr(name, 3) FROM sqlite_schema WHERE type = 'view'";
    assert_eq!(gateway.sql(&format!("{tables} EXCEPT {views}")), "", "tables without a view");
    for view in gateway.sql(views).lines() {
        gateway.sql(&format!("SELECT * FROM v_{view}"));
    }
    let message =
        "SELECT received_at, sender, idempotency_key, state, text_starts, answer_starts FROM v_message";
    let seen = "2026-09-21T14:13:20.000Z|token:2|order-1|answered|hello|hello!";
    assert_eq!(gateway.sql(message), seen);
    assert_eq!(gateway.sql("SELECT client, lockouts_in_a_day FROM v_pairing_lockout"), "127.0.0.1|1");
}

#[tokio::test]
async fn the_database_is_in_wal_mode_sound_and_whole_in_one_file_after_a_stop() {
    let mut gateway = Gateway::start_with(&[OPEN]).await;
    assert_answered(&post(&gateway, "one").await);
    assert_eq!(gateway.sql("PRAGMA journal_mode"), "wal");
    assert_eq!(gateway.sql("PRAGMA integrity_check; PRAGMA foreign_key_check"), "ok");
    gateway.stop().await;
    assert!(!gateway.database().with_file_name("moorgate.db-wal").exists());
    let copy = gateway.database().with_file_name("copy.db");
    fs::copy(gateway.database(), &copy).unwrap();
    assert_eq!(sqlite3(&copy, "SELECT state FROM message"), "answered");
}

#[tokio::test]
async fn a_second_server_is_refused_by_another_name_of_the_file_too() {
    let folder = tempfile::TempDir::new().unwrap();
    let first = crate::support::process::Process::start(folder.path(), &[]);
    std::os::unix::fs::symlink(&first.database, folder.path().join("alias.db")).unwrap();
    let mut second = crate::support::process::moorgate(folder.path());
    second.args(["serve", "--port", "0", "--database", "alias.db"]);
    assert_eq!(crate::support::process::run(&mut second).code, Some(74));
}
