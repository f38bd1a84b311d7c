//! The clients that post while the gateway is killed.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{sync::watch, time::Instant};

use super::{
    WORKERS,
    ledger::{Admission, Answer, Ledger},
};
use crate::support::{
    client::{Client, Reply},
    process::LONGEST_WAIT,
    random::Random,
};

/// Enough that no worker runs out of clients.
const CLIENTS: usize = 300;

/// What the workers share.
pub struct Load {
    pub tokens: Vec<String>,
    ledger: Mutex<Ledger>,
    /// The client that each worker posts as.
    current: [AtomicUsize; WORKERS],
    next_client: AtomicUsize,
    run: AtomicUsize,
    answers: watch::Sender<usize>,
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
            tokens: (0..CLIENTS).map(|client| format!("zc_{client:064x}")).collect(),
            ledger: Mutex::default(),
            current: std::array::from_fn(AtomicUsize::new),
            next_client: AtomicUsize::new(WORKERS),
            run: AtomicUsize::new(0),
            answers: watch::Sender::new(0),
            cuts_expected: AtomicBool::new(false),
        }
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub fn begin_run(&self, run: usize) {
        self.run.store(run, Ordering::SeqCst);
        self.cuts_expected.store(false, Ordering::SeqCst);
        self.answers.send_replace(0);
    }

    /// Waits until so many answers have arrived in this run.
    pub async fn wait_for_answers(&self, answers: usize) {
        let mut arrived = self.answers.subscribe();
        let enough = arrived.wait_for(|arrived| *arrived >= answers);
        tokio::time::timeout(LONGEST_WAIT, enough).await.expect("answers arrive").unwrap();
    }

    /// From now on a request may end without a response.
    pub fn expect_cuts(&self) {
        self.cuts_expected.store(true, Ordering::SeqCst);
    }

    /// A message for this worker to post: now and then one that was cut, or one that has its answer; mostly a new one.
    fn choose(&self, worker: usize, random: &mut Random) -> usize {
        let mut ledger = self.ledger();
        let choice = random.below(8);
        let open = |number: &usize| choice == 0 || ledger.messages[*number].answer.is_none();
        let known: Vec<_> = (0..ledger.messages.len()).filter(open).collect();
        if choice > 2 || known.is_empty() {
            return ledger.add(&self.tokens[self.current[worker].load(Ordering::SeqCst)]);
        }
        known[random.below(known.len())]
    }

    async fn post(&self, client: &Client, number: usize) -> Outcome {
        let (message, run) = (self.ledger().messages[number].clone(), self.run.load(Ordering::SeqCst));
        let sent = Instant::now();
        let request = client.message(&message.token, Some(&message.key), &message.text);
        let Ok(reply) = client.try_send(request).await else {
            assert!(self.cuts_expected.load(Ordering::SeqCst), "the gateway cut a request unasked");
            return Outcome::Cut;
        };
        let mut ledger = self.ledger();
        if reply.status == 429 {
            ledger.refuse(&message.token, run);
            return Outcome::Refused;
        }
        ledger.admit(&message.token, Admission { sent, answered: Instant::now(), run });
        self.note(&mut ledger, number, &reply, run);
        Outcome::Admitted
    }

    fn note(&self, ledger: &mut Ledger, number: usize, reply: &Reply, run: usize) {
        match reply.status {
            200 => {
                ledger.answer(number, &Answer::of(reply, run));
                self.answers.send_modify(|answers| *answers += 1);
            }
            409 => {}
            _ => panic!("{reply:?}"),
        }
    }
}

/// Posts one message after the other until the gateway is gone; some of them twice at once.
pub async fn work(worker: usize, load: std::sync::Arc<Load>, client: Client, mut random: Random) {
    loop {
        let number = load.choose(worker, &mut random);
        let twice = random.below(4) == 0;
        let again = async { if twice { load.post(&client, number).await } else { Outcome::Admitted } };
        let outcomes = tokio::join!(load.post(&client, number), again);
        if outcomes.0 == Outcome::Cut || outcomes.1 == Outcome::Cut {
            return;
        }
        let current = &load.current[worker];
        let mine = load.tokens[current.load(Ordering::SeqCst)] == load.ledger().messages[number].token;
        if mine && (outcomes.0 == Outcome::Refused || outcomes.1 == Outcome::Refused) {
            current.store(load.next_client.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
        }
    }
}
