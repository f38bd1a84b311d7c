//! Clients that pair with the right code, and one that guesses.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use reqwest::{Method, RequestBuilder};
use tokio::time::Duration;

use super::{
    ledger::{Counted, History},
    load::{Event, Load},
};
use crate::{
    crash::WRONG_CODE,
    support::{
        client::{Client, Reply},
        gateway::sqlite3,
        process::{Process, moorgate, run},
        random::Random,
    },
};

/// Requests to `/pair` that one client may make in a minute.
pub const PAIR_LIMIT: usize = 7;
/// The failure with this number within a quarter of an hour locks the client out.
const FAILURES: usize = 5;
const FAILURE_WINDOW: Duration = Duration::from_mins(15);

/// What those who pair and guess know.
#[derive(Default)]
pub struct Pairing {
    codes: Vec<Code>,
    /// Who guesses now, and what is known of everybody who did, by address.
    guesser: Option<String>,
    guesses: HashMap<String, Guesses>,
}

struct Code {
    code: String,
    state: CodeState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum CodeState {
    /// Nobody was told anything of it.
    Unused,
    /// It was sent, and the gateway was killed.
    Cut,
    /// It brought this token, in this run.
    Paired(String, usize),
    /// It was cut, and was spent then: nobody has its token.
    Lost,
}

#[derive(Debug, Default)]
struct Guesses {
    /// Requests within the rate limit.
    counted: History,
    /// Those that were told that the code is wrong.
    failed: History,
    /// Those of which nobody knows whether they were counted.
    cut: usize,
    locked_out: bool,
}

impl Guesses {
    /// Notes an answer; says whether this client has nothing more to find out.
    fn note(&mut self, reply: &Reply, counted: Counted) -> bool {
        match reply.status {
            403 => {
                assert!(!self.locked_out, "the lockout is over: {self:?}");
                self.failed.add(counted);
            }
            429 if reply.text.contains("Too many pairing requests") => {
                assert!(self.counted.len() + self.cut >= PAIR_LIMIT, "it is within its limit: {self:?}");
                return true;
            }
            429 if reply.text.contains("Too many failed attempts") => {
                assert!(self.failed.len() + self.cut >= FAILURES, "it is locked out too soon: {self:?}");
                self.locked_out = true;
            }
            _ => panic!("{reply:?}"),
        }
        self.counted.add(counted);
        false
    }
}

fn with_code(client: &Client, code: &str) -> RequestBuilder {
    client.request(Method::POST, "/pair").header("X-Pairing-Code", code)
}

/// Guesses some codes, as one client until its requests are used up, and as another one then.
pub async fn guess(load: Arc<Load>, client: Client, mut random: Random) {
    for _ in 0..3 + random.below(6) {
        let address = load.pairing().guesser.get_or_insert_with(|| load.unused_address()).clone();
        let client = client.seen_from(&address);
        let answer = load.send(&client, with_code(&client, WRONG_CODE)).await;
        let pairing = &mut *load.pairing();
        let guesses = pairing.guesses.entry(address).or_default();
        let Some((reply, counted)) = answer else {
            guesses.cut += 1;
            return;
        };
        if guesses.note(&reply, counted) {
            pairing.guesser = None;
        }
        load.happened(Event::Guess);
    }
}

/// Pairs with a code: one that was cut, or a new one, which a command issues meanwhile.
pub async fn pair(load: Arc<Load>, client: Client, folder: PathBuf, mut random: Random) {
    if random.below(2) == 0 {
        return;
    }
    if load.pairing().open().is_none() {
        let issue = move || run(moorgate(&folder).arg("pair"));
        let ended = tokio::task::spawn_blocking(issue).await.unwrap();
        let code = ended.out.lines().next().and_then(|line| line.strip_prefix("X-Pairing-Code: "));
        let code = code.unwrap_or_else(|| panic!("{ended:?}")).to_owned();
        load.pairing().codes.push(Code { code, state: CodeState::Unused });
    }
    redeem(&load, &client).await;
}

/// Sends the code that is not known to be spent.
async fn redeem(load: &Load, client: &Client) {
    let open = load.pairing().open();
    let Some(number) = open else { return };
    let code = load.pairing().codes[number].code.clone();
    let client = client.seen_from(&load.unused_address());
    let answer = load.send(&client, with_code(&client, &code)).await;
    let mut pairing = load.pairing();
    let state = &mut pairing.codes[number].state;
    *state = match answer {
        None => CodeState::Cut,
        Some((reply, counted)) if reply.status == 200 => {
            let token = reply.json()["token"].as_str().unwrap().to_owned();
            load.add_tokens([token.clone()]);
            CodeState::Paired(token, counted.run)
        }
        Some((reply, _)) => {
            assert_eq!((reply.status, &*state), (403, &CodeState::Cut), "{reply:?}");
            CodeState::Lost
        }
    };
}

impl Pairing {
    fn open(&self) -> Option<usize> {
        self.codes.iter().position(|code| matches!(code.state, CodeState::Unused | CodeState::Cut))
    }

    /// The codes that were redeemed from this run on, with their tokens.
    fn redeemed_since(&self, run: usize) -> Vec<(String, String)> {
        let redeemed = self.codes.iter().filter_map(|code| match &code.state {
            CodeState::Paired(token, paired_in) if *paired_in >= run => {
                Some((code.code.clone(), token.clone()))
            }
            _ => None,
        });
        redeemed.collect()
    }
}

/// The tokens of the codes that were redeemed since a run work, and the codes do not.
pub async fn check_redeemed_since(run: usize, load: &Load, client: &Client) {
    let redeemed = load.pairing().redeemed_since(run);
    for (code, token) in redeemed {
        let client = client.seen_from(&load.unused_address());
        assert_eq!(client.pair(&code).await.status, 403, "a code was good twice");
        let reply = client.post(&token, None, " ").await;
        assert_eq!(reply.status, 400, "the token of a pairing is not known: {reply:?}");
    }
}

/// All that was told of codes, failures and lockouts holds.
pub async fn check(load: &Load, process: &Process) {
    redeem(load, &process.client).await;
    check_redeemed_since(0, load, &process.client).await;
    let pairing = load.pairing();
    let spent = pairing.codes.iter().filter(|code| code.state != CodeState::Unused).count();
    let tokens = sqlite3(&process.database, "SELECT count(*) FROM token WHERE source = 'pairing'");
    assert_eq!(tokens, spent.to_string(), "each code brought one token");
    let lockouts = sqlite3(&process.database, "SELECT client FROM pairing_lockout");
    let lockouts: Vec<_> = lockouts.lines().collect();
    for (address, guesses) in &pairing.guesses {
        guesses.counted.check_limit(address, PAIR_LIMIT, Duration::from_mins(1));
        guesses.failed.check_limit(address, FAILURES, FAILURE_WINDOW);
        let found = lockouts.iter().filter(|client| *client == address).count();
        let may_be = guesses.failed.len() + guesses.cut >= FAILURES;
        assert!(
            (usize::from(guesses.locked_out)..=usize::from(may_be)).contains(&found),
            "{address}: {guesses:?}"
        );
    }
    let locked_out = pairing.guesses.values().filter(|guesses| guesses.locked_out).count();
    assert!(locked_out > 0 && spent > 0);
    println!("{spent} codes redeemed, {locked_out} clients locked out");
}
