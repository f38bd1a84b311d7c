//! What the clients know: what they sent, and what they were told.

use std::collections::HashMap;

use tokio::time::{Duration, Instant};

use crate::support::client::Reply;

/// The model that the gateway asks in a run: so each call and each answer tells its run. The names sort by it.
pub fn model_of(run: usize) -> String {
    format!("run-{run:03}")
}

/// A message that was sent, perhaps more than once.
#[derive(Debug, Clone)]
pub struct Message {
    pub token: String,
    pub key: String,
    pub text: String,
    /// Whether it is a turn of its client's session.
    pub in_session: bool,
    /// When it was first sent, or a little earlier.
    pub sent: Instant,
    /// The first answer that arrived.
    pub answer: Option<Answer>,
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub response: String,
    pub model: String,
    /// The run in which it arrived.
    pub seen_in: usize,
    pub seen: Instant,
}

impl Answer {
    pub fn of(reply: &Reply, seen_in: usize) -> Self {
        let json = reply.json();
        let text =
            |name: &str| json[name].as_str().unwrap_or_else(|| panic!("no {name}: {reply:?}")).to_owned();
        Self { response: text("response"), model: text("model"), seen_in, seen: Instant::now() }
    }

    pub fn is_same(&self, other: &Self) -> bool {
        (&self.response, &self.model) == (&other.response, &other.model)
    }
}

/// When a request was under way that was counted.
#[derive(Debug, Clone, Copy)]
pub struct Counted {
    pub sent: Instant,
    pub answered: Instant,
    pub run: usize,
}

/// The requests that were counted against one client.
#[derive(Debug, Default)]
pub struct History(Vec<Counted>);

impl History {
    pub fn add(&mut self, counted: Counted) {
        self.0.push(counted);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In no window of this length were more than `limit`.
    pub fn check_limit(&self, client: &str, limit: usize, window: Duration) {
        let mut counted = self.0.clone();
        counted.sort_by_key(|counted| counted.answered);
        for too_many in counted.windows(limit + 1) {
            let first = too_many.iter().map(|counted| counted.sent).min().unwrap();
            let span = too_many[limit].answered - first;
            assert!(span > window, "{client}: {} in {span:?}: {too_many:?}", limit + 1);
        }
    }

    fn began(&self) -> Option<usize> {
        self.0.iter().map(|counted| counted.run).min()
    }
}

#[derive(Default)]
pub struct Ledger {
    pub messages: Vec<Message>,
    admissions: HashMap<String, History>, // by token
    refusals: HashMap<String, usize>,     // by token, the run of the last one
}

impl Ledger {
    /// Adds a message of a client; says which it is.
    pub fn add(&mut self, token: &str, in_session: bool) -> usize {
        let number = self.messages.len();
        let (key, text) = (format!("key-{number}"), format!("message {number}"));
        let (token, sent) = (token.to_owned(), Instant::now());
        self.messages.push(Message { token, key, text, in_session, sent, answer: None });
        number
    }

    /// Notes an answer, which must be the one that the key had before.
    pub fn answer(&mut self, number: usize, answer: &Answer) {
        let message = &mut self.messages[number];
        let first = message.answer.get_or_insert_with(|| answer.clone());
        assert!(first.is_same(answer), "{message:?} got another answer: {answer:?}");
    }

    pub fn admit(&mut self, token: &str, counted: Counted) {
        self.admissions.entry(token.to_owned()).or_default().add(counted);
    }

    pub fn refuse(&mut self, token: &str, run: usize) {
        self.refusals.insert(token.to_owned(), run);
    }

    /// No client got more than `limit` requests admitted in any 60 s, and some were refused for what they did before a
    /// kill.
    pub fn check_limit(&self, limit: usize) {
        for (token, admissions) in &self.admissions {
            admissions.check_limit(token, limit, Duration::from_mins(1));
        }
        let began = |token: &String| self.admissions.get(token)?.began();
        let over_a_kill =
            self.refusals.iter().filter(|(token, run)| began(token).is_some_and(|began| began < **run));
        assert!(over_a_kill.count() > 0, "no client used up its limit over a kill");
    }
}
