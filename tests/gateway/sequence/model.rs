//! What the gateway should do, in the simplest way that says it: all of it in memory, nothing forgotten but by time.

use std::{collections::BTreeMap, fmt::Write as _};

use super::step::{Caller, Manner, Post};

/// The addresses of the clients.
pub const CLIENTS: [&str; 3] = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
/// The idempotency keys in use.
pub const KEYS: [&str; 8] = ["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"];

pub const PAIR_LIMIT: usize = 8;
pub const WEBHOOK_LIMIT: usize = 10;
pub const KEYS_KEPT: usize = 4;
pub const CODE_FAILURES: u32 = 12;
const LIVE_CODES: usize = 10;
const WINDOW: i64 = 60_000;
const KEY_TTL: i64 = 300_000;
const CODE_TTL: i64 = 3_600_000;
const FAILURE_WINDOW: i64 = 900_000;
const DAY: i64 = 86_400_000;
const FIRST_LOCKOUT: i64 = 300_000;
const LONGEST_LOCKOUT: i64 = 3_600_000;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Paired,
    Refused,
    /// 429 by the limit, with `retry_after`.
    Limited(i64),
    LockedOut(i64),
    Unauthorized,
    BadBody,
    Answered(String),
    Replayed(String),
    Failed,
    /// 409, with `retry_after`.
    Running(i64),
    OtherBody,
    /// Nothing yet: the model thinks.
    Waits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CodeState {
    Live,
    Over,
}

struct Code {
    state: CodeState,
    issued: i64,
    failures: u32,
}

struct Token {
    id: i64,
    live: bool,
}

#[derive(Default)]
struct Client {
    failures: Vec<i64>,
    lockouts: Vec<(i64, i64)>,
}

enum Progress {
    Running(i64),
    /// When, what, and the how-manyeth answer of all it was.
    Answered(i64, String, u64),
}

struct Key {
    body: usize,
    progress: Progress,
}

