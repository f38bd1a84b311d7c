//! What can happen, and how it is chosen.

use super::model::{CLIENTS, KEYS, Model};
use crate::support::random::Random;

/// Who posts, as whom.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// One of [`CLIENTS`].
    pub client: usize,
    /// Which of the tokens given out so far, live or not; `None`: it carries none.
    pub token: Option<usize>,
}

/// How the model takes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Answers,
    Fails,
    /// It thinks until [`Step::Settle`] or [`Step::Fail`]; only one message is thought about at a time.
    Thinks,
}

/// One post to `/webhook`.
#[derive(Debug, Clone, Copy)]
pub struct Post {
    pub caller: Caller,
    /// One of [`KEYS`].
    pub key: Option<usize>,
    /// Which of two bodies.
    pub body: usize,
    pub manner: Manner,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// An operator issues a code.
    Issue,
    /// A client sends one of the codes issued so far, live or not.
    Redeem { client: usize, code: usize },
    /// A client guesses.
    WrongCode { client: usize },
    /// A request that is counted and goes no further.
    Hit(Caller),
    /// A message, which may be a retry.
    Post(Post),
    /// The message that is thought about gets its answer.
    Settle,
    /// The message that is thought about fails.
    Fail,
    /// WhatsApp delivers a message, which may be a redelivery; the reply is taken or refused.
    Deliver { id: usize, taken: bool },
    /// Time goes by.
    Advance(u64),
    /// Somebody sets the wall clock back.
    SetBack(i64),
    /// Somebody sets the wall clock forward.
    SetForward(i64),
    /// What has expired is removed.
    Sweep,
    /// An orderly stop and a start.
    Restart,
    /// `kill -9` and a start.
    Crash,
    /// An operator revokes a token with `sqlite3`.
    Revoke { token: usize },
    /// An operator ends a client's lockout with `sqlite3`.
    Unlock { client: usize },
}

/// Milliseconds that matter: around the ends of windows, lockouts and keys.
const TIMES: [u64; 14] = [
    1, 999, 1000, 7000, 20_000, 59_999, 60_000, 61_000, 150_000, 299_999, 300_000, 600_000, 900_000,
    3_600_000,
];

impl Step {
    /// The next step. Most posts come early in a list, so that their limits and keys are met often.
    pub fn choose(random: &mut Random, model: &Model) -> Self {
        match random.below(100) {
            0..=3 => Self::Issue,
            4..=10 if model.codes() > 0 => {
                // A young code more often than an old one.
                let code = model.codes() - 1 - random.below(model.codes().min(4));
                Self::Redeem { client: random.below(CLIENTS.len()), code }
            }
            11..=21 => Self::WrongCode { client: few(random, CLIENTS.len()) },
            22..=25 => Self::Hit(caller(random, model)),
            67..=70 if model.is_thinking() => Self::Settle,
            71 if model.is_thinking() => Self::Fail,
            72..=75 => Self::Deliver { id: random.below(model.delivered() + 2), taken: random.below(4) > 0 },
            76..=91 => Self::Advance(TIMES[few(random, TIMES.len())]),
            92 => Self::SetBack([1, 30_000, 3_600_000, 90_000_000][random.below(4)]),
            93 => Self::SetForward([1, 1000, 45_000][random.below(3)]),
            94 => Self::Sweep,
            95 if !model.is_thinking() => Self::Restart,
            96 => Self::Crash,
            97 if model.tokens() > 1 => Self::Revoke { token: 1 + random.below(model.tokens() - 1) },
            98 => Self::Unlock { client: few(random, CLIENTS.len()) },
            _ => Self::Post(post(random, model)),
        }
    }
}

/// A number below `end`; a smaller one more often.
fn few(random: &mut Random, end: usize) -> usize {
    random.below(end).min(random.below(end))
}

fn caller(random: &mut Random, model: &Model) -> Caller {
    // An old token, live or not, now and then; none now and then; mostly one of the youngest, or the first.
    let token = match random.below(10) {
        0 => None,
        1 => Some(random.below(model.tokens())),
        2..=5 => Some(model.tokens() - 1 - random.below(model.tokens().min(2))),
        _ => Some(0),
    };
    Caller { client: few(random, CLIENTS.len()), token }
}

fn post(random: &mut Random, model: &Model) -> Post {
    if let Some(thought) = model.thought().filter(|_| random.below(3) == 0) {
        let client = few(random, CLIENTS.len());
        return Post { caller: Caller { client, ..thought.caller }, ..thought };
    }
    let manner = match random.below(20) {
        0..=2 => Manner::Fails,
        3 if !model.is_thinking() => Manner::Thinks,
        _ => Manner::Answers,
    };
    let key = (random.below(6) > 0).then(|| few(random, KEYS.len()));
    Post { caller: caller(random, model), key, body: usize::from(random.below(8) == 0), manner }
}
