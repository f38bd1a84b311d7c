//! What must hold of messages to `/webhook`.

use tokio::task::JoinSet;

use super::{
    LIMIT,
    ledger::{Answer, Message},
    load::{Load, request},
};
use crate::support::{
    client::Client, gateway::sqlite3, model_server::ModelServer, process::Process, random::Random,
    wait::until_query,
};

/// Earlier answers that are asked for again after each kill.
const SAMPLE: usize = 10;
/// Retries at once in the end.
const AT_ONCE: usize = 200;

/// The answers that arrived in the run before, and some earlier ones, are what their keys bring now.
pub async fn check_answers(
    run: usize,
    load: &Load,
    client: &Client,
    model: &ModelServer,
    random: &mut Random,
) {
    let known = load.ledger().messages.clone();
    let answered = || known.iter().filter_map(|message| Some((message, message.answer.as_ref()?)));
    answered().for_each(|(message, answer)| assert_ran_for_its_answer_only(model, message, answer));
    let (fresh, earlier): (Vec<_>, Vec<_>) = answered().partition(|(_, answer)| answer.seen_in + 1 == run);
    let sample = (0..SAMPLE.min(earlier.len())).map(|_| earlier[random.below(earlier.len())]);
    let asked: Vec<_> = fresh.iter().copied().chain(sample).collect();
    for few in asked.chunks(LIMIT) {
        let client = client.seen_from(&load.unused_address());
        let post = |message: &Message| client.post_apart(&message.token, Some(&message.key), &message.text);
        let posted: Vec<_> = few.iter().map(|(message, _)| post(message)).collect();
        for (posted, (message, answer)) in posted.into_iter().zip(few) {
            let replay = posted.await.unwrap().unwrap();
            assert_eq!(replay.header("idempotency-replayed"), Some("true"), "{message:?}: {replay:?}");
            assert_eq!(replay.status, 200, "{message:?}: {replay:?}");
            assert!(answer.is_same(&Answer::of(&replay, run)), "{message:?}: {replay:?}");
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
pub async fn settle(run: usize, load: &Load, process: &Process, model: &ModelServer) {
    let messages = load.ledger().messages.clone();
    let cut = messages.iter().filter(|message| message.answer.is_none()).count();
    assert!(cut > 0, "no kill cut anything");
    for few in (0..messages.len()).collect::<Vec<_>>().chunks(AT_ONCE) {
        let mut retries = JoinSet::new();
        for number in few.iter().copied() {
            let (client, message) = (process.client.clone(), messages[number].clone());
            retries.spawn(async move {
                let reply = client.send_until_done(|| request(&client, &message)).await;
                (number, reply)
            });
        }
        for (number, reply) in retries.join_all().await {
            let message = &messages[number];
            assert_eq!(reply.status, 200, "{message:?}: {reply:?}");
            let answer = Answer::of(&reply, run);
            assert_ran_for_its_answer_only(model, message, &answer);
            load.ledger().answer(number, &answer);
        }
    }
    let unfinished =
        "SELECT count(*) FROM message WHERE state IN ('accepted', 'running') AND channel = 'webhook'";
    assert_eq!(sqlite3(&process.database, unfinished), "0");
    let twice = "SELECT count(*) - count(DISTINCT sender || ' ' || idempotency_key) FROM message
                 WHERE state = 'answered' AND channel = 'webhook'";
    assert_eq!(sqlite3(&process.database, twice), "0", "no key was answered twice");
    println!("{} messages, {cut} of them cut by the last kill that saw them", messages.len());
}

/// With each turn of a session the model was told those before it: all that had been answered when it was sent, each once, with
/// the answers that their clients got.
pub fn check_sessions(messages: &[Message], model: &ModelServer) {
    let turns = || messages.iter().filter(|message| message.in_session);
    let mut told_any = false;
    for turn in turns() {
        let told = model.told(&turn.text);
        let (question, before) = told.split_last().unwrap();
        assert_eq!(*question, format!("user: {}", turn.text));
        let exchange = |it: &Message| {
            [format!("user: {}", it.text), format!("assistant: {}", it.answer.as_ref().unwrap().response)]
        };
        let of_it = || turns().filter(|other| other.token == turn.token && other.text != turn.text);
        let told_of = |other: &Message| before.chunks(2).filter(|told| *told == exchange(other)).count();
        assert_eq!(of_it().map(told_of).sum::<usize>() * 2, before.len(), "{turn:?} was told {told:?}");
        for other in of_it() {
            let earlier = other.answer.as_ref().unwrap().seen < turn.sent;
            let times = told_of(other);
            assert!(times <= 1 && (times == 1 || !earlier), "{turn:?} was told {told:?}, not {other:?}");
            told_any |= times == 1;
        }
    }
    assert!(told_any, "no session had two turns");
}

/// What was said is remembered once.
pub async fn check_memory(process: &Process) {
    until_query(&process.database, "SELECT still_to_do FROM v_memory_progress", "0").await;
    let counts =
        "SELECT (SELECT count(DISTINCT text) FROM message), count(*), count(DISTINCT content) FROM memory";
    let counts = sqlite3(&process.database, counts);
    let said = counts.split('|').next().unwrap();
    assert_eq!(counts, format!("{said}|{said}|{said}"), "what was said, and what is remembered");
    let forgotten = "SELECT count(*) FROM (
        SELECT channel, iif(channel = 'webhook', NULL, channel || '_' || sender || '_' || platform_id), text FROM message
        EXCEPT SELECT channel, iif(channel = 'webhook', NULL, key), content FROM memory)";
    assert_eq!(sqlite3(&process.database, forgotten), "0");
}
