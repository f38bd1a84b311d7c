//! Signals while many clients are at it.

use std::collections::BTreeSet;

use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::support::{
    client::Client,
    gateway::sqlite3,
    model_server::ModelServer,
    process::Process,
    raw::soon,
    wait::{until, until_query},
};

const CLIENTS: usize = 16;
/// No limits, so that nobody is refused or given up for them.
const NO_LIMITS: [(&str, &str); 2] = [
    ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0"),
    ("MOORGATE_GATEWAY__REQUEST_TIMEOUT_SECS", "600"),
];

/// What became of the requests of one client.
#[derive(Default)]
struct Seen {
    answered: BTreeSet<String>,
    /// Statuses that are none of a gateway that stops.
    strange: Vec<u16>,
    /// Answers that began and did not end.
    cut: usize,
}

/// Posts one message after the other until the gateway is gone.
async fn post_until_gone(client: Client, token: String, number: usize) -> Seen {
    let mut seen = Seen::default();
    for turn in 0.. {
        let key = format!("{number}-{turn}");
        let request = client.message(&token, Some(&key), &key);
        match client.try_send(request).await {
            Ok(reply) if reply.status == 200 => {
                let response = reply.json()["response"].as_str().unwrap().to_owned();
                assert!(response.starts_with(&key), "an answer is whole: {response}");
                seen.answered.insert(key);
            }
            Ok(reply) => seen.strange.push(reply.status),
            // A body that ends early is an answer that was cut; a connection that is refused or closed is none.
            Err(error) if error.is_body() || error.is_decode() => seen.cut += 1,
            Err(_) => break,
        }
    }
    seen
}

fn on_record(process: &Process) -> BTreeSet<String> {
    let keys = sqlite3(&process.database, "SELECT key FROM idempotency_key WHERE state = 'answered'");
    keys.lines().map(str::to_owned).collect()
}

/// Failure 32: SIGTERM is ignored or cuts answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_under_load_cuts_no_answer_and_each_that_was_given_is_on_disk() {
    let folder = TempDir::new().unwrap();
    let mut process = Process::start(folder.path(), &NO_LIMITS);
    let token = process.pair().await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(post_until_gone(Client::new(process.address), token.clone(), number));
    }
    until("200 answers", async || on_record(&process).len() >= 200).await;
    process.signal("TERM");
    let all = soon(clients.join_all()).await;
    assert_eq!(process.wait().code(), Some(0));
    let on_record = on_record(&process);
    let states = sqlite3(&process.database, "SELECT DISTINCT state FROM v_message");
    assert_eq!(states, "answered", "what was accepted is finished");
    for seen in all {
        assert_eq!((seen.cut, seen.strange.as_slice()), (0, &[][..]));
        assert!(seen.answered.is_subset(&on_record));
    }
    assert_eq!(sqlite3(&process.database, "SELECT state FROM v_server_run"), "stopped");
}

/// Failure 32: SIGTERM cuts answers, and what was cut is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_under_load_loses_nothing_that_was_accepted() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let env = [&model.env("model")[..], &NO_LIMITS[..]].concat();
    let mut process = Process::start(folder.path(), &env);
    let token = process.pair().await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(post_until_gone(Client::new(process.address), token.clone(), number));
    }
    until("50 answers", async || on_record(&process).len() >= 50).await;
    model.hold();
    let running = "SELECT count(*) FROM message WHERE state = 'running'";
    until_query(&process.database, running, &CLIENTS.to_string()).await;
    process.signal("TERM");
    until("it is stopping", async || process.logged().contains("stopping")).await;
    process.signal("TERM");
    assert_eq!(process.wait().code(), Some(130));
    let answered: BTreeSet<String> =
        soon(clients.join_all()).await.into_iter().flat_map(|seen| seen.answered).collect();
    assert!(answered.is_subset(&on_record(&process)), "what was answered is on disk");
    assert_eq!(sqlite3(&process.database, running), CLIENTS.to_string(), "what was cut is on disk, too");

    model.release();
    let process = Process::start(folder.path(), &env);
    let unfinished = "SELECT count(*) FROM message WHERE state <> 'answered'";
    until_query(&process.database, unfinished, "0").await;
}
