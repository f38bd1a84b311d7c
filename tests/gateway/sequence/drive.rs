//! Each step on the real service and on the model, and the comparison of what came of it.

use std::{net::Ipv4Addr, time::Duration};

use moorgate::{domain::token::TokenHash, provider::ProviderError, system::Clock as _};
use serde_json::Value;

use super::{
    look::Look,
    model::{CLIENTS, CODE_FAILURES, KEYS, KEYS_KEPT, Model, PAIR_LIMIT, Told, WEBHOOK_LIMIT, text_of},
    step::{Caller, Manner, Post, Step},
};
use crate::support::{
    client::Reply,
    gateway::Gateway,
    platform::{Behaviour, Platform},
    raw::Raw,
    sender::{undated_message, whatsapp, whatsapp_call, whatsapp_payload},
    wait::{until, until_is},
};

/// An address that the model knows nothing of, for what the driver itself asks.
const APART: &str = "127.9.9.9";

/// A gateway under test beside its model.
pub struct Drive {
    gateway: Option<Gateway>,
    look: Look,
    platform: Platform,
    pub model: Model,
    codes: Vec<String>,
    tokens: Vec<String>,
    thinking: Option<Raw>,
    probes: u32,
}

impl Drive {
    pub async fn start() -> Self {
        let platform = Platform::start();
        let [pair, webhook, failures, kept] =
            [PAIR_LIMIT, WEBHOOK_LIMIT, CODE_FAILURES as usize, KEYS_KEPT].map(|limit| limit.to_string());
        let mut settings = whatsapp(&platform);
        settings.extend([
            ("gateway.pair_rate_limit_per_minute", pair.as_str()),
            ("gateway.webhook_rate_limit_per_minute", &webhook),
            ("gateway.pairing_code_max_failures", &failures),
            ("gateway.idempotency_max_keys", &kept),
            ("gateway.rate_limit_max_keys", "1000000"),
            // What is thought about waits for as many steps as come in between, however long they take.
            ("gateway.request_timeout_secs", "3600"),
            ("provider.timeout_secs", "3600"),
            ("database.busy_timeout_ms", "60000"),
        ]);
        let gateway = Gateway::start_with(&settings).await;
        let token = gateway.client.seen_from(APART).paired(gateway.code.as_ref().unwrap()).await;
        let mut look = Look::at(&gateway.database());
        let id = newest_token(&mut look);
        let model = Model::new(gateway.clock.wall().0, id);
        let (gateway, tokens) = (Some(gateway), vec![token]);
        Self { gateway, look, platform, model, codes: Vec::new(), tokens, thinking: None, probes: 0 }
    }

    fn gateway(&self) -> &Gateway {
        self.gateway.as_ref().unwrap()
    }

    /// Does one step, and fails unless the gateway did as the model.
    pub async fn run(&mut self, step: Step) {
        match step {
            Step::Issue => self.issue().await,
            Step::Redeem { client, code } => self.pair(client, Some(code)).await,
            Step::WrongCode { client } => self.pair(client, None).await,
            Step::Hit(caller) => {
                let told = self.send(caller, "", "{").await;
                assert_eq!(told, self.model.bad_body(caller));
            }
            Step::Post(post) => self.post(post).await,
            Step::Settle => self.settle(true).await,
            Step::Fail => self.settle(false).await,
            Step::Deliver { id, taken } => self.deliver(id, taken).await,
            Step::Advance(_) | Step::SetBack(_) => self.set_clock(step),
            Step::SetForward(_) => {
                self.set_clock(step);
                // The gateway knows of a step once it looks at the clock, which may be set back again before it does.
                self.gateway().client.get("/health").await;
            }
            Step::Sweep => self.gateway().sweep().await,
            Step::Restart => self.restart().await,
            Step::Crash => self.crash().await,
            Step::Revoke { token } => self.revoke(token).await,
            Step::Unlock { client } => {
                self.look.sql(&format!("DELETE FROM pairing_lockout WHERE client = '{}';", CLIENTS[client]));
                self.model.unlock(client);
            }
        }
        let seen = self.look.visible(self.model.now);
        assert_eq!(seen, self.model.visible(), "what the database shows, and what the model says");
    }