/// Whose hits: the scope, the token's id or 0, the address.
type Window = (&'static str, i64, &'static str);
/// Whose key, as the database has it, and which.
type KeyId = (String, &'static str);

/// What is thought about.
struct Thought {
    post: Post,
    key: Option<KeyId>,
    text: String,
}

pub struct Model {
    /// The gateway's time, and how far behind the wall clock is.
    pub now: i64,
    pub behind: i64,
    codes: Vec<Code>,
    tokens: Vec<Token>,
    clients: [Client; 3],
    hits: BTreeMap<Window, Vec<i64>>,
    keys: BTreeMap<KeyId, Key>,
    messages: BTreeMap<&'static str, u32>,
    deliveries: BTreeMap<&'static str, u32>,
    delivered: usize,
    thought: Option<Thought>,
    answers: u64,
}

/// Whole seconds, rounded up, at least one.
fn secs(ms: i64) -> i64 {
    ((ms + 999) / 1000).max(1)
}

/// What the body says. It is what the model is asked, and answers with `!`.
pub fn text_of(body: usize, manner: Manner) -> String {
    if manner == Manner::Thinks { format!("think {body}") } else { format!("body {body}") }
}

impl Model {
    /// A gateway with one token, which is never revoked.
    pub fn new(now: i64, first_token: i64) -> Self {
        Self {
            now,
            behind: 0,
            codes: Vec::new(),
            tokens: vec![Token { id: first_token, live: true }],
            clients: Default::default(),
            hits: BTreeMap::new(),
            keys: BTreeMap::new(),
            messages: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            delivered: 0,
            thought: None,
            answers: 0,
        }
    }

    pub fn codes(&self) -> usize {
        self.codes.len()
    }

    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    pub fn token_id(&self, token: usize) -> i64 {
        self.tokens[token].id
    }

    pub fn delivered(&self) -> usize {
        self.delivered
    }

    pub fn is_thinking(&self) -> bool {
        self.thought.is_some()
    }

    /// The post that is thought about, if it has a key.
    pub fn thought(&self) -> Option<Post> {
        self.thought.as_ref().map(|thought| thought.post).filter(|post| post.key.is_some())
    }

    /// The replies that the platform took.
    pub fn replies(&self) -> usize {
        self.deliveries.get("sent").map_or(0, |sent| *sent as usize)
    }

    pub fn advance(&mut self, ms: i64) {
        self.now += ms;
    }

    /// Time does not go back with the wall clock.
    pub fn step_back(&mut self, ms: i64) {
        self.behind += ms;
    }

    /// Time jumps where the wall clock gets ahead of it.
    pub fn step_forward(&mut self, ms: i64) {
        self.now += (ms - self.behind).max(0);
        self.behind = (self.behind - ms).max(0);
    }

    pub fn issue(&mut self) {
        self.codes.push(Code { state: CodeState::Live, issued: self.now, failures: 0 });
        let now = self.now;
        let live = self.codes.iter_mut().filter(|code| code.is_live(now));
        live.rev().skip(LIVE_CODES).for_each(|code| code.state = CodeState::Over);
    }

    /// A code comes in; `None`: one that was never issued. `token` is the id of the token that it may bring.
    pub fn pair(&mut self, client: usize, code: Option<usize>, token: impl FnOnce() -> i64) -> Told {
        if let Err(wait) = self.hit(("pair", 0, CLIENTS[client])) {
            return Told::Limited(wait);
        }
        let (now, history) = (self.now, &mut self.clients[client]);
        let locked = history.lockouts.iter().map(|(at, until)| (until - now).min(until - at)).max();
        if let Some(left) = locked.filter(|left| *left > 0) {
            return Told::LockedOut(secs(left));
        }
        if let Some(code) = code.map(|code| &mut self.codes[code]).filter(|code| code.is_live(now)) {
            code.state = CodeState::Over;
            *history = Client::default();
            self.tokens.push(Token { id: token(), live: true });
            return Told::Paired;
        }
        for code in self.codes.iter_mut().filter(|code| code.is_live(now)) {
            code.failures += 1;
            if code.failures >= CODE_FAILURES {
                code.state = CodeState::Over;
            }
        }
        history.failures.retain(|at| now - at < FAILURE_WINDOW);
        history.failures.push(now);
        if history.failures.len() == 5 {
            let earlier = history.lockouts.iter().filter(|(at, _)| now - at < DAY).count();
            let length = (FIRST_LOCKOUT << earlier.min(10)).min(LONGEST_LOCKOUT);
            history.lockouts.push((now, now + length));
            history.failures.clear();
        }
        Told::Refused
    }

    /// A request with a body that is none.
    pub fn bad_body(&mut self, caller: Caller) -> Told {
        match self.admit(caller) {
            Err(told) => told,
            Ok(_) => Told::BadBody,
        }
    }

    pub fn post(&mut self, post: Post) -> Told {
        let token = match self.admit(post.caller) {
            Err(told) => return told,
            Ok(token) => token,
        };
        let id = post.key.map(|key| (format!("token:{token}"), KEYS[key]));
        // Both are posted with the text of how the model takes them, and the key is bound to that.
        let body = post.body * 2 + usize::from(post.manner == Manner::Thinks);
        if let Some(told) = id.as_ref().and_then(|id| self.told_by_key(id, body)) {
            return told;
        }
        let text = text_of(post.body, post.manner);
        match post.manner {
            Manner::Fails => {
                self.count("failed");
                self.keys.retain(|key, _| id.as_ref() != Some(key)); // an expired one gives way
                Told::Failed
            }
            Manner::Thinks => {
                if let Some(id) = &id {
                    self.keys.insert(id.clone(), Key { body, progress: Progress::Running(self.now) });
                }
                self.thought = Some(Thought { post, key: id, text });
                Told::Waits
            }
            Manner::Answers => {
                if let Some(id) = &id {
                    self.keys.insert(id.clone(), Key { body, progress: Progress::Running(self.now) });
                }
                self.answer(id.as_ref(), &text)
            }
        }
    }

    /// What is thought about gets its answer, or fails.
    pub fn settle(&mut self, answered: bool) -> Told {
        let Thought { key, text, .. } = self.thought.take().unwrap();
        if answered {
            return self.answer(key.as_ref(), &text);
        }
        self.count("failed");
        self.keys.retain(|id, _| key.as_ref() != Some(id));
        Told::Failed
    }

    /// What was cut goes on if it has a key.
    pub fn crash(&mut self) {
        match &self.thought {
            Some(Thought { key: Some(_), .. }) => {
                self.settle(true);
            }
            Some(Thought { key: None, .. }) => {
                self.thought = None;
                self.count("interrupted");
            }
            None => {}
        }
    }

    /// An orderly restart while the wall clock is behind: everything keeps its age, but hits count from now at most.
    pub fn restart(&mut self) {
        let by = std::mem::take(&mut self.behind);
        let before = self.now;
        self.now -= by;
        let now = self.now;
        self.hits.values_mut().for_each(|hits| hits.retain(|at| before - at < WINDOW));
        self.hits.values_mut().flatten().for_each(|at| *at = (*at).min(now));
        self.codes.iter_mut().for_each(|code| code.issued -= by);
        for client in &mut self.clients {
            client.failures.iter_mut().for_each(|at| *at -= by);
            client.lockouts.iter_mut().for_each(|(at, until)| (*at, *until) = (*at - by, *until - by));
        }
        for key in self.keys.values_mut() {
            if let Progress::Answered(at, ..) = &mut key.progress {
                *at -= by;
            }
        }
    }

    /// A message of the platform. Whether it is a new one.
    pub fn deliver(&mut self, id: usize, taken: bool) -> bool {
        let is_new = id >= self.delivered;
        if is_new {
            self.delivered += 1;
            self.count("answered");
            *self.deliveries.entry(if taken { "sent" } else { "dead" }).or_default() += 1;
        }
        is_new
    }

    pub fn revoke(&mut self, token: usize) {
        self.tokens[token].live = false;
    }

    pub fn unlock(&mut self, client: usize) {
        self.clients[client].lockouts.clear();
    }

    /// Everything that an operator can see, as [`super::look::QUERY`] writes it.
    pub fn visible(&self) -> String {
        let mut out = String::new();
        let now = self.now;
        let live = self.tokens.iter().filter(|token| token.live).count();
        writeln!(out, "tokens {live} {}", self.tokens.len() - live).unwrap();
        for code in self.codes.iter().filter(|code| code.is_live(now)) {
            writeln!(out, "code {}", code.failures).unwrap();
        }
        for (client, address) in self.clients.iter().zip(CLIENTS) {
            let failures = client.failures.iter().filter(|at| now - **at < FAILURE_WINDOW).count();
            if failures > 0 {
                writeln!(out, "failures {address} {failures}").unwrap();
            }
        }
        for (client, address) in self.clients.iter().zip(CLIENTS) {
            let recent = client.lockouts.iter().filter(|(at, _)| now - at < DAY);
            if let Some(until) = recent.clone().map(|(_, until)| *until).max() {
                writeln!(out, "lockouts {address} {} {}", recent.count(), (until - now).max(0)).unwrap();
            }
        }
        for ((scope, token, address), hits) in &self.hits {
            let hits = hits.iter().filter(|at| now - **at < WINDOW).count();
            if hits > 0 {
                writeln!(out, "hits {scope} {token} {address} {hits}").unwrap();
            }
        }
        for ((owner, key), record) in &self.keys {
            match record.progress {
                Progress::Running(_) => writeln!(out, "key {owner} {key} running").unwrap(),
                Progress::Answered(at, ..) if now - at < KEY_TTL => {
                    writeln!(out, "key {owner} {key} answered").unwrap();
                }
                Progress::Answered(..) => {}
            }
        }
        let mut messages = self.messages.clone();
        if self.thought.is_some() {
            messages.insert("running", 1);
        }
        for (state, count) in &messages {
            writeln!(out, "messages {state} {count}").unwrap();
        }
        for (state, count) in &self.deliveries {
            writeln!(out, "deliveries {state} {count}").unwrap();
        }
        out
    }

    /// The token's id, or what a request is told that does not get so far.
    fn admit(&mut self, caller: Caller) -> Result<i64, Told> {
        let token = caller.token.map(|token| &self.tokens[token]).filter(|token| token.live);
        let id = token.map(|token| token.id);
        self.hit(("webhook", id.unwrap_or(0), CLIENTS[caller.client])).map_err(Told::Limited)?;
        id.ok_or(Told::Unauthorized)
    }

    /// Counts a hit, or says when the next one is admitted.
    fn hit(&mut self, window: Window) -> Result<(), i64> {
        let limit = if window.0 == "pair" { PAIR_LIMIT } else { WEBHOOK_LIMIT };
        let (now, hits) = (self.now, self.hits.entry(window).or_default());
        hits.retain(|at| now - at < WINDOW);
        match hits.first() {
            Some(oldest) if hits.len() >= limit => Err(secs(oldest + WINDOW - now)),
            _ => {
                hits.push(now);
                Ok(())
            }
        }
    }

    fn told_by_key(&self, id: &KeyId, body: usize) -> Option<Told> {
        let key = self.keys.get(id)?;
        match &key.progress {
            Progress::Answered(at, ..) if self.now - at >= KEY_TTL => None,
            _ if key.body != body => Some(Told::OtherBody),
            Progress::Running(since) => Some(Told::Running(secs(self.now - since).clamp(1, 30))),
            Progress::Answered(_, answer, _) => Some(Told::Replayed(answer.clone())),
        }
    }

    /// The key is answered, and the oldest of too many gives way.
    fn answer(&mut self, id: Option<&KeyId>, text: &str) -> Told {
        self.count("answered");
        let answer = format!("{text}!");
        let Some(id) = id else { return Told::Answered(answer) };
        let body = self.keys.remove(id).unwrap().body;
        let owned = self.keys.iter().filter(|((owner, _), _)| *owner == id.0);
        let mut ages: Vec<_> = owned
            .filter_map(|(id, key)| match key.progress {
                Progress::Answered(_, _, number) => Some((number, id.clone())),
                Progress::Running(_) => None,
            })
            .collect();
        ages.sort();
        for (_, oldest) in ages.iter().take((ages.len() + 1).saturating_sub(KEYS_KEPT)) {
            self.keys.remove(oldest);
        }
        self.answers += 1;
        self.keys.insert(
            id.clone(),
            Key { body, progress: Progress::Answered(self.now, answer.clone(), self.answers) },
        );
        Told::Answered(answer)
    }

    fn count(&mut self, state: &'static str) {
        *self.messages.entry(state).or_default() += 1;
    }
}

impl Code {
    fn is_live(&self, now: i64) -> bool {
        self.state == CodeState::Live && now - self.issued < CODE_TTL
    }
}
