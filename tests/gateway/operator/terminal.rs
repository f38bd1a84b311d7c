//! What is different on a terminal: questions, progress, local times, Ctrl-C.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{command::new_token, database, message::Chat, sqlite3, tokens, until_query};
use crate::support::{
    process::{Process, moorgate},
    terminal::Terminal,
};

fn on_terminal(folder: &Path, arguments: &[&str]) -> Terminal {
    let mut command = moorgate(folder);
    command.args(arguments);
    Terminal::run(command)
}

/// Runs a command that asks, and gives this answer: the exit code.
#[track_caller]
fn answer(folder: &Path, arguments: &[&str], question: &str, keys: &str) -> Option<i32> {
    let mut terminal = on_terminal(folder, arguments);
    terminal.wait_for(&format!("{question} [y/N] "));
    terminal.press(keys);
    let (code, seen) = terminal.end();
    assert_eq!(seen.contains("moorgate: nothing was changed"), code == Some(64), "{seen}");
    code
}

/// No, nothing but Enter, and the end of the input.
const NOES: [&str; 3] = ["n\n", "\n", "\u{4}"];

#[tokio::test]
async fn a_token_is_revoked_if_the_answer_is_yes() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    new_token(&folder, "ci");
    let question = "Revoke token ci? Its client cannot post any more.";
    for no in NOES {
        assert_eq!(answer(folder.path(), &["token", "revoke", "ci"], question, no), Some(64));
    }
    let mut asked = on_terminal(folder.path(), &["token", "revoke", "ci"]);
    asked.wait_for(question);
    asked.interrupt();
    assert_eq!(asked.end().0, None, "Ctrl-C ends it");
    assert_eq!(tokens(&process), "ci|command|live");
    assert_eq!(answer(folder.path(), &["token", "revoke", "ci"], question, "y\n"), Some(0));
    assert_eq!(tokens(&process), "ci|command|revoked");
}

#[tokio::test]
async fn a_message_is_discarded_if_the_answer_is_yes() {
    let chat = Chat::start();
    chat.model.hold();
    for (id, text) in [("wamid.1", "first"), ("wamid.2", "second")] {
        chat.say(id, text).await;
    }
    chat.process.wait_for_state("first", "running").await;
    let question = "Discard message 2? It is not answered any more.";
    let discard = |keys| answer(chat.folder.path(), &["message", "discard", "2"], question, keys);
    assert_eq!(discard("no\n"), Some(64));
    chat.process.wait_for_state("second", "accepted").await;
    assert_eq!(discard("yes\n"), Some(0));
    chat.process.wait_for_state("second", "failed").await;
}

#[tokio::test]
async fn keys_are_forgotten_replies_discarded_and_backups_restored_if_the_answer_is_yes() {
    let chat = Chat::start();
    chat.platform.always(crate::support::platform::Behaviour::Refuse(500, Some(3600)));
    chat.say("wamid.1", "hello").await;
    let due = "SELECT state || error_class FROM delivery";
    until_query(&chat.process.database, due, "dueoverloaded").await;
    let folder = chat.folder.path();
    let discard = ["delivery", "discard", "1"];
    let question = "Discard delivery 1? It and the parts behind it are not sent any more.";
    assert_eq!(answer(folder, &discard, question, "n\n"), Some(64));
    assert_eq!(sqlite3(&chat.process.database, due), "dueoverloaded");
    assert_eq!(answer(folder, &discard, question, "y\n"), Some(0));
    assert_eq!(sqlite3(&chat.process.database, "SELECT state FROM delivery"), "dead");

    let token = chat.process.pair().await;
    chat.process.client.post(&token, Some("order-1"), "hello").await;
    let forget = ["key", "forget", "order-1"];
    let question = "Forget the key order-1? A request that is sent again is answered anew.";
    assert_eq!(answer(folder, &forget, question, "n\n"), Some(64));
    assert_eq!(sqlite3(&chat.process.database, "SELECT key FROM idempotency_key"), "order-1");
    assert_eq!(answer(folder, &forget, question, "y\n"), Some(0));
    assert_eq!(sqlite3(&chat.process.database, "SELECT count(*) FROM idempotency_key"), "0");

    database::db_json(folder, &["backup", "copy.db"]);
    chat.process.kill();
    let restore = ["db", "restore", "copy.db"];
    let question = "Replace moorgate.db with copy.db? Its old contents are kept.";
    assert_eq!(answer(folder, &restore, question, "n\n"), Some(64));
    assert_eq!(answer(folder, &restore, question, "y\n"), Some(0));
}

