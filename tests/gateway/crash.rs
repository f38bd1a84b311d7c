//! What `kill -9` leaves behind: everything that anyone was told.

mod failed_sync;
mod fifty_kills;

use tempfile::TempDir;

use crate::support::{
    model_server::ModelServer,
    process::{Process, moorgate, run},
    transaction::Transaction,
};

/// Asking again and again must not be refused.
const NO_LIMIT: (&str, &str) = ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", "0");
const WRONG_CODE: &str = "not a code";

fn start(folder: &TempDir, model: &ModelServer) -> Process {
    let mut env = model.env("model").to_vec();
    env.push(NO_LIMIT);
    Process::start(folder.path(), &env)
}

fn another_code(folder: &TempDir) -> String {
    let ended = run(moorgate(folder.path()).arg("pair"));
    ended.out.lines().next().unwrap().strip_prefix("X-Pairing-Code: ").unwrap().to_owned()
}

/// Failure 5: keys, windows and lockouts vanish at a restart, so a deploy runs retries twice and a crash loop gives
/// fresh guesses.
#[tokio::test]
async fn after_kill_9_token_answer_windows_and_failures_are_as_they_were() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let process = Process::start(folder.path(), &model.env("model"));
    let (client, token) = (&process.client, process.pair().await);
    let first = client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(first.text, r#"{"response":"hello: answer 1","model":"model"}"#);
    for left in (30..59).rev() {
        assert_eq!(
            client.post(&token, None, "more").await.left("webhook"),
            left,
            "half of the window is used"
        );
    }
    for left in [8, 7, 6] {
        let wrong = client.pair(WRONG_CODE).await;
        assert_eq!((wrong.status, wrong.left("pair")), (403, left));
    }
    process.kill();

    let process = Process::start(folder.path(), &model.env("model"));
    assert_eq!(process.code, None, "a client is paired");
    let retry = process.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(retry.header("idempotency-replayed"), Some("true"));
    assert_eq!(retry.json()["response"], "hello: answer 1");
    assert_eq!((retry.left("webhook"), model.calls("hello")), (29, 1));
    for left in [5, 4] {
        let wrong = process.client.pair(WRONG_CODE).await;
        assert_eq!((wrong.status, wrong.left("pair")), (403, left), "the fourth and the fifth failure");
    }
    process.kill();

    let process = Process::start(folder.path(), &model.env("model"));
    let locked = process.client.pair(&another_code(&folder)).await;
    let secs = locked.retry_after();
    let error =
        format!(r#"{{"error":"Too many failed attempts. Try again in {secs}s.","retry_after":{secs}}}"#);
    assert_eq!((locked.status, locked.text.as_str()), (429, error.as_str()));
    assert!((200..=300).contains(&secs), "{secs}");
}

/// Failure 5: a deploy runs retries twice.
#[tokio::test]
async fn a_message_cut_by_kill_9_is_resumed_if_it_has_a_key_and_interrupted_if_not() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let process = start(&folder, &model);
    let token = process.pair().await;
    model.hold();
    let cut = [(None, "without"), (Some("order-1"), "with")]
        .map(|(key, message)| process.client.post_apart(&token, key, message));
    model.wait_for_calls("without", 1).await;
    model.wait_for_calls("with", 1).await;
    process.wait_for_state("without", "running").await;
    process.wait_for_state("with", "running").await;
    process.kill();
    for cut in cut {
        assert!(cut.await.unwrap().is_err());
    }

    let process = start(&folder, &model);
    model.wait_for_calls("with", 2).await;
    assert_eq!(process.client.post(&token, Some("order-1"), "with").await.status, 409, "it is being resumed");
    model.release();
    let retry = process.client.post_until_done(&token, "order-1", "with").await;
    assert_eq!((retry.status, &retry.json()["response"]), (200, &"with: answer 2".into()));
    process.wait_for_state("with", "answered").await;
    process.wait_for_state("without", "interrupted").await;
    assert_eq!((model.calls("with"), model.calls("without")), (2, 1));
}

/// Failure 1: the key is recorded before the work, the client hangs up, and the retry is told "already processed".
#[tokio::test]
async fn a_client_that_hung_up_before_the_crash_gets_its_answer_by_a_retry() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let process = start(&folder, &model);
    let token = process.pair().await;
    model.hold();
    let caller = process.client.post_apart(&token, Some("order-1"), "hello");
    model.wait_for_calls("hello", 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    process.wait_for_state("hello", "running").await;
    process.kill();

    model.release();
    let process = start(&folder, &model);
    let retry = process.client.post_until_done(&token, "order-1", "hello").await;
    assert_eq!(retry.json()["response"], "hello: answer 2");
    assert_eq!(model.calls("hello"), 2);
}

/// Failure 1: the model fails, and the retry is told "already processed" though the message was never answered.
#[tokio::test]
async fn a_key_whose_work_failed_is_free_after_the_crash_too() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let process = start(&folder, &model);
    let token = process.pair().await;
    model.fail(Some(500));
    let failed = process.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!((failed.status, failed.text.as_str()), (500, r#"{"error":"LLM request failed"}"#));
    process.kill();

    model.fail(None);
    let process = start(&folder, &model);
    let retry = process.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!(retry.text, r#"{"response":"hello: answer 2","model":"model"}"#, "it ran again, once");
    assert_eq!(model.calls("hello"), 2);
}

/// Failure 18: the code is consumed before the token is durable: paired, and nobody holds the token.
#[tokio::test]
async fn a_code_that_was_printed_before_the_crash_still_pairs_after_it() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let process = start(&folder, &model);
    let code = process.code.clone().unwrap();
    process.kill();
    let process = start(&folder, &model);
    assert!(process.code.is_some(), "no client is paired");
    let token = process.client.paired(&code).await;
    process.kill();
    let process = start(&folder, &model);
    assert_eq!(process.client.post(&token, None, "hello").await.status, 200);
}

/// Failure 2: a concurrent duplicate is told something of work that may come to nothing.
#[tokio::test]
async fn nobody_is_told_of_work_that_is_not_on_record() {
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    let impatient = ("MOORGATE_DATABASE__BUSY_TIMEOUT_MS", "500");
    let process = Process::start(folder.path(), &[&model.env("model")[..], &[NO_LIMIT, impatient]].concat());
    let token = process.pair().await;
    model.hold();
    let transaction = Transaction::begin(&process.database);
    let first = process.client.post_apart(&token, Some("order-1"), "hello");
    model.wait_for_calls("hello", 1).await;
    let duplicate = process.client.post(&token, Some("order-1"), "hello").await;
    let unavailable = r#"{"error":"Storage unavailable. Please retry later.","retry_after":1}"#;
    assert_eq!((duplicate.status, duplicate.text.as_str()), (503, unavailable));
    let first = first.await.unwrap().unwrap();
    assert_eq!((first.status, first.text.as_str()), (503, unavailable));
    drop(transaction);
    process.kill();

    model.release();
    let process = start(&folder, &model);
    let retry = process.client.post(&token, Some("order-1"), "hello").await;
    assert_eq!((retry.status, retry.json()["status"].as_str()), (200, None), "it was never accepted");
}
