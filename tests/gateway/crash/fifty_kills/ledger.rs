//! What the clients know: what they sent, and what they were told.

use std::collections::HashMap;

use tokio::time::{Duration, Instant};

use crate::support::client::Reply;

const WINDOW: Duration = Duration::from_mins(1);

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
    /// The first answer that arrived.
    pub answer: Option<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    response: String,
    pub model: String,
    /// The run in which it arrived.
    pub seen_in: usize,
}

impl Answer {
    pub fn of(reply: &Reply, seen_in: usize) -> Self {
        let json = reply.json();
        let text =
            |name: &str| json[name].as_str().unwrap_or_else(|| panic!("no {name}: {reply:?}")).to_owned();
        Self { response: text("response"), model: text("model"), seen_in }
    }

    pub fn is_same(&self, other: &Self) -> bool {
        (&self.response, &self.model) == (&other.response, &other.model)
    }
}

/// When a request was under way that was admitted.
#[derive(Debug, Clone, Copy)]
pub struct Admission {
    pub sent: Instant,
    pub answered: Instant,
    pub run: usize,
}

#[derive(Default)]
pub struct Ledger {
    pub messages: Vec<Message>,
    admissions: HashMap<String, Vec<Admission>>,
    refusals: HashMap<String, usize>, // by token, the run of the last one
}

impl Ledger {
    /// Adds a message of a client; says which it is.
    pub fn add(&mut self, token: &str) -> usize {
        let number = self.messages.len();
        let (key, text) = (format!("key-{number}"), format!("message {number}"));
        self.messages.push(Message { token: token.to_owned(), key, text, answer: None });
        number
    }

    /// Notes an answer, which must be the one that the key had before.
    pub fn answer(&mut self, number: usize, answer: &Answer) {
        let message = &mut self.messages[number];
        let first = message.answer.get_or_insert_with(|| answer.clone());
        assert!(first.is_same(answer), "{message:?} got another answer: {answer:?}");
    }

    pub fn admit(&mut self, token: &str, admission: Admission) {
        self.admissions.entry(token.to_owned()).or_default().push(admission);
    }

    pub fn refuse(&mut self, token: &str, run: usize) {
        self.refusals.insert(token.to_owned(), run);
    }

    /// No client got more than `limit` requests admitted in any 60 s, and some were refused for what they did before a
    /// kill.
    pub fn check_limit(&self, limit: usize) {
        for (token, admissions) in &self.admissions {
            let mut admissions = admissions.clone();
            admissions.sort_by_key(|admission| admission.answered);
            for too_many in admissions.windows(limit + 1) {
                let first = too_many.iter().map(|admission| admission.sent).min().unwrap();
                let span = too_many[limit].answered - first;
                assert!(span > WINDOW, "{token}: {} in {span:?}: {too_many:?}", limit + 1);
            }
        }
        let over_a_kill =
            self.refusals.iter().filter(|(token, run)| self.began(token).is_some_and(|began| began < **run));
        assert!(over_a_kill.count() > 0, "no client used up its limit over a kill");
    }

    /// The run in which a client was first admitted.
    fn began(&self, token: &str) -> Option<usize> {
        self.admissions.get(token)?.iter().map(|admission| admission.run).min()
    }
}
