//! `kill -9` at random moments under load: no promise is broken, whatever was cut.

mod ledger;
mod load;

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::NO_LIMIT;
use crate::support::{
    gateway::sqlite3,
    model_server::ModelServer,
    process::{LONGEST_WAIT, Process},
    random::{Random, seed},
    size::size,
};
use ledger::{Answer, Message, model_of};
use load::{Load, work};

/// How often it is killed, where `MOORGATE_TEST_KILLS` does not say another number.
const KILLS: usize = 50;
const WORKERS: usize = 6;
/// Requests that one client may make in a minute: so few that they are used up within two or three runs, however slow those are.
const LIMIT: usize = 6;
/// The answers that are waited for before a kill are fewer than this.
const ANSWERS_END: usize = 20;
/// Earlier answers that are asked for again after each kill.
const SAMPLE: usize = 10;

/// Failure 5: keys, windows and lockouts vanish at a restart, so a deploy runs retries twice.
#[tokio::test(flavor = "multi_thread")]
async fn after_fifty_kills_under_load_every_promise_holds() {
    let seed = seed();
    println!("MOORGATE_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let (folder, model) = (TempDir::new().unwrap(), ModelServer::start());
    model.delay(random.fork(), 8);
    let load = Arc::new(Load::new());
    for run in 1..=kills() {
        let process = start(folder.path(), &model, run, &load);
        let known = load.ledger().messages.clone();
        check((run, &process), &model, &known, &mut random).await;
        load.begin_run(run);
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                tokio::spawn(work(worker, Arc::clone(&load), process.client.clone(), random.fork()))
            })
            .collect();
        load.wait_for_answers(1 + random.below(ANSWERS_END - 1)).await;
        load.expect_cuts();
        process.kill();
        for worker in workers {
            tokio::time::timeout(LONGEST_WAIT, worker).await.expect("a worker ends").unwrap();
        }
    }
    let process = start_without_limit(folder.path(), &model);
    settle(&process, &model, &load).await;
    load.ledger().check_limit(LIMIT);
}

fn kills() -> usize {
    size("MOORGATE_TEST_KILLS", KILLS)
}

fn start(folder: &Path, model: &ModelServer, run: usize, load: &Load) -> Process {
    let (name, limit, tokens) = (model_of(run), LIMIT.to_string(), load.tokens.join(","));
    let mut env = model.env(&name).to_vec();
    env.push(("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", &limit));
    if run == 1 {
        env.push(("MOORGATE_GATEWAY__PAIRED_TOKENS", &tokens)); // they are imported once, and stay
    }
    Process::start(folder, &env)
}

fn start_without_limit(folder: &Path, model: &ModelServer) -> Process {
    let name = model_of(kills() + 1);
    let mut env = model.env(&name).to_vec();
    env.push(NO_LIMIT);
    Process::start(folder, &env)
}

/// What must hold right after a start, while cut work is being resumed.
async fn check(
    (run, process): (usize, &Process),
    model: &ModelServer,
    known: &[Message],
    random: &mut Random,
) {
    assert_eq!(sqlite3(&process.database, "PRAGMA integrity_check"), "ok");
    let answered = || known.iter().filter_map(|message| Some((message, message.answer.as_ref()?)));
    answered().for_each(|(message, answer)| assert_ran_for_its_answer_only(model, message, answer));
    let (fresh, earlier): (Vec<_>, Vec<_>) = answered().partition(|(_, answer)| answer.seen_in + 1 == run);
    let sample = (0..SAMPLE.min(earlier.len())).map(|_| earlier[random.below(earlier.len())]);
    let asked: Vec<_> = fresh.iter().copied().chain(sample).collect();
    // From addresses that nobody used, so that these requests are within every limit, and use up none.
    for (number, few) in (1_u8..).zip(asked.chunks(LIMIT)) {
        let client = process.client.seen_from(&format!("127.1.{run}.{number}"));
        let post = |message: &Message| client.post_apart(&message.token, Some(&message.key), &message.text);
        let posted: Vec<_> = few.iter().map(|(message, _)| post(message)).collect();
        for (posted, (message, answer)) in posted.into_iter().zip(few) {
            let replay = posted.await.unwrap().unwrap();
            assert_eq!(replay.header("idempotency-replayed"), Some("true"), "{message:?}: {replay:?}");
            assert_eq!((replay.status, &Answer::of(&replay, answer.seen_in)), (200, *answer), "{message:?}");
        }
    }
}

/// The model that answered was asked once, and none in a later run. Earlier ones were asked in runs that were killed.
fn assert_ran_for_its_answer_only(model: &ModelServer, message: &Message, answer: &Answer) {
    let asked = model.models_asked(&message.text);
    let in_the_answers_run = asked.iter().filter(|model| **model == answer.model).count();
    assert_eq!(in_the_answers_run, 1, "{message:?} was asked to {asked:?}");
    assert!(asked.iter().all(|model| *model <= answer.model), "{message:?} was asked to {asked:?}");
}

/// Every message has its answer after one more retry, and nothing is left over.
async fn settle(process: &Process, model: &ModelServer, load: &Load) {
    let messages = load.ledger().messages.clone();
    let cut = messages.iter().filter(|message| message.answer.is_none()).count();
    assert!(cut > 0, "no kill cut anything");
    let mut retries = JoinSet::new();
    for message in messages.clone() {
        let client = process.client.clone();
        retries.spawn(async move {
            let reply = client.post_until_done(&message.token, &message.key, &message.text).await;
            (message, reply)
        });
    }
    for (message, reply) in retries.join_all().await {
        assert_eq!(reply.status, 200, "{message:?}: {reply:?}");
        let answer = Answer::of(&reply, kills() + 1);
        assert!(message.answer.as_ref().is_none_or(|first| first.is_same(&answer)), "{message:?}: {reply:?}");
        assert_ran_for_its_answer_only(model, &message, &answer);
    }
    let unfinished = "SELECT count(*) FROM message WHERE state IN ('accepted', 'running')";
    assert_eq!(sqlite3(&process.database, unfinished), "0");
    let twice = "SELECT count(*) - count(DISTINCT sender || ' ' || idempotency_key) FROM message WHERE state = 'answered'";
    assert_eq!(sqlite3(&process.database, twice), "0", "no key was answered twice");
    assert_eq!(sqlite3(&process.database, "PRAGMA integrity_check"), "ok");
    println!("{} messages, {cut} of them cut by the last kill that saw them", messages.len());
}
