//! The writer and its callers in every order that a seed chooses, with callers that are dropped at any of their awaits.
//!
//! A caller goes on only when it is polled here, and the writer takes a batch, and tells what came of it, only when this test opens its
//! [gate](super::gate).
//! Another connection holds the database now and then, so that the writer stands in the middle of a batch while callers go on. So a
//! seed chooses which commands meet in a batch, what is decided while it is being written, and who has gone away meanwhile.
//! `docs/RELIABILITY.md`, "Concurrency", says why this is as good as a model checker here.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqliteConnection};
use tempfile::TempDir;

use super::{
    super::{DatabaseSettings, SqliteStore, StoreLimits, check, open as opening, queue::QueueSenders},
    gate::shut,
    limits, open_with, poll_once, settings,
};
use crate::{
    domain::{
        client::{ClientAddress, Owner},
        id::TokenId,
        idempotency::{BodyHash, IdempotencyKey},
        message::{Account, Answer, MessageText},
        pairing::PairingCode,
        rate::Scope,
        time::Millis,
        token::TokenHash,
    },
    repository::{
        ClaimOutcome, NewTurn, PairingRepository as _, PendingHit, RateLimitRepository as _, RedeemOutcome,
        Redemption, TurnEnd, TurnRepository as _,
    },
};

const NOW: Millis = Millis(1_790_000_000_000);
const KEYS: [&str; 3] = ["one", "two", "three"];

/// What callers do.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Counts a hit, or drops it.
    Hit { counts: bool },
    /// Claims a key, perhaps begins, and settles or gives up.
    Turn { key: usize, begins: bool, end: Option<bool> },
    /// Sends a wrong code.
    Guess,
}

/// One step of a schedule.
#[derive(Debug, Clone, Copy)]
enum Step {
    Start(Work),
    /// A caller goes on to its next await, if it can.
    Poll(usize),
    /// A caller goes away, unless it works on what is on record.
    Drop(usize),
    /// The writer takes a batch, if there is anything to take and it does not stand in one, and writes it, unless another process
    /// has the database.
    Batch,
    /// Callers are told what came of a batch.
    Tell,
    /// Another process takes the database, or gives it back.
    Hold,
    Release,
    /// The writer writes all that waits.
    Write,
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        1 => any::<bool>().prop_map(|counts| Work::Hit { counts }),
        5 => (0..KEYS.len(), any::<bool>(), prop::option::weighted(0.8, any::<bool>()))
            .prop_map(|(key, begins, end)| Work::Turn { key, begins, end }),
        1 => Just(Work::Guess),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => work().prop_map(Step::Start),
        12 => any::<usize>().prop_map(Step::Poll),
        2 => any::<usize>().prop_map(Step::Drop),
        4 => Just(Step::Batch),
        4 => Just(Step::Tell),
        1 => Just(Step::Hold),
        2 => Just(Step::Release),
        2 => Just(Step::Write),
    ]
}

/// What callers were told, and who works on which key.
#[derive(Default)]
struct Log {
    admitted: i64,
    refused: u32,
    /// Keys that somebody was given and has not begun to settle.
    held: BTreeMap<usize, u32>,
    answers: BTreeMap<usize, String>,
}

/// A key is held until this is dropped, or until it is being settled.
struct Held(Rc<RefCell<Log>>, usize);

impl Held {
    fn take(log: &Rc<RefCell<Log>>, key: usize) -> Self {
        let holders = *log.borrow_mut().held.entry(key).and_modify(|held| *held += 1).or_insert(1);
        assert_eq!(holders, 1, "{} is worked on twice at the same time", KEYS[key]);
        Self(Rc::clone(log), key)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *self.0.borrow_mut().held.get_mut(&self.1).unwrap() -= 1;
    }
}

fn hit(store: &SqliteStore, log: &RefCell<Log>) -> PendingHit {
    let hit = super::hit(store, Scope::Webhook, NOW);
    log.borrow_mut().admitted += 1;
    hit
}

/// One caller. It stays while `stays` says so.
async fn run(
    (store, log): (Rc<SqliteStore>, Rc<RefCell<Log>>),
    work: Work,
    number: usize,
    stays: Rc<Cell<bool>>,
) {
    match work {
        Work::Hit { counts } => {
            let hit = Some(hit(&store, &log)).filter(|_| counts);
            if let Some(hit) = hit {
                store.count(hit).await.unwrap();
            }
        }
        Work::Turn { key, begins, end } => turn((&store, &log), (key, begins, end), number, &stays).await,
        Work::Guess => {
            let redemption = Redemption {
                code: PairingCode::parse(b"000000"),
                client: ClientAddress::from(std::net::IpAddr::from([127, 0, 0, 1])),
                hit: None,
                token_hash: TokenHash::of(b"none"),
            };
            match store.redeem(redemption, NOW).await.unwrap() {
                RedeemOutcome::Refused => log.borrow_mut().refused += 1,
                RedeemOutcome::LockedOut(_) => {}
                RedeemOutcome::Redeemed(_) => panic!("no code is live"),
            }
        }
    }
}