    /// Fails unless the database keeps every promise, at work and at rest.
    pub async fn check(&mut self) {
        assert_eq!(self.gateway().findings().await, []);
        if self.thinking.is_some() {
            self.settle(true).await;
        }
        self.gateway.as_mut().unwrap().stop().await;
        assert_eq!(self.gateway().findings().await, []);
    }

    fn set_clock(&mut self, step: Step) {
        let clock = &self.gateway.as_ref().unwrap().clock;
        match step {
            Step::Advance(ms) => {
                clock.advance(Duration::from_millis(ms));
                self.model.advance(ms.try_into().unwrap());
            }
            Step::SetBack(ms) => {
                clock.step_wall(-ms);
                self.model.step_back(ms);
            }
            Step::SetForward(ms) => {
                clock.step_wall(ms);
                self.model.step_forward(ms);
            }
            _ => unreachable!("the clock is not set by {step:?}"),
        }
    }

    /// A command beside the server knows no other time than the wall clock's: it is right before a code is issued.
    async fn issue(&mut self) {
        self.set_clock(Step::SetForward(self.model.behind));
        self.codes.push(self.gateway().another_code().await);
        self.model.issue();
    }

    async fn pair(&mut self, client: usize, code: Option<usize>) {
        let text = code.map_or_else(|| self.wrong_code(), |code| self.codes[code].clone());
        let request =
            format!("POST /pair HTTP/1.1\r\nHost: x\r\nX-Pairing-Code: {text}\r\nContent-Length: 0\r\n\r\n");
        let reply = self.connect(client).await.ask(request).await;
        let told = told_of(&reply);
        if told == Told::Paired {
            self.tokens.push(reply.json()["token"].as_str().unwrap().to_owned());
        }
        let look = &mut self.look;
        assert_eq!(told, self.model.pair(client, code, || newest_token(look)), "{reply:?}");
    }

    /// Six digits that were never issued.
    fn wrong_code(&self) -> String {
        (0..1_000_000).map(|number| format!("{number:06}")).find(|code| !self.codes.contains(code)).unwrap()
    }

