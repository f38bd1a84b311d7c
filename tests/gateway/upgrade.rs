//! A database of every earlier schema, full of data and left in the middle of its work: this program opens it, brings it up
//! to date and keeps every promise that was made with it.
//!
//! For each step of `migrations/` there is a file of the same number in `tests/fixtures/upgrade/` with what a program of
//! that schema could leave; a step without one fails here.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use moorgate::domain::hex::Hex;
use reqwest::Method;
use sha2::{Digest as _, Sha384};
use tempfile::TempDir;

use crate::support::{
    client::{Client, Reply},
    gateway::{Gateway, sqlite3, until_sql},
    platform::Platform,
    process::{moorgate, run},
    sender::{Setting, say, talk, talk_call, talk_payload, whatsapp},
};

/// A step of the schema.
struct Migration {
    version: String,
    description: String,
    file: PathBuf,
}

/// All steps, in order.
fn migrations() -> Vec<Migration> {
    let files = fs::read_dir(root().join("migrations")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = files
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let (version, description) = name.split_once('_').unwrap();
            let (version, description) = (version.to_owned(), description.replace('_', " "));
            Migration { version, description, file }
        })
        .collect();
    found.sort_by(|a, b| a.version.cmp(&b.version));
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A database of the first `steps` steps, with the data of each.
fn make(database: &Path, steps: usize) {
    sqlite3(
        database,
        "PRAGMA journal_mode = WAL;
         CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    );
    for Migration { version, description, file } in migrations().iter().take(steps) {
        let sql = fs::read_to_string(file).unwrap();
        let checksum = Hex(&Sha384::digest(&sql)).to_string();
        let data = root().join("tests/fixtures/upgrade").join(version).with_extension("sql");
        let data = fs::read_to_string(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
        let applied = format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
             VALUES ({version}, '{description}', TRUE, x'{checksum}', 1)"
        );
        sqlite3(database, &format!("BEGIN; {sql} {applied}; {data} COMMIT;"));
    }
}

/// A gateway of this program on such a database, and how many steps that had.
struct Upgraded {
    gateway: Gateway,
    platform: Platform,
    steps: usize,
}

fn token(digit: u8) -> String {
    format!("zc_{}", char::from(digit).to_string().repeat(64))
}