#[tokio::test]
async fn times_are_local_and_columns_aligned() {
    let folder = TempDir::new().unwrap();
    let process = Process::start(folder.path(), &[]);
    new_token(&folder, "ci");
    let mut command = moorgate(folder.path());
    command.args(["token", "list"]).env("TZ", "LOCAL-5"); // five hours east of Greenwich
    let (code, seen) = Terminal::run(command).end();
    let local =
        "SELECT strftime('%Y-%m-%d %H:%M:%S', created_at_ms / 1000 + 5 * 3600, 'unixepoch') FROM token";
    let expected = format!(
        "ID  STATE  LABEL  SOURCE   CREATED AT           EXPIRES AT  REVOKED AT\r\n \
         1  live   ci     command  {}  -           -\r\n",
        sqlite3(&process.database, local)
    );
    assert_eq!((code, seen), (Some(0), expected));
}

#[tokio::test]
async fn long_work_shows_how_far_it_is() {
    let folder = TempDir::new().unwrap();
    database::stopped_with_a_message(&folder).await;
    for (arguments, progress, last) in [
        (&["check"][..], "checking integrity_and_foreign_keys", "hits_and_failures_are_counted_up: ok\r\n"),
        (&["backup", "copy.db"], "copying [", "rows of token_import: 0\r\n"),
        (&["restore", "copy.db", "--yes"], "copying [", "rows of token_import: 0\r\n"),
        (&["vacuum"], "rewriting [", " bytes\r\n"),
    ] {
        let (code, seen) = on_terminal(folder.path(), &[&["db"], arguments].concat()).end();
        assert_eq!(code, Some(0), "{seen}");
        assert!(seen.contains(&format!("\r\x1b[K{progress}")) && seen.ends_with(last), "{seen:?}");
        assert!(!database::db(folder.path(), &["check"]).err.contains("checking"), "not where nobody looks");
    }
}

/// Work that is interrupted ends in order: exit code 130, and nothing is left of it.
#[tokio::test]
async fn a_backup_that_is_interrupted_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    database::stopped_with_a_message(&folder).await;
    let mut rows = 4_000;
    loop {
        // So large that it is not done before the signal arrives, however fast the machine is.
        let grow = format!(
            "INSERT INTO message (received_at_ms, channel, sender, text, state, attempts, run_id, answer, finished_at_ms)
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
             SELECT 1000, 'webhook', 'addr:127.0.0.1', printf('%08000d', i), 'answered', 1, 1, '', 2000 FROM n"
        );
        sqlite3(&folder.path().join("moorgate.db"), &grow);
        let mut backup = on_terminal(folder.path(), &["db", "backup", "copy.db"]);
        backup.wait_for("copying [");
        backup.interrupt();
        match backup.end() {
            (Some(130), seen) => {
                assert!(seen.ends_with("moorgate: stopped before it was done\r\n"), "{seen:?}");
                break;
            }
            (Some(0), _) if rows < 100_000 => fs::remove_file(folder.path().join("copy.db")).unwrap(),
            ended => panic!("{ended:?}"),
        }
        rows *= 2;
    }
    let left = database::file_names(folder.path());
    assert!(!left.iter().any(|name| name.starts_with("copy.db")), "{left:?}");
}