    async fn post(&mut self, post: Post) {
        let text = text_of(post.body, post.manner);
        let key = post.key.map_or_else(String::new, |key| format!("X-Idempotency-Key: {}\r\n", KEYS[key]));
        let body = format!(r#"{{"message":"{text}"}}"#);
        let expected = self.model.post(post);
        let model = self.gateway().model.clone();
        match post.manner {
            Manner::Fails => model.fail(Some(ProviderError::RefusedByPolicy)),
            Manner::Thinks if self.thinking.is_none() => model.hold_message(&text),
            Manner::Thinks | Manner::Answers => {}
        }
        if expected == Told::Waits {
            let mut connection = self.connect(post.caller.client).await;
            connection.send(self.request(post.caller, &key, &body)).await;
            self.thinking = Some(connection);
            return self.until_visible().await;
        }
        let told = self.send(post.caller, &key, &body).await;
        model.fail(None);
        if self.thinking.is_none() {
            model.release();
        }
        assert_eq!(told, expected);
    }

    async fn settle(&mut self, answered: bool) {
        let model = self.gateway().model.clone();
        model.fail((!answered).then_some(ProviderError::RefusedByPolicy));
        model.release();
        let reply = self.thinking.take().unwrap().reply().await;
        model.fail(None);
        assert_eq!(told_of(&reply), self.model.settle(answered), "{reply:?}");
    }

    async fn deliver(&mut self, id: usize, taken: bool) {
        self.platform.always(if taken { Behaviour::Take } else { Behaviour::Refuse(400, None) });
        let id = id.min(self.model.delivered());
        let message = undated_message(&format!("wamid.{id}"), "15551234567", &format!("say {id}"));
        let call = whatsapp_call(&self.gateway().client, &whatsapp_payload(&[message]));
        self.gateway().client.send(call).await.assert_is(200, r#"{"status":"ok"}"#);
        self.model.deliver(id, taken);
        self.until_visible().await;
        assert_eq!(self.platform.texts().len(), self.model.replies(), "what the user sees");
    }

    async fn restart(&mut self) {
        self.gateway = Some(self.gateway.take().unwrap().restart().await);
        self.model.restart();
        self.look = Look::at(&self.gateway().database());
    }

    /// After a crash the gateway knows no more than what is on record of the time before, so the wall clock is right.
    async fn crash(&mut self) {
        self.set_clock(Step::SetForward(self.model.behind));
        self.look.sql("BEGIN IMMEDIATE;"); // the files stay as they are while they are copied
        let killed = self.gateway.take().unwrap().killed().await;
        self.gateway = Some(killed);
        self.thinking = None;
        self.look = Look::at(&self.gateway().database());
        self.model.crash();
        self.until_visible().await;
    }

    async fn revoke(&mut self, token: usize) {
        self.probes += 1;
        let marker = format!("zc_{:064x}", self.probes);
        let (id, hash) = (self.model.token_id(token), TokenHash::of(marker.as_bytes()));
        self.look.sql(&format!(
            "BEGIN IMMEDIATE;
             UPDATE token SET revoked_at_ms = 1 WHERE id = {id};
             INSERT INTO token (label, token_hash, source, created_at_ms) VALUES ('marker', '{hash}', 'command', 1);
             COMMIT;"
        ));
        self.model.revoke(token);
        // The gateway has seen the edit as soon as it knows the token that came with it.
        let headers = format!("Authorization: Bearer {marker}\r\n");
        let seen = async || {
            self.probes += 1;
            let [_, high, middle, low] = self.probes.to_be_bytes();
            let address = Ipv4Addr::new(127, 10 + high, middle, low);
            let mut connection = Raw::connect_from(address, self.gateway().address()).await;
            connection.ask(request_with(&headers, "{")).await.status != 401
        };
        until("an edit is seen", seen).await;
    }

    /// Waits for what happens in the background.
    async fn until_visible(&mut self) {
        let expected = self.model.visible();
        let now = self.model.now;
        until_is("what the database shows", &expected, async || self.look.visible(now)).await;
    }

    async fn connect(&self, client: usize) -> Raw {
        Raw::connect_from(CLIENTS[client].parse().unwrap(), self.gateway().address()).await
    }

    fn request(&self, caller: Caller, headers: &str, body: &str) -> String {
        let bearer = caller.token.map(|token| format!("Authorization: Bearer {}\r\n", self.tokens[token]));
        request_with(&format!("{}{headers}", bearer.unwrap_or_default()), body)
    }

    async fn send(&self, caller: Caller, headers: &str, body: &str) -> Told {
        told_of(&self.connect(caller.client).await.ask(self.request(caller, headers, body)).await)
    }
}

fn request_with(headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
}

fn newest_token(look: &mut Look) -> i64 {
    look.sql("SELECT max(id) FROM token WHERE label <> 'marker';").trim().parse().unwrap()
}

/// What a response says.
fn told_of(reply: &Reply) -> Told {
    reply.assert_common_headers();
    let json = reply.json();
    let answer = |json: &Value| json["response"].as_str().unwrap().to_owned();
    let wait = || i64::try_from(reply.retry_after()).unwrap();
    let error = json["error"].as_str().unwrap_or_default();
    match reply.status {
        200 if json["paired"] == true => Told::Paired,
        200 if json["status"] == "duplicate" => Told::Replayed(answer(&json)),
        200 => Told::Answered(answer(&json)),
        400 => Told::BadBody,
        401 => Told::Unauthorized,
        403 => Told::Refused,
        409 => Told::Running(wait()),
        422 => Told::OtherBody,
        429 if error.starts_with("Too many failed attempts") => Told::LockedOut(wait()),
        429 => Told::Limited(wait()),
        500 => Told::Failed,
        _ => panic!("{reply:?}"),
    }
}
