//! `kill -9` at random moments under all kinds of load at once: no promise is broken, whatever was cut.

mod check;
mod ledger;
mod load;
mod pairing;
mod platform;

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::support::{
    gateway::sqlite3,
    model_server::ModelServer,
    platform::Platform,
    process::{LONGEST_WAIT, Process, moorgate, run as run_to_its_end},
    random::{Random, seed},
    sender::{env_of, whatsapp},
    size::size,
};
use ledger::model_of;
use load::{Event, Load, work};

/// How often it is killed, where `MOORGATE_TEST_KILLS` does not say another number.
const KILLS: usize = 50;
const WORKERS: usize = 6;
/// Clients that come with each start, more than are used up before the next one is killed.
const CLIENTS: usize = 10;
/// Requests that one client may make in a minute: so few that they are used up within two or three runs, however slow those are.
const LIMIT: usize = 6;
const NO_LIMIT: usize = 0;

/// Failure 5: keys, windows and lockouts vanish at a restart, so a deploy runs retries twice. Failures 7, 8, 9, 13 and 14: what was
/// acknowledged is answered once, in order, and remembered once.
#[tokio::test(flavor = "multi_thread")]
async fn after_fifty_kills_under_load_every_promise_holds() {
    let (seed, kills) = (seed(), size("MOORGATE_TEST_KILLS", KILLS));
    println!("MOORGATE_TEST_SEED={seed}");
    let mut random = Random::new(seed);
    let (folder, model, platform) = (TempDir::new().unwrap(), ModelServer::start(), Platform::start());
    let load = Arc::new(Load::new());
    model.delay(random.fork(), 8);
    platform::fail_one_in_three(&platform, &load, random.fork());
    for run in 1..=kills {
        let process = start(folder.path(), (&model, &platform), (run, LIMIT), &load);
        load.begin_run(run);
        assert_eq!(sqlite3(&process.database, "PRAGMA integrity_check"), "ok");
        load.handed_over.check(&process);
        check::check_answers(run, &load, &process.client, &model, &mut random).await;
        pairing::check_redeemed_since(run - 1, &load, &process.client).await;
        let tasks = begin_work(&load, &process, folder.path(), &mut random);
        let (event, most) = Event::ALL[run % Event::ALL.len()];
        load.wait_for(event, 1 + random.below(most)).await;
        load.expect_cuts();
        process.kill();
        for task in tasks {
            tokio::time::timeout(LONGEST_WAIT, task).await.expect("the work ends").unwrap();
        }
    }
    let process = start(folder.path(), (&model, &platform), (kills + 1, NO_LIMIT), &load);
    load.begin_run(kills + 1);
    check::settle(kills + 1, &load, &process, &model).await;
    platform::settle(&load, &process).await;

    load.ledger().check_limit(LIMIT);
    check::check_sessions(&load.ledger().messages, &model);
    check::check_memory(&process).await;
    platform::check(&load, &process, &platform);
    pairing::check(&load, &process).await;
    let checked = run_to_its_end(moorgate(folder.path()).args(["db", "check"]));
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

/// Everybody who asks something of the gateway until it is killed.
fn begin_work(
    load: &Arc<Load>,
    process: &Process,
    folder: &Path,
    random: &mut Random,
) -> Vec<JoinHandle<()>> {
    let (load, client) = (|| Arc::clone(load), || process.client.clone());
    let workers = (0..WORKERS).map(|worker| tokio::spawn(work(worker, load(), client(), random.fork())));
    let mut tasks: Vec<_> = workers.collect();
    let couriers = 0..platform::COURIERS;
    tasks.extend(couriers.map(|it| tokio::spawn(platform::hand_over(it, load(), client(), random.fork()))));
    tasks.push(tokio::spawn(pairing::guess(load(), client(), random.fork())));
    tasks.push(tokio::spawn(pairing::pair(load(), client(), folder.to_owned(), random.fork())));
    tasks
}

fn start(
    folder: &Path,
    (model, platform): (&ModelServer, &Platform),
    (run, limit): (usize, usize),
    load: &Load,
) -> Process {
    let tokens: Vec<_> =
        (run * CLIENTS..(run + 1) * CLIENTS).map(|client| format!("zc_{client:064x}")).collect();
    let (name, limit, pair_limit) = (model_of(run), limit.to_string(), pairing::PAIR_LIMIT.to_string());
    let (imported, settings) = (tokens.join(","), env_of(&whatsapp(platform)));
    load.add_tokens(tokens);
    let mut env: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    env.extend(model.env(&name));
    env.extend([
        ("MOORGATE_GATEWAY__PAIRED_TOKENS", imported.as_str()), // they are imported once, and stay
        ("MOORGATE_GATEWAY__WEBHOOK_RATE_LIMIT_PER_MINUTE", &limit),
        ("MOORGATE_GATEWAY__PAIR_RATE_LIMIT_PER_MINUTE", &pair_limit),
        // Nothing of this ends while the test runs, however long it takes.
        ("MOORGATE_GATEWAY__PAIR_LOCKOUT_SECS", "3600"),
        ("MOORGATE_GATEWAY__PAIRING_CODE_MAX_FAILURES", "10000"),
        ("MOORGATE_GATEWAY__IDEMPOTENCY_TTL_SECS", "86400"),
        ("MOORGATE_CONVERSATION__HISTORY_TURNS", "30"),
        ("MOORGATE_CHANNELS_CONFIG__RETRY_FIRST_MS", "1"),
        ("MOORGATE_CHANNELS_CONFIG__RETRY_LONGEST_SECS", "1"),
        ("MOORGATE_CHANNELS_CONFIG__DELIVERY_MAX_ATTEMPTS", "100"),
        ("MOORGATE_CHANNELS_CONFIG__MESSAGE_MAX_ATTEMPTS", "100"),
    ]);
    Process::start(folder, &env)
}
