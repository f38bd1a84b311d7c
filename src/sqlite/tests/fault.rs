//! A store that fails at its n-th step, for each n up to the commit of each use case, and at the commit. A step is one of
//! SQLite's machine, the finest there is (<https://sqlite.org/c3ref/progress_handler.html>); so it fails inside each
//! statement, before, in and after its effect, and in `BEGIN`.
//!
//! After each failure that a caller is told of, the database is to the byte what it was, the same step succeeds at once, and
//! no invariant is broken. Where a caller is told of success in spite of the failure, it is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use tempfile::TempDir;

use super::{
    super::{DatabaseSettings, SqliteStore, StoreLimits, check, command::Step as StoreStep, open as opening},
    answered,
    gate::shut,
    hit, limits, open_with, settings,
};
use crate::{
    domain::{
        channel::{Address, ChannelKind, Content, Inbound, Payload},
        client::{ClientAddress, Owner},
        conversation::SessionId,
        delivery::ReplyKind,
        id::TokenId,
        idempotency::{BodyHash, IdempotencyKey},
        message::{Account, Answer, MessageText},
        pairing::PairingCode,
        rate::Scope,
        time::Millis,
        token::TokenHash,
    },
    repository::{
        AcceptOutcome, AnswerEnd, AnswerJob, ClaimOutcome, InboxRepository as _, Lease, NewCall, NewCode,
        NewTurn, Next, PairingRepository as _, PendingHit, RateLimitRepository as _, RedeemOutcome,
        Redemption, Reply, SendEnd, SendJob, StoreError, TokenRepository as _, TurnEnd, TurnRepository as _,
    },
};

const NOW: Millis = Millis(1_790_000_000_000);

/// When the connection that writes is to fail.
#[derive(Clone, Default)]
struct Fault {
    /// Steps of SQLite's machine until it fails; 0: it does not.
    steps_left: Arc<AtomicU64>,
    /// Whether it refuses the next commit.
    refuses_commit: Arc<AtomicBool>,
    happened: Arc<AtomicBool>,
}

impl Fault {
    fn at(&self, place: Place) {
        self.happened.store(false, Ordering::SeqCst);
        match place {
            Place::Step(number) => self.steps_left.store(number, Ordering::SeqCst),
            Place::Commit => self.refuses_commit.store(true, Ordering::SeqCst),
        }
    }

    /// Ends the waiting for it. Whether it happened.
    fn disarm(&self) -> bool {
        self.steps_left.store(0, Ordering::SeqCst);
        self.refuses_commit.store(false, Ordering::SeqCst);
        self.happened.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Step(u64),
    Commit,
}

/// Puts the hooks of a fault on the connection that writes.
#[async_trait]
impl StoreStep for Fault {
    type Output = ();

