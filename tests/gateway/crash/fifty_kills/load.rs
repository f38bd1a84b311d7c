//! The clients that post while the gateway is killed.

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use reqwest::RequestBuilder;
use tokio::{sync::watch, time::Instant};

use super::{
    WORKERS,
    ledger::{Answer, Counted, Ledger, Message},
    pairing::Pairing,
    platform::HandedOver,
};
use crate::support::{
    client::{Client, Reply},
    process::LONGEST_WAIT,
    random::Random,
};

/// What a kill may wait for, and how much of it at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The answer to a message.
    Answer,
    /// The answer to a guessed code.
    Guess,
    /// A platform was told that its message is there.
    Receipt,
    /// A platform got a reply.
    Reply,
}

impl Event {
    /// All of them, with how often each happens in a run that is not killed, at least.
    pub const ALL: [(Self, usize); 4] =
        [(Self::Answer, 20), (Self::Guess, 3), (Self::Receipt, 3), (Self::Reply, 3)];
}

/// What the workers share.
pub struct Load {
    /// The tokens that workers post with: those that were imported, and those of pairings.
    tokens: Mutex<Vec<String>>,
    ledger: Mutex<Ledger>,
    pairing: Mutex<Pairing>,
    pub handed_over: HandedOver,
    /// The client that each worker posts as.
    current: [AtomicUsize; WORKERS],
    next_client: AtomicUsize,
    addresses: AtomicUsize,
    run: AtomicUsize,
    happened: watch::Sender<[usize; Event::ALL.len()]>,
    cuts_expected: AtomicBool,
}

/// What came of one request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Admitted,
    Refused,
    Cut,
}

impl Load {
    pub fn new() -> Self {
        Self {
            tokens: Mutex::default(),
            ledger: Mutex::default(),
            pairing: Mutex::default(),
            handed_over: HandedOver::default(),
            current: std::array::from_fn(AtomicUsize::new),
            next_client: AtomicUsize::new(WORKERS),
            addresses: AtomicUsize::new(0),
            run: AtomicUsize::new(0),
            happened: watch::Sender::default(),
            cuts_expected: AtomicBool::new(false),
        }
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub fn pairing(&self) -> MutexGuard<'_, Pairing> {
        self.pairing.lock().unwrap()
    }

    pub fn run(&self) -> usize {
        self.run.load(Ordering::SeqCst)
    }

    pub fn add_tokens(&self, tokens: impl IntoIterator<Item = String>) {
        self.tokens.lock().unwrap().extend(tokens);
    }

    pub fn begin_run(&self, run: usize) {
        self.run.store(run, Ordering::SeqCst);
        self.cuts_expected.store(false, Ordering::SeqCst);
        self.happened.send_replace(Default::default());
    }

    pub fn happened(&self, event: Event) {
        self.happened.send_modify(|happened| happened[event as usize] += 1);
    }

    /// Waits until this has happened so often in this run.
    pub async fn wait_for(&self, event: Event, times: usize) {
        let mut happened = self.happened.subscribe();
        let enough = happened.wait_for(|happened| happened[event as usize] >= times);
        let waited = tokio::time::timeout(LONGEST_WAIT, enough).await;
        waited.unwrap_or_else(|_| panic!("no {times} of {event:?}")).unwrap();
    }

    /// From now on a request may end without a response.
    pub fn expect_cuts(&self) {
        self.cuts_expected.store(true, Ordering::SeqCst);
    }

    /// The response, or `None` if the gateway was killed.
    pub async fn send(&self, client: &Client, request: RequestBuilder) -> Option<(Reply, Counted)> {
        let (run, sent) = (self.run(), Instant::now());
        match client.try_send(request).await {
            Ok(reply) => Some((reply, Counted { sent, answered: Instant::now(), run })),
            Err(error) => {
                let expected = self.cuts_expected.load(Ordering::SeqCst);
                assert!(expected, "the gateway cut a request unasked: {error}");
                None
            }
        }
    }

    /// An address that nothing was sent from yet, so that it is within every limit, and uses up none of anybody's.
    pub fn unused_address(&self) -> String {
        let number = self.addresses.fetch_add(1, Ordering::SeqCst);
        format!("127.{}.{}.{}", 1 + number / 62_500, number / 250 % 250, 1 + number % 250)
    }

    fn token_of(&self, worker: usize) -> String {
        self.tokens.lock().unwrap()[self.current[worker].load(Ordering::SeqCst)].clone()
    }

    /// The worker posts as the next client from now on, if there is one.
    fn take_next_client(&self, worker: usize) {
        let clients = self.tokens.lock().unwrap().len();
        let next = |next: usize| (next < clients).then_some(next + 1);
        if let Ok(client) = self.next_client.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) {
            self.current[worker].store(client, Ordering::SeqCst);
        }
    }

    /// A message for this worker to post: now and then one that was cut, or one that has its answer; mostly a new one.
    fn choose(&self, worker: usize, random: &mut Random) -> usize {
        let mut ledger = self.ledger();
        let choice = random.below(8);
        let open = |number: &usize| choice == 0 || ledger.messages[*number].answer.is_none();
        let known: Vec<_> = (0..ledger.messages.len()).filter(open).collect();
        if choice > 2 || known.is_empty() {
            return ledger.add(&self.token_of(worker), random.below(3) == 0);
        }
        known[random.below(known.len())]
    }

    async fn post(&self, client: &Client, number: usize) -> Outcome {
        let message = self.ledger().messages[number].clone();
        let Some((reply, counted)) = self.send(client, request(client, &message)).await else {
            return Outcome::Cut;
        };
        let mut ledger = self.ledger();
        if reply.status == 429 {
            ledger.refuse(&message.token, counted.run);
            return Outcome::Refused;
        }
        ledger.admit(&message.token, counted);
        match reply.status {
            200 => {
                ledger.answer(number, &Answer::of(&reply, counted.run));
                self.happened(Event::Answer);
            }
            409 => {}
            _ => panic!("{message:?}: {reply:?}"),
        }
        Outcome::Admitted
    }
}

/// The request that a message is posted with.
pub fn request(client: &Client, message: &Message) -> RequestBuilder {
    let request = client.message(&message.token, Some(&message.key), &message.text);
    if message.in_session { request.header("X-Session-Id", "session") } else { request }
}

/// Posts one message after the other until the gateway is gone; some of them twice at once.
pub async fn work(worker: usize, load: Arc<Load>, client: Client, mut random: Random) {
    loop {
        let number = load.choose(worker, &mut random);
        let twice = random.below(4) == 0;
        let again = async { if twice { load.post(&client, number).await } else { Outcome::Admitted } };
        let outcomes = tokio::join!(load.post(&client, number), again);
        if outcomes.0 == Outcome::Cut || outcomes.1 == Outcome::Cut {
            return;
        }
        let mine = load.token_of(worker) == load.ledger().messages[number].token;
        if mine && (outcomes.0 == Outcome::Refused || outcomes.1 == Outcome::Refused) {
            load.take_next_client(worker);
        }
    }
}