impl Upgraded {
    /// Starts on a database of each schema there ever was, this one among them.
    async fn of_each() -> Vec<Self> {
        let mut all = Vec::new();
        for steps in 1..=migrations().len() {
            let platform = Platform::start();
            let imported = token(b'4');
            let gateway = {
                let mut settings = whatsapp(&platform);
                settings.extend(talk(&platform));
                settings.extend([("gateway.paired_tokens", imported.as_str())] as [Setting<'_>; 1]);
                let mut gateway = Gateway::start().await;
                gateway.stop().await;
                for suffix in ["", "-wal", "-shm"] {
                    fs::remove_file(gateway.database().with_extension(format!("db{suffix}"))).ok();
                }
                make(&gateway.database(), steps);
                gateway.restart_with(&settings).await
            };
            all.push(Self { gateway, platform, steps });
        }
        all
    }

    fn seen_from(&self, address: &str) -> Client {
        self.gateway.client.seen_from(address)
    }

    async fn post(&self, key: &str, message: &str) -> Reply {
        self.gateway.client.post(&token(b'1'), Some(key), message).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_every_earlier_schema_are_what_they_were() {
    for upgraded in Upgraded::of_each().await {
        let client = &upgraded.gateway.client;
        assert_eq!(client.post(&token(b'1'), None, "hello").await.status, 200, "{}", upgraded.steps);
        for (dead, why) in [(b'2', "revoked"), (b'3', "expired"), (b'4', "imported once, deleted since")] {
            assert_eq!(client.post(&token(dead), None, "hello").await.status, 401, "{why}");
        }
        assert_eq!(upgraded.gateway.code, None, "a client is paired");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_and_lockouts_of_every_earlier_schema_hold() {
    for upgraded in Upgraded::of_each().await {
        let locked = upgraded.seen_from("127.0.0.3").pair("222222").await;
        assert_eq!((locked.status, locked.retry_after()), (429, 200), "{locked:?}");
        let fifth = upgraded.seen_from("127.0.0.2");
        assert_eq!(fifth.pair("333333").await.status, 403, "it has expired");
        let locked = fifth.pair("222222").await;
        assert_eq!((locked.status, locked.retry_after()), (429, 600), "the second within a day: {locked:?}");
        assert_eq!(upgraded.gateway.client.pair("111111").await.status, 403, "it is spent");
        let paired = upgraded.gateway.client.paired("222222").await;
        assert_eq!(upgraded.gateway.client.post(&paired, None, "hello").await.status, 200);
        assert_eq!(upgraded.gateway.sql("SELECT label FROM token ORDER BY id DESC LIMIT 1"), "phone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_every_earlier_schema_count() {
    for upgraded in Upgraded::of_each().await {
        let refused = upgraded.seen_from("127.0.0.4").pair("222222").await;
        assert_eq!((refused.status, refused.retry_after()), (429, 30), "{refused:?}");
        let client = upgraded.seen_from("127.0.0.5");
        for left in [1, 0] {
            assert_eq!(client.post(&token(b'1'), None, "hello").await.left("webhook"), left);
        }
        let refused = client.post(&token(b'1'), None, "hello").await;
        assert_eq!((refused.status, refused.retry_after()), (429, 50), "{refused:?}");
        let unsigned = upgraded.seen_from("127.0.0.6");
        let unsigned = unsigned.send(unsigned.request(Method::POST, "/whatsapp").body("{}")).await;
        assert_eq!(unsigned.status, if upgraded.steps < 2 { 401 } else { 429 }, "{unsigned:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answered_keys_of_every_earlier_schema_replay_and_unfinished_work_is_resumed() {
    for upgraded in Upgraded::of_each().await {
        let replayed = |reply: &Reply| (reply.status, reply.json()["status"] == "duplicate");
        let reply = upgraded.post("order-1", "hello").await;
        assert_eq!(replayed(&reply), (200, true), "{reply:?}");
        assert_eq!(
            (&reply.json()["response"], &reply.json()["model"]),
            (&"hello from before".into(), &"old-model".into())
        );
        assert_eq!(upgraded.post("order-1", "another").await.status, 422);
        assert_eq!(replayed(&upgraded.post("order-0", "hello").await), (200, false), "it has expired");
        assert_eq!(replayed(&upgraded.post("order-3", "hello").await), (200, false), "it had failed");
        let states =
            "SELECT group_concat(id || ' ' || state || ' ' || attempts) FROM message WHERE id IN (3, 4)";
        until_sql(&upgraded.gateway, states, "3 answered 2,4 interrupted 1").await;
        let resumed = upgraded.post("order-2", "hello").await;
        assert_eq!(replayed(&resumed), (200, true), "{resumed:?}");
        assert_eq!(resumed.json()["response"], "hello!");
        upgraded.gateway.clock.advance(Duration::from_secs(201));
        assert_eq!(replayed(&upgraded.post("order-1", "hello").await), (200, false), "five minutes are over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_due_of_every_earlier_schema_go_out_in_order_and_nothing_is_taken_twice() {
    for upgraded in Upgraded::of_each().await.into_iter().filter(|upgraded| upgraded.steps >= 2) {
        let (gateway, platform) = (&upgraded.gateway, &upgraded.platform);
        platform.wait_for_texts(3).await;
        until_sql(gateway, "SELECT count(*) FROM delivery WHERE state = 'due'", "0").await;
        assert_eq!(platform.texts(), ["two", "three", "second!"]);
        let states = "SELECT group_concat(state || in_doubt) FROM delivery WHERE id < 5";
        assert_eq!(gateway.sql(states), "sent0,sent1,sent0,dead0");
        for id in ["wamid.10", "wamid.11", "wamid.12"] {
            assert_eq!(say(&gateway.client, id, "15551234567", "again").await.status, 200);
        }
        let again = talk_call(&gateway.client, &talk_payload("room", 7, "alice", "hi"), "used-before");
        let again = gateway.client.send(again).await.status;
        assert_eq!(gateway.sql("SELECT count(*) FROM message WHERE text IN ('again', 'hi')"), "0", "{again}");
        assert_eq!(gateway.model.calls(), 2, "order-2 and the waiting message");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_memory_of_every_earlier_schema_go_on() {
    for upgraded in Upgraded::of_each().await.into_iter().filter(|upgraded| upgraded.steps >= 3) {
        let gateway = &upgraded.gateway;
        let next =
            gateway.client.message(&token(b'1'), None, "what do I like?").header("X-Session-Id", "main");
        assert_eq!(gateway.client.send(next).await.status, 200);
        let before = ["I like apples", "noted", "and pears", "noted, too"];
        assert_eq!(gateway.model.history_of("what do I like?"), before);
        let cherries = gateway.sql("SELECT count(*) FROM message WHERE text LIKE '%cherries'") == "1";
        for word in ["apples", "pears"].iter().chain(cherries.then_some(&"cherries")) {
            let found = format!("SELECT count(*) FROM memory_text WHERE memory_text MATCH '{word}'");
            until_sql(gateway, &found, "1").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_every_earlier_schema_is_sound_once_it_is_up_to_date() {
    for mut upgraded in Upgraded::of_each().await {
        upgraded.gateway.stop().await;
        let folder = TempDir::new().unwrap();
        let mut check = moorgate(folder.path());
        check.args(["db", "check", "--database"]).arg(upgraded.gateway.database());
        let checked = run(&mut check);
        assert_eq!(checked.code, Some(0), "{checked:?}");
        let schema = "SELECT group_concat(sql, ';') FROM (
            SELECT sql FROM sqlite_schema WHERE name <> '_sqlx_migrations' ORDER BY type, name)";
        let fresh = folder.path().join("fresh.db");
        let migrated = run(moorgate(folder.path()).args(["db", "migrate", "--database"]).arg(&fresh));
        assert_eq!(migrated.code, Some(0), "{migrated:?}");
        assert_eq!(upgraded.gateway.sql(schema), sqlite3(&fresh, schema), "the same as a new one");
    }
}

#[test]
fn a_server_refuses_a_database_that_a_newer_one_wrote_and_says_so() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("moorgate.db");
    make(&database, migrations().len());
    sqlite3(
        &database,
        "INSERT INTO _sqlx_migrations VALUES (99991231235959, 'later', '9999-12-31', TRUE, x'00', 0)",
    );
    let refused = run(moorgate(folder.path()).args(["serve", "--port", "0"]));
    assert_eq!(refused.code, Some(74), "{refused:?}");
    let words = "moorgate.db was written by a newer moorgate (schema 99991231235959); start that one, or restore a backup";
    assert!(refused.err.contains(words), "{}", refused.err);
    assert_eq!(sqlite3(&database, "SELECT count(*) FROM server_run WHERE id > 2"), "0", "it is left alone");
}