    async fn run(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        let mut handle = conn.lock_handle().await?;
        let fault = self.clone();
        handle.set_progress_handler(1, move || {
            let before = fault.steps_left.load(Ordering::SeqCst);
            fault.steps_left.store(before.saturating_sub(1), Ordering::SeqCst);
            fault.happened.fetch_or(before == 1, Ordering::SeqCst);
            before != 1
        });
        let fault = self.clone();
        handle.set_commit_hook(move || {
            let refuses = fault.refuses_commit.swap(false, Ordering::SeqCst);
            fault.happened.fetch_or(refuses, Ordering::SeqCst);
            // A statement that is interrupted at its last step says so though it has had its effect. No other error does, so a
            // commit is refused here, and fails for real in `tests/gateway/disk/fault.rs`.
            fault.steps_left.store(0, Ordering::SeqCst);
            !refuses
        });
        Ok(())
    }
}

/// What is done while the store fails.
#[derive(Debug, Clone, Copy)]
enum UseCase {
    Count,
    Begin,
    Settle,
    Fail,
    Whole,
    InASession,
    Issue,
    RedeemWrong,
    Redeem,
    Accept,
    Lease,
    Answered,
    Sent,
    Import,
    Remember,
    Sweep,
}

const ALL: [UseCase; 16] = [
    UseCase::Count,
    UseCase::Begin,
    UseCase::Settle,
    UseCase::Fail,
    UseCase::Whole,
    UseCase::InASession,
    UseCase::Issue,
    UseCase::RedeemWrong,
    UseCase::Redeem,
    UseCase::Accept,
    UseCase::Lease,
    UseCase::Answered,
    UseCase::Sent,
    UseCase::Import,
    UseCase::Remember,
    UseCase::Sweep,
];

/// What was prepared for one try.
#[derive(Default)]
struct Prepared {
    lease: Option<Lease>,
    code: Option<PairingCode>,
    conversation: Option<crate::domain::id::ConversationId>,
    answer: Option<AnswerJob>,
    send: Option<SendJob>,
}

struct Bench {
    store: SqliteStore,
    settings: DatabaseSettings,
    reader: SqliteConnection,
    dump: String,
    fault: Fault,
    number: u64,
    _folder: TempDir,
}

fn answer() -> Answer {
    Answer { text: "an answer".into(), model: "m".into() }
}

impl Bench {
    async fn open() -> Self {
        let folder = TempDir::new().unwrap();
        let settings =
            DatabaseSettings { full_sync: false, busy_timeout: Duration::from_mins(1), ..settings(&folder) };
        let limits = StoreLimits {
            pair_per_minute: 1_000_000,
            keys_per_owner: 4,
            channels: vec![ChannelKind::Linq],
            ..limits()
        };
        let store = shut(open_with(&settings, limits)).await;
        store.shared.gate.open();
        let fault = Fault::default();
        store.shared.step(None, fault.clone()).await.unwrap();
        let mut reader = opening::options(&settings).connect().await.unwrap();
        let dump = dump_query(&mut reader).await;
        Self { store, settings, reader, dump, fault, number: 0, _folder: folder }
    }

    /// Everything that is in the database.
    async fn contents(&mut self) -> String {
        sqlx::query_scalar(AssertSqlSafe(self.dump.clone())).fetch_one(&mut self.reader).await.unwrap()
    }

    fn hit(&self, scope: Scope) -> PendingHit {
        hit(&self.store, scope, NOW)
    }

    /// A client that was never there before, so that none is locked out.
    fn client(&self) -> ClientAddress {
        let [.., a, b, c] = self.number.to_be_bytes();
        std::net::IpAddr::from([10, a, b, c]).into()
    }

    async fn claim(&self, session: Option<SessionId>) -> Result<Lease, StoreError> {
        let key = IdempotencyKey::parse(format!("key-{}", self.number).as_bytes()).unwrap();
        let new = Box::new(NewTurn {
            owner: Owner::Token(TokenId(1)),
            key: Some((key, BodyHash([0; 32]))),
            session,
            text: Arc::new(MessageText::new("hello".into()).unwrap()),
            hit: Some(self.hit(Scope::Webhook)),
        });
        match self.store.claim(new, NOW).outcome().await? {
            ClaimOutcome::Claimed(lease) => Ok(lease),
            other => panic!("{other:?}"),
        }
    }

    fn call(&self) -> NewCall {
        let address = Address { sender: format!("+1555{}", self.number), room: String::new() };
        let content = Content::Text(MessageText::new("hello".into()).unwrap());
        let platform_id = format!("m{}", self.number);
        let message = Inbound { platform_id, address, reply_to: None, sent_at: None, content };
        let payload = Payload { messages: vec![message], ..Payload::default() };
        NewCall { channel: ChannelKind::Linq, nonce: Some(format!("n{}", self.number)), payload }
    }

