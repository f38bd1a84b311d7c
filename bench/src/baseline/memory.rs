//! Maps in memory: what a gateway costs that forgets everything.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use moorgate::{
    domain::{
        client::Owner,
        id::{CodeId, MessageId, TokenId},
        idempotency::{BodyHash, IdempotencyKey, KeyProgress, KeyRecord, Verdict},
        rate::{Decision, RateClient, RateTable, Scope},
        time::Millis,
        token::TokenHash,
    },
    repository::{
        Budget, ClaimOutcome, Claiming, HitOutcome, Lease, NewCode, NewTurn, PairingRepository, PendingHit,
        RateLimitRepository, RedeemOutcome, Redemption, StoreError, TokenRepository, TurnEnd, TurnRepository,
    },
};

const TTL: Duration = Duration::from_mins(5);
const KEYS_PER_OWNER: usize = 10_000;

pub(crate) struct MemoryStore {
    tokens: Mutex<HashMap<TokenHash, TokenId>>,
    windows: Mutex<RateTable<RateClient>>,
    keys: Mutex<Keys>,
}

#[derive(Default)]
struct Keys {
    records: HashMap<(Owner, IdempotencyKey), KeyRecord>,
    answered: HashMap<Owner, VecDeque<IdempotencyKey>>,
}

impl MemoryStore {
    pub(crate) fn new(webhook_per_minute: u32) -> Self {
        Self {
            tokens: Mutex::default(),
            windows: Mutex::new(RateTable::new(webhook_per_minute, 10_000)),
            keys: Mutex::default(),
        }
    }

    /// Decides over a key as the gateway does.
    pub(crate) fn decide(&self, new: Box<NewTurn>, now: Millis) -> ClaimOutcome {
        let Some((key, body)) = &new.key else { return ClaimOutcome::Claimed(Lease::new(new, now, None)) };
        let id = (new.owner, key.clone());
        let mut keys = lock(&self.keys);
        match keys.records.get(&id).cloned().map(|record| record.judge(*body, now, TTL)) {
            None | Some(Verdict::Free) => {
                let running = KeyRecord { body_hash: *body, progress: KeyProgress::Running(now) };
                keys.records.insert(id, running);
                drop(keys);
                ClaimOutcome::Claimed(Lease::new(new, now, None))
            }
            Some(Verdict::Running(since)) => ClaimOutcome::Running(since),
            Some(Verdict::OtherBody) => ClaimOutcome::OtherBody,
            Some(Verdict::Replay(answer)) => ClaimOutcome::Answered(answer),
        }
    }

    fn end(&self, owner: Owner, key: &IdempotencyKey, body: BodyHash, end: &TurnEnd, now: Millis) {
        let mut keys = lock(&self.keys);
        let TurnEnd::Answered(answer, _) = end else {
            keys.records.remove(&(owner, key.clone()));
            return;
        };
        let progress = KeyProgress::Answered(now, answer.clone());
        keys.records.insert((owner, key.clone()), KeyRecord { body_hash: body, progress });
        let answered = keys.answered.entry(owner).or_default();
        answered.push_back(key.clone());
        if answered.len() > KEYS_PER_OWNER
            && let Some(oldest) = answered.pop_front()
        {
            keys.records.remove(&(owner, oldest));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl TurnRepository for MemoryStore {
    fn claim(&self, new: Box<NewTurn>, now: Millis) -> Claiming<'_> {
        Claiming::Decided(self.decide(new, now))
    }

    async fn begin(&self, lease: &mut Lease, _now: Millis) -> Result<(), StoreError> {
        lease.id = Some(MessageId(0));
        Ok(())
    }

    async fn settle(&self, lease: &mut Lease, end: &TurnEnd, now: Millis) -> Result<(), StoreError> {
        if let Some((key, body)) = &lease.turn.key {
            self.end(lease.turn.owner, key, *body, end, now);
        }
        Ok(())
    }

    async fn resume(&self, _now: Millis) -> Result<Vec<Lease>, StoreError> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl RateLimitRepository for MemoryStore {
    fn hit(&self, scope: Scope, client: RateClient, now: Millis) -> HitOutcome {
        let mut windows = lock(&self.windows);
        let limit = windows.limit();
        if limit == 0 || scope == Scope::Pair {
            return HitOutcome::Unlimited;
        }
        match windows.hit(client, now) {
            Decision::Admitted { at, left, reset } => {
                HitOutcome::Admitted(PendingHit::new(scope, client, at, None), Budget { limit, left, reset })
            }
            Decision::Refused { wait } => HitOutcome::Refused(Budget { limit, left: 0, reset: wait }),
            Decision::TableFull { wait } => HitOutcome::TableFull(Budget { limit, left: 0, reset: wait }),
        }
    }

    async fn count(&self, _hit: PendingHit) -> Result<(), StoreError> {
        Ok(())
    }

    async fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl PairingRepository for MemoryStore {
    async fn issue(&self, _code: NewCode, _now: Millis) -> Result<CodeId, StoreError> {
        Ok(CodeId(1))
    }

    async fn redeem(&self, redemption: Redemption, _now: Millis) -> Result<RedeemOutcome, StoreError> {
        lock(&self.tokens).insert(redemption.token_hash, TokenId(1));
        Ok(RedeemOutcome::Redeemed(TokenId(1)))
    }
}

#[async_trait]
impl TokenRepository for MemoryStore {
    fn find_live(&self, hash: &TokenHash, _now: Millis) -> Option<TokenId> {
        lock(&self.tokens).get(hash).copied()
    }

    fn any_live(&self, _now: Millis) -> bool {
        true
    }

    async fn catch_up(&self) {}

    async fn import(&self, _hashes: Vec<TokenHash>, _now: Millis) -> Result<u64, StoreError> {
        Ok(0)
    }
}
