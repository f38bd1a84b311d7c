//! `redeem`, `claim` and `hit` are linearizable: many clients at once see what they could have seen one after the other.
//! Histories are recorded over HTTP on the real service and file, while time stands still, and checked afterwards.

mod checker;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use moorgate::provider::ProviderError;

use crate::support::{
    client::{Client, Reply},
    gateway::Gateway,
    random::{Random, seed},
    size::size,
};
use checker::{Operation, is_linearizable};

/// Clients of one history, and what each of them does.
const CLIENTS: usize = 6;
const OPERATIONS: usize = 5;
/// Histories of each kind, where `MOORGATE_TEST_HISTORIES` does not say another number.
const HISTORIES: usize = 12;

const OPEN: (&str, &str) = ("gateway.require_pairing", "false");
const NO_PAIR_LIMIT: (&str, &str) = ("gateway.pair_rate_limit_per_minute", "0");
const NO_WEBHOOK_LIMIT: (&str, &str) = ("gateway.webhook_rate_limit_per_minute", "0");

fn histories() -> usize {
    size("MOORGATE_TEST_HISTORIES", HISTORIES)
}

fn chosen() -> Random {
    let seed = seed();
    println!("MOORGATE_TEST_SEED={seed}");
    Random::new(seed)
}

/// The order of calls and returns.
#[derive(Clone, Default)]
struct Order(Arc<AtomicU64>);

impl Order {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// Lets all clients work at once: what each of them did.
async fn record<Step: Send + 'static, Work>(work: impl Fn(usize) -> Work) -> Vec<Operation<Step>>
where
    Work: Future<Output = Vec<Operation<Step>>> + Send + 'static,
{
    let clients: Vec<_> = (0..CLIENTS).map(|client| tokio::spawn(work(client))).collect();
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.unwrap());
    }
    history
}

// --- hit

/// What a hit was told: how many more are admitted; `None`: it was refused.
type Hit = Option<u32>;
const LIMIT: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn hits_are_linearizable() {
    let limit = LIMIT.to_string();
    let gateway =
        Gateway::start_with(&[OPEN, ("gateway.webhook_rate_limit_per_minute", limit.as_str())]).await;
    for number in 0..histories() {
        let client = gateway.client.seen_from(&format!("127.3.{}.{}", number / 200, 1 + number % 200));
        let order = Order::default();
        let history = record(|_| {
            let (client, order) = (client.clone(), order.clone());
            async move {
                let mut done = Vec::new();
                for _ in 0..OPERATIONS {
                    let called = order.next();
                    let reply = client.post("", None, "hello").await;
                    let hit = (reply.status == 200).then(|| reply.left("webhook"));
                    assert!(hit.is_some() || reply.status == 429, "{reply:?}");
                    done.push(Operation { called, returned: Some(order.next()), ways: vec![vec![hit]] });
                }
                done
            }
        });
        let history = history.await;
        let apply = |hits: &u32, told: &Hit| match told {
            Some(left) => (*hits < LIMIT && LIMIT - hits - 1 == *left).then_some(hits + 1),
            None => (*hits == LIMIT).then_some(*hits),
        };
        assert!(is_linearizable(&history, &0, &apply), "{history:#?}");
    }
}

// --- claim

