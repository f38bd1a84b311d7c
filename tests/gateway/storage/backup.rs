//! The backups that the server makes by itself.

use std::{fs, time::Duration};

use tempfile::TempDir;

use super::{OPEN, assert_answered, post};
use crate::support::gateway::{Gateway, sqlite3};

const HOUR: Duration = Duration::from_hours(1);

/// A folder for backups, which is not made yet, and its name.
fn backups() -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let backups = folder.path().join("deep/backups").to_str().unwrap().to_owned();
    (folder, backups)
}

fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn backups_are_made_every_so_often_and_the_newest_are_kept_over_restarts() {
    let (_folder, backups) = backups();
    let settings = [
        OPEN,
        ("database.backup_folder", backups.as_str()),
        ("database.backup_every_hours", "2"),
        ("database.backup_keep", "2"),
    ];
    let mut gateway = Gateway::start_with(&settings).await;
    gateway.back_up().await.unwrap(); // or it was made at the start
    assert_eq!(names(&backups), ["moorgate-20260921T141320Z.db"]);
    assert!(!gateway.back_up().await.unwrap(), "none is due");

    gateway.clock.advance(Duration::from_secs(2 * 3600 - 1));
    gateway = gateway.restart().await;
    assert!(!gateway.back_up().await.unwrap(), "the newest file decides, not the start");
    assert_answered(&post(&gateway, "order-1").await);
    fs::write(format!("{backups}/moorgate-20260921T141320Z.db.1.part"), "of a killed server").unwrap();
    fs::write(format!("{backups}/moorgate-notes.txt"), "not ours").unwrap();
    for _ in 0..2 {
        gateway.clock.advance(2 * HOUR);
        assert!(gateway.back_up().await.unwrap());
    }
    let kept = ["moorgate-20260921T181319Z.db", "moorgate-20260921T201319Z.db", "moorgate-notes.txt"];
    assert_eq!(names(&backups), kept);
    let newest = std::path::Path::new(&backups).join(kept[1]);
    assert_eq!(sqlite3(&newest, "PRAGMA integrity_check; SELECT text FROM message"), "ok\nhello");
    assert_eq!(gateway.metric("zeroclaw_backups_total{outcome=\"made\"}").await, 2);
    assert_eq!(gateway.metric("zeroclaw_backups_total{outcome=\"failed\"}").await, 0);
}

#[tokio::test]
async fn a_backup_that_fails_is_counted_and_tried_again_later() {
    let folder = TempDir::new().unwrap();
    let backups = folder.path().join("backups");
    fs::write(&backups, "a file, no folder").unwrap();
    let gateway = Gateway::start_with(&[OPEN, ("database.backup_folder", backups.to_str().unwrap())]).await;
    gateway.back_up().await.ok(); // it has failed by now, at the start or here
    let failed = "zeroclaw_backups_total{outcome=\"failed\"}";
    assert_eq!(gateway.metric(failed).await, 1);
    assert_answered(&post(&gateway, "order-1").await);
    fs::remove_file(&backups).unwrap();
    gateway.clock.advance(Duration::from_millis(600_000 - 1));
    assert!(!gateway.back_up().await.unwrap(), "not yet");
    gateway.clock.advance(Duration::from_millis(1));
    assert!(gateway.back_up().await.unwrap());
    assert_eq!(gateway.metric(failed).await, 1);
    assert_eq!(names(backups.to_str().unwrap()).len(), 1);
}

#[tokio::test]
async fn no_backup_is_made_without_a_folder() {
    let gateway = Gateway::start_with(&[OPEN]).await;
    assert!(!gateway.back_up().await.unwrap());
}