    async fn accept(&self) -> Result<crate::domain::id::ConversationId, StoreError> {
        match self.store.accept(self.call(), NOW).await? {
            AcceptOutcome::Accepted { conversations, waiting: 1, known: 0 } => Ok(conversations[0]),
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&self, job: &AnswerJob) -> Result<SendJob, StoreError> {
        let reply = Reply { kind: ReplyKind::Answer, parts: vec!["an answer".into()] };
        let end = AnswerEnd::Answered(answer(), reply);
        match self.store.answered(job, end, Account::default(), NOW).await? {
            Next::Send(job) => Ok(job),
            other => panic!("{other:?}"),
        }
    }

    async fn issue(&self, code: PairingCode) -> Result<(), StoreError> {
        let label = "phone".to_owned();
        let new = NewCode { code, salt: [0; 16], label, ttl: Duration::from_hours(1) };
        self.store.issue(new, NOW).await.map(drop)
    }

    async fn redeem(&self, code: Option<PairingCode>) -> Result<RedeemOutcome, StoreError> {
        let token_hash = TokenHash::of(format!("token-{}", self.number).as_bytes());
        let redemption =
            Redemption { code, client: self.client(), hit: Some(self.hit(Scope::Pair)), token_hash };
        self.store.redeem(redemption, NOW).await
    }

    async fn prepare(&mut self, case: UseCase) -> Prepared {
        self.number += 1;
        self.store.flush().await.unwrap(); // what the last try left behind is given back
        let mut prepared = Prepared::default();
        match case {
            UseCase::Settle | UseCase::Fail => {
                let mut lease = self.claim(None).await.unwrap();
                self.store.begin(&mut lease, NOW).await.unwrap();
                prepared.lease = Some(lease);
            }
            UseCase::Redeem => {
                let code = PairingCode::parse(format!("{:06}", self.number % 1_000_000).as_bytes()).unwrap();
                self.issue(code.clone()).await.unwrap();
                prepared.code = Some(code);
            }
            UseCase::Lease | UseCase::Answered | UseCase::Sent => {
                let conversation = self.accept().await.unwrap();
                prepared.conversation = Some(conversation);
                if matches!(case, UseCase::Answered | UseCase::Sent) {
                    let Next::Answer(job) = self.store.next(conversation, NOW).await.unwrap() else {
                        panic!()
                    };
                    if matches!(case, UseCase::Sent) {
                        prepared.send = Some(self.answer(&job).await.unwrap());
                    }
                    prepared.answer = Some(job);
                }
            }
            UseCase::Remember => _ = self.accept().await.unwrap(),
            _ => {}
        }
        prepared
    }

    /// Does it once. It is an error of the store, or right.
    async fn act(&self, case: UseCase, prepared: &mut Prepared) -> Result<(), StoreError> {
        let store = &self.store;
        match case {
            UseCase::Count => store.count(self.hit(Scope::Webhook)).await,
            UseCase::Begin => {
                let mut lease = self.claim(None).await?;
                let begun = store.begin(&mut lease, NOW).await;
                prepared.lease = begun.is_ok().then_some(lease);
                begun
            }
            UseCase::Settle => store.settle(prepared.lease.as_mut().unwrap(), &answered(), NOW).await,
            UseCase::Fail => {
                let failed = TurnEnd::Failed("test", Account::default());
                store.settle(prepared.lease.as_mut().unwrap(), &failed, NOW).await
            }
            UseCase::Whole => {
                let mut lease = self.claim(None).await?;
                store.settle(&mut lease, &answered(), NOW).await
            }
            UseCase::InASession => {
                let mut lease = self.claim(Some(SessionId::parse(b"s").unwrap())).await?;
                store.settle(&mut lease, &answered(), NOW).await
            }
            UseCase::Issue => self.issue(PairingCode::parse(b"999999").unwrap()).await,
            UseCase::RedeemWrong => {
                self.redeem(None).await.map(|outcome| assert_eq!(outcome, RedeemOutcome::Refused))
            }
            UseCase::Redeem => {
                let outcome = self.redeem(prepared.code.clone()).await?;
                assert!(matches!(outcome, RedeemOutcome::Redeemed(_)), "{outcome:?}");
                Ok(())
            }
            UseCase::Accept => self.accept().await.map(drop),
            UseCase::Lease => {
                let next = store.next(prepared.conversation.unwrap(), NOW).await?;
                assert!(matches!(next, Next::Answer(_)), "{next:?}");
                Ok(())
            }
            UseCase::Answered => self.answer(prepared.answer.as_ref().unwrap()).await.map(drop),
            UseCase::Sent => {
                let end = SendEnd::Sent(Some(format!("out-{}", self.number)));
                let next = store.sent(prepared.send.as_ref().unwrap(), end, NOW).await?;
                assert_eq!(next, Next::Idle);
                Ok(())
            }
            UseCase::Import => {
                let hash = TokenHash::of(format!("import-{}", self.number).as_bytes());
                store.import(vec![hash], NOW).await.map(|new| assert_eq!(new, 1))
            }
            UseCase::Remember => store.remember_once().await.map(drop),
            UseCase::Sweep => store.sweep_once().await.map(drop),
        }
    }

    /// One use case with one fault. Whether the fault happened.
    async fn try_at(&mut self, case: UseCase, place: Place) -> bool {
        let mut prepared = self.prepare(case).await;
        let before = self.contents().await;
        self.fault.at(place);
        let result = self.act(case, &mut prepared).await;
        let happened = self.fault.disarm();
        if let Err(error) = result {
            assert!(happened, "{case:?} {place:?}: {error}");
            // What a caller left behind when it failed is given back in the background.
            self.store.flush().await.unwrap();
            let after = self.contents().await;
            if !matches!(case, UseCase::Sweep) {
                assert_eq!(after, before, "{case:?} {place:?}: {error}, and yet something is written");
            }
            self.act(case, &mut prepared)
                .await
                .unwrap_or_else(|error| panic!("{case:?} {place:?}, again: {error}"));
        }
        if !matches!(case, UseCase::Sweep) {
            assert_ne!(self.contents().await, before, "{case:?} {place:?}: success, and nothing is written");
        }
        happened
    }
}

/// A query for all rows of all tables, in one text.
async fn dump_query(reader: &mut SqliteConnection) -> String {
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT m.name, group_concat('quote(' || c.name || ')', '|| '','' ||') FROM sqlite_schema AS m, pragma_table_info(m.name) AS c
         WHERE m.type = 'table' AND m.name NOT LIKE 'memory_text%' AND m.name NOT LIKE '%sqlx%' GROUP BY m.name",
    )
    .fetch_all(reader)
    .await
    .unwrap();
    let parts = tables.iter().map(|(table, columns)| {
        format!("(SELECT '{table}: ' || coalesce(group_concat({columns}, char(10)), '') FROM \"{table}\")")
    });
    format!("SELECT {}", parts.collect::<Vec<_>>().join(" || char(10) || "))
}

/// Every how-manyeth step fails: `MOORGATE_TEST_STRIDE`, else few do.
fn stride() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the stride is for the test, not for the gateway")]
    let given = std::env::var("MOORGATE_TEST_STRIDE");
    given.map_or(41, |number| number.parse().unwrap())
}

#[tokio::test]
async fn a_store_that_fails_at_any_step_has_written_nothing_and_takes_the_same_step_again() {
    for case in ALL {
        let mut bench = Bench::open().await;
        // The first steps are BEGIN and its neighbourhood, which all use cases have.
        let mut places = (1..12).chain((12..).step_by(usize::try_from(stride()).unwrap()));
        let tried = loop {
            let number = places.next().unwrap();
            if !bench.try_at(case, Place::Step(number)).await {
                break number;
            }
        };
        assert!(tried > 12, "{case:?} has steps");
        println!("{case:?}: fewer than {tried} steps");
        assert!(
            bench.try_at(case, Place::Commit).await || matches!(case, UseCase::Sweep),
            "{case:?} commits"
        );
        assert_eq!(check(&bench.settings, &|_| ()).await.unwrap().findings, []);
        bench.reader.close().await.unwrap();
        bench.store.close().await;
        assert_eq!(check(&bench.settings, &|_| ()).await.unwrap().findings, []);
    }
}