async fn turn(
    (store, log): (&SqliteStore, &Rc<RefCell<Log>>),
    (key, begins, end): (usize, bool, Option<bool>),
    number: usize,
    stays: &Cell<bool>,
) {
    let new = Box::new(NewTurn {
        owner: Owner::Token(TokenId(1)),
        key: Some((IdempotencyKey::parse(KEYS[key].as_bytes()).unwrap(), BodyHash([0; 32]))),
        session: None,
        text: Arc::new(MessageText::new(format!("{} {number}", KEYS[key])).unwrap()),
        hit: Some(hit(store, log)),
    });
    let mut lease = match store.claim(new, NOW).outcome().await.unwrap() {
        ClaimOutcome::Claimed(lease) => lease,
        ClaimOutcome::Answered(answer) => return told(log, key, &answer.text),
        ClaimOutcome::Running(_) => return,
        ClaimOutcome::OtherBody => panic!("there is one body"),
    };
    let held = Held::take(log, key);
    if begins {
        stays.set(true); // work that is on record runs in a task of its own, which nobody ends
        store.begin(&mut lease, NOW).await.unwrap();
    }
    let Some(answered) = end else { return };
    let text = format!("answer {number}");
    let end = if answered {
        TurnEnd::Answered(Answer { text: text.as_str().into(), model: "m".into() }, Account::default())
    } else {
        TurnEnd::Failed("test", Account::default())
    };
    drop(held); // from here on the writer may free the key
    store.settle(&mut lease, &end, NOW).await.unwrap();
    if answered {
        told(log, key, &text);
    }
}

/// A key has one answer for ever.
fn told(log: &RefCell<Log>, key: usize, answer: &str) {
    let first = log.borrow_mut().answers.entry(key).or_insert_with(|| answer.to_owned()).clone();
    assert_eq!(first, answer, "{} was answered twice", KEYS[key]);
}

async fn open(settings: &DatabaseSettings) -> SqliteStore {
    open_with(settings, StoreLimits { saves_memory: false, ..limits() }).await
}

/// A caller, and whether it stays.
type Caller = (Pin<Box<dyn Future<Output = ()>>>, Rc<Cell<bool>>);

/// The callers under a schedule.
struct Schedule {
    store: Rc<SqliteStore>,
    log: Rc<RefCell<Log>>,
    callers: Vec<Caller>,
    started: usize,
    other: SqliteConnection,
    holds: bool,
    /// Batches that the writer was let take.
    batches: usize,
    /// Those of which callers know.
    told: usize,
}

impl Schedule {
    async fn step(&mut self, step: Step) {
        match step {
            Step::Start(work) => {
                self.started += 1;
                let stays = Rc::default();
                let shared = (Rc::clone(&self.store), Rc::clone(&self.log));
                let caller = run(shared, work, self.started, Rc::clone(&stays));
                self.callers.push((Box::pin(caller), stays));
                self.poll(self.callers.len() - 1).await;
            }
            Step::Poll(which) if !self.callers.is_empty() => self.poll(which % self.callers.len()).await,
            Step::Drop(which) if !self.callers.is_empty() => {
                let which = which % self.callers.len();
                if !self.callers[which].1.get() {
                    drop(self.callers.swap_remove(which));
                }
            }
            Step::Batch => self.batch().await,
            Step::Tell => self.tell().await,
            Step::Hold if !self.holds => {
                self.write().await; // what the writer is doing would else come to its end before or after, as it happens
                self.other.execute("BEGIN IMMEDIATE").await.unwrap();
                self.holds = true;
            }
            Step::Release if self.holds => {
                self.other.execute("COMMIT").await.unwrap();
                self.holds = false;
                self.until_written().await;
            }
            Step::Write if !self.holds => self.write().await,
            Step::Poll(_) | Step::Drop(_) | Step::Hold | Step::Release | Step::Write => {}
        }
    }

    async fn poll(&mut self, which: usize) {
        let (caller, _) = &mut self.callers[which];
        if poll_once(caller.as_mut()).await.is_ready() {
            drop(self.callers.swap_remove(which));
        }
    }