/// A step of a post with a key, and its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Claimed(usize),
    Answered(usize),
    Failed(usize),
    Replayed(usize),
    WasRunning(usize),
    OtherBody(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum KeyState {
    Free,
    Running(usize),
    Answered(usize),
}

fn apply_claim(state: &KeyState, step: &Claim) -> Option<KeyState> {
    match (*step, *state) {
        (Claim::Claimed(body), KeyState::Free) => Some(KeyState::Running(body)),
        (Claim::Answered(body), KeyState::Running(running)) if body == running => {
            Some(KeyState::Answered(body))
        }
        (Claim::Failed(body), KeyState::Running(running)) if body == running => Some(KeyState::Free),
        (Claim::Replayed(body), KeyState::Answered(answered)) if body == answered => Some(*state),
        (Claim::WasRunning(body), KeyState::Running(running)) if body == running => Some(*state),
        (Claim::OtherBody(body), KeyState::Running(other) | KeyState::Answered(other)) if body != other => {
            Some(*state)
        }
        _ => None,
    }
}

/// What a post did, as its answer tells.
fn steps_of(reply: &Reply, body: usize) -> Vec<Claim> {
    match reply.status {
        200 if reply.json()["status"] == "duplicate" => vec![Claim::Replayed(body)],
        200 => vec![Claim::Claimed(body), Claim::Answered(body)],
        500 => vec![Claim::Claimed(body), Claim::Failed(body)],
        409 => vec![Claim::WasRunning(body)],
        422 => vec![Claim::OtherBody(body)],
        _ => panic!("{reply:?}"),
    }
}

/// Posts one key again and again, hangs up now and then, and lets the model fail now and then.
async fn claim(
    gateway: (Client, crate::support::model::TestModel),
    key: String,
    order: Order,
    mut random: Random,
) -> Vec<Operation<Claim>> {
    let (client, model) = gateway;
    let mut done = Vec::new();
    for _ in 0..OPERATIONS {
        let body = usize::from(random.below(5) == 0);
        model.fail((random.below(3) == 0).then_some(ProviderError::RefusedByPolicy));
        let called = order.next();
        let posted = client.post_apart("", Some(&key), &format!("body {body}"));
        if random.below(6) == 0 {
            for _ in 0..random.below(50) {
                tokio::task::yield_now().await;
            }
            posted.abort();
            let claimed = Claim::Claimed(body);
            let ways = vec![vec![claimed, Claim::Answered(body)], vec![claimed, Claim::Failed(body)]];
            done.push(Operation { called, returned: None, ways });
        } else {
            let reply = posted.await.unwrap().unwrap();
            done.push(Operation { called, returned: Some(order.next()), ways: vec![steps_of(&reply, body)] });
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_linearizable() {
    let mut random = chosen();
    let gateway = Gateway::start_with(&[OPEN, NO_WEBHOOK_LIMIT]).await;
    for number in 0..histories() {
        let order = Order::default();
        let seeds: Vec<u64> = (0..CLIENTS).map(|_| random.next()).collect();
        let is_held = number % 2 == 0;
        if is_held {
            gateway.model.hold();
        }
        let asked = gateway.model.calls();
        let recorded = tokio::spawn({
            let (client, model) = (gateway.client.clone(), gateway.model.clone());
            let order = order.clone();
            async move {
                record(|at| {
                    let gateway = (client.clone(), model.clone());
                    claim(gateway, format!("key-{number}"), order.clone(), Random::new(seeds[at]))
                })
                .await
            }
        });
        if is_held {
            gateway.model.wait_for_calls(asked + 1).await;
            gateway.model.release();
        }
        let history = recorded.await.unwrap();
        gateway.model.fail(None);
        assert!(is_linearizable(&history, &KeyState::Free, &apply_claim), "{history:#?}");
    }
}

// --- redeem

/// What came of a code that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redeem {
    Paired,
    Refused,
    LockedOut,
}

/// An attempt: whose, with which code (`None`: a wrong one), and what came of it.
type Attempt = (usize, Option<usize>, Redeem);

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Pairing {
    spent: BTreeSet<usize>,
    failures: [u8; 2],
}

fn apply_attempt(state: &Pairing, (client, code, outcome): &Attempt) -> Option<Pairing> {
    let mut next = state.clone();
    let is_locked = state.failures[*client] == 5;
    let is_right = code.is_some_and(|code| !state.spent.contains(&code));
    match outcome {
        Redeem::LockedOut => return is_locked.then_some(next),
        _ if is_locked => return None,
        Redeem::Paired if is_right => {
            next.spent.extend(*code);
            next.failures[*client] = 0;
        }
        Redeem::Refused if !is_right => next.failures[*client] += 1,
        Redeem::Paired | Redeem::Refused => return None,
    }
    Some(next)
}

async fn redeem(
    (at, client): (usize, Client),
    codes: Vec<String>,
    order: Order,
    mut random: Random,
) -> Vec<Operation<Attempt>> {
    let mut done = Vec::new();
    for _ in 0..OPERATIONS {
        let code = (random.below(3) == 0).then(|| random.below(codes.len()));
        let called = order.next();
        let reply = client.pair(code.map_or("wrong", |code| &codes[code])).await;
        let outcome = match reply.status {
            200 => Redeem::Paired,
            403 => Redeem::Refused,
            429 => Redeem::LockedOut,
            _ => panic!("{reply:?}"),
        };
        let returned = Some(order.next());
        done.push(Operation { called, returned, ways: vec![vec![(at, code, outcome)]] });
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_to_pair_are_linearizable() {
    let mut random = chosen();
    let gateway = Gateway::start_with(&[NO_PAIR_LIMIT, ("gateway.pairing_code_max_failures", "10000")]).await;
    for number in 0..histories() {
        let mut codes = Vec::new();
        for _ in 0..3 {
            codes.push(gateway.another_code().await);
        }
        let addresses = [1, 2].map(|at| format!("127.4.{}.{}", number / 100, (number % 100) * 2 + at));
        let clients = addresses.map(|address| gateway.client.seen_from(&address));
        let (order, seeds) = (Order::default(), (0..CLIENTS).map(|_| random.next()).collect::<Vec<_>>());
        let history = record(|at| {
            let client = (at % 2, clients[at % 2].clone());
            redeem(client, codes.clone(), order.clone(), Random::new(seeds[at]))
        });
        let history = history.await;
        assert!(is_linearizable(&history, &Pairing::default(), &apply_attempt), "{history:#?}");
    }
}