    async fn batch(&mut self) {
        let (QueueSenders { callers, calls, work }, gate) =
            (&self.store.shared.queues, &self.store.shared.gate);
        let waits = [callers, calls, work].iter().any(|queue| queue.capacity() < queue.max_capacity());
        if waits && gate.batches_ended() == self.batches {
            self.batches += 1;
            gate.let_through(1);
            gate.wait_for(|so_far| so_far.taken == self.batches).await;
        }
        if !self.holds {
            self.until_written().await;
        }
    }

    /// Callers are told what came of the first batch of which they do not know, if it is written.
    async fn tell(&mut self) {
        let gate = &self.store.shared.gate;
        if self.told < gate.batches_ended() {
            self.told += 1;
            gate.let_tell(1);
            gate.wait_for(|so_far| so_far.told == self.told).await;
            tokio::task::yield_now().await;
        }
    }

    /// What the writer was let take is written.
    async fn until_written(&self) {
        self.store.shared.gate.wait_for(|so_far| so_far.ended == self.batches).await;
    }

    async fn write(&mut self) {
        self.batches += 1;
        let gate = &self.store.shared.gate;
        let (flushed, ()) = tokio::join!(self.store.flush(), async {
            gate.let_through(1);
            gate.let_tell(self.batches - self.told);
        });
        flushed.unwrap();
        self.told = self.batches;
    }

    /// All callers that are left come to their ends, and all is written.
    async fn finish(&mut self) {
        self.step(Step::Release).await;
        while !self.callers.is_empty() {
            for which in (0..self.callers.len()).rev() {
                self.poll(which).await;
            }
            self.write().await;
        }
        self.write().await;
        self.store.shared.gate.open();
        self.store.close().await;
    }
}

async fn number(conn: &mut SqliteConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(conn).await.unwrap()
}

/// What the file must say after all that callers were told.
async fn compare(settings: &DatabaseSettings, (admitted, refused): (i64, u32)) {
    assert_eq!(check(settings, &|_| ()).await.unwrap().findings, []);
    let mut conn = opening::options(settings).connect().await.unwrap();
    let hits = number(&mut conn, "SELECT coalesce(sum(hits), 0) FROM rate_hit").await;
    assert_eq!(hits, admitted, "each admitted hit is on record, and once");
    let unfinished = "SELECT count(*) FROM message WHERE state IN ('accepted', 'running')";
    assert_eq!(number(&mut conn, unfinished).await, 0, "nothing is left at work");
    let twice = "SELECT count(*) - count(DISTINCT idempotency_key) FROM message WHERE state = 'answered'";
    assert_eq!(number(&mut conn, twice).await, 0, "no key was answered twice");
    let failures = "SELECT count(*) + 5 * (SELECT count(*) FROM pairing_lockout) FROM pairing_failure";
    assert!(number(&mut conn, failures).await >= refused.into(), "each refusal was counted");
    assert!(refused <= 5);
    conn.close().await.unwrap();
}

/// What callers were told holds after a restart.
async fn ask_again(settings: &DatabaseSettings, log: &Rc<RefCell<Log>>) {
    let store = open(settings).await;
    let answered = log.borrow().answers.clone();
    for (key, answer) in answered {
        let stays = Cell::new(false);
        let asked = turn((&store, log), (key, false, None), 0, &stays);
        asked.await;
        assert_eq!(log.borrow().answers[&key], answer);
        assert_eq!(log.borrow().held.get(&key).copied().unwrap_or(0), 0);
    }
    store.close().await;
}

fn run_schedule(steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = TempDir::new().unwrap();
        let settings =
            DatabaseSettings { full_sync: false, busy_timeout: Duration::from_mins(5), ..settings(&folder) };
        let store = Rc::new(shut(open(&settings)).await);
        let log = Rc::new(RefCell::new(Log::default()));
        let other = opening::options(&settings).connect().await.unwrap();
        let mut schedule = Schedule {
            store,
            log: Rc::clone(&log),
            callers: Vec::new(),
            started: 0,
            other,
            holds: false,
            batches: 0,
            told: 0,
        };
        for step in steps {
            schedule.step(step).await;
        }
        schedule.finish().await;
        schedule.other.close().await.unwrap();
        let told = (log.borrow().admitted, log.borrow().refused);
        compare(&settings, told).await;
        ask_again(&settings, &log).await;
    });
}

/// How many schedules are run: `MOORGATE_TEST_SCHEDULES`, else few.
fn schedules() -> u32 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the number of schedules is for the test, not for the gateway"
    )]
    let given = std::env::var("MOORGATE_TEST_SCHEDULES");
    given.map_or(32, |number| number.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: schedules(), failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_order_and_whoever_goes_away_every_promise_holds(steps in prop::collection::vec(step(), 20..120)) {
        run_schedule(steps);
    }
}
