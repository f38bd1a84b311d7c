//! Pairing: one attempt is one step inside the writer's transaction, so that attempts are exact however many come at once.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::{SqliteStore, command::Step, memory::Memory, rate_limit::take, sweep, token};
use crate::{
    domain::{
        id::{CodeId, TokenId},
        pairing::{FAILURE_WINDOW, History, LOCKOUT_MEMORY, Lockout, PairingCode},
        time::Millis,
        token::TokenHash,
    },
    repository::{NewCode, PairingRepository, RedeemOutcome, Redemption, StoreError, TokenSource},
};

/// Codes that may be live at once. Each further one replaces the oldest.
const LIVE_CODES: i64 = 10;

#[async_trait]
impl PairingRepository for SqliteStore {
    async fn issue(&self, code: NewCode, now: Millis) -> Result<CodeId, StoreError> {
        self.shared.step(None, Issue { code, now }).await
    }

    async fn redeem(&self, redemption: Redemption, now: Millis) -> Result<RedeemOutcome, StoreError> {
        let Redemption { code, client, hit, token_hash } = redemption;
        let limits = &self.shared.limits;
        let attempt = Attempt {
            code,
            client: client.to_string(),
            token_hash,
            now,
            lockout: limits.lockout,
            max_failures: limits.code_failures,
        };
        self.shared.step(hit.map(take), attempt).await
    }
}

struct Issue {
    code: NewCode,
    now: Millis,
}

#[async_trait]
impl Step for Issue {
    type Output = CodeId;

    /// A server that saw the clock being set back goes on with its own time: the code is dated by that.
    async fn run(&self, conn: &mut SqliteConnection) -> Result<CodeId, sqlx::Error> {
        let now = sweep::newest_moment(conn).await?.max(self.now);
        issue(conn, &self.code, now).await
    }
}

async fn issue(conn: &mut SqliteConnection, new: &NewCode, now: Millis) -> Result<CodeId, sqlx::Error> {
    let (salt, hash) = (&new.salt[..], new.code.hash(&new.salt));
    let (hash, expires_at) = (&hash[..], now.plus(new.ttl).0);
    let row = sqlx::query!(
        r#"INSERT INTO pairing_code (salt, code_hash, label, issued_at_ms, expires_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
           RETURNING id AS "id!: i64""#,
        salt,
        hash,
        new.label,
        now.0,
        expires_at
    )
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE pairing_code SET state = 'replaced' WHERE state = 'live' AND id NOT IN (
             SELECT id FROM pairing_code WHERE state = 'live' AND expires_at_ms > ?1 ORDER BY id DESC LIMIT ?2)",
        now.0,
        LIVE_CODES
    )
    .execute(conn)
    .await?;
    Ok(CodeId(row.id))
}

/// One attempt to pair.
struct Attempt {
    code: Option<PairingCode>,
    client: String,
    token_hash: TokenHash,
    now: Millis,
    lockout: Duration,
    max_failures: u32,
}

#[async_trait]
impl Step for Attempt {
    type Output = RedeemOutcome;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<RedeemOutcome, sqlx::Error> {
        let history = self.history(conn).await?;
        if let Some(left) = history.locked_for(self.now) {
            return Ok(RedeemOutcome::LockedOut(left));
        }
        if let Some((id, label)) = self.find_code(conn).await? {
            self.succeed(conn, id, &label).await.map(RedeemOutcome::Redeemed)
        } else {
            self.fail(conn, &history).await?;
            Ok(RedeemOutcome::Refused)
        }
    }

    fn stored(&self, outcome: &RedeemOutcome, memory: &Memory) {
        if let RedeemOutcome::Redeemed(id) = outcome {
            memory.add_token(self.token_hash, *id);
        }
    }
}

impl Attempt {
    async fn history(&self, conn: &mut SqliteConnection) -> Result<History, sqlx::Error> {
        let failures_from = self.now.minus(FAILURE_WINDOW).0;
        let failures = sqlx::query!(
            r#"SELECT failed_at_ms AS "at!: i64" FROM pairing_failure WHERE client = ?1 AND failed_at_ms > ?2
               ORDER BY failed_at_ms"#,
            self.client,
            failures_from
        )
        .fetch_all(&mut *conn)
        .await?;
        let lockouts_from = self.now.minus(LOCKOUT_MEMORY).0;
        let lockouts = sqlx::query!(
            r#"SELECT locked_at_ms AS "at!: i64", locked_until_ms AS "until!: i64" FROM pairing_lockout
               WHERE client = ?1 AND locked_at_ms > ?2 ORDER BY locked_at_ms"#,
            self.client,
            lockouts_from
        )
        .fetch_all(conn)
        .await?;
        Ok(History {
            failures: failures.into_iter().map(|row| Millis(row.at)).collect(),
            lockouts: lockouts
                .into_iter()
                .map(|row| Lockout { at: Millis(row.at), until: Millis(row.until) })
                .collect(),
        })
    }

    /// The live code that was sent. Every live code is compared, whichever matches.
    async fn find_code(&self, conn: &mut SqliteConnection) -> Result<Option<(i64, String)>, sqlx::Error> {
        let Some(code) = &self.code else { return Ok(None) };
        let live = sqlx::query!(
            r#"SELECT id AS "id!: i64", salt AS "salt!: Vec<u8>", code_hash AS "code_hash!: Vec<u8>",
                      label AS "label!: String"
               FROM pairing_code WHERE state = 'live' AND expires_at_ms > ?1 ORDER BY id"#,
            self.now.0
        )
        .fetch_all(conn)
        .await?;
        let found = live.into_iter().fold(None, |found, row| {
            let matches = code.matches(&row.salt, &row.code_hash);
            if matches { Some((row.id, row.label)) } else { found }
        });
        Ok(found)
    }

    async fn succeed(
        &self,
        conn: &mut SqliteConnection,
        id: i64,
        label: &str,
    ) -> Result<TokenId, sqlx::Error> {
        let token = token::insert(conn, label, self.token_hash, TokenSource::Pairing, self.now).await?;
        sqlx::query!("UPDATE pairing_code SET state = 'redeemed', token_id = ?2 WHERE id = ?1", id, token.0)
            .execute(&mut *conn)
            .await?;
        self.forget_failures(conn).await?;
        sqlx::query!("DELETE FROM pairing_lockout WHERE client = ?1", self.client).execute(conn).await?;
        Ok(token)
    }

    async fn fail(&self, conn: &mut SqliteConnection, history: &History) -> Result<(), sqlx::Error> {
        sqlx::query!(
            "UPDATE pairing_code SET failed_attempts = failed_attempts + 1,
                 state = CASE WHEN failed_attempts + 1 >= ?2 THEN 'exhausted' ELSE state END
             WHERE state = 'live' AND expires_at_ms > ?1",
            self.now.0,
            self.max_failures
        )
        .execute(&mut *conn)
        .await?;
        let Some(lockout) = history.lockout_after_failure(self.now, self.lockout) else {
            sqlx::query!(
                "INSERT INTO pairing_failure (client, failed_at_ms) VALUES (?1, ?2)",
                self.client,
                self.now.0
            )
            .execute(conn)
            .await?;
            return Ok(());
        };
        tracing::warn!(secs = lockout.until.since(lockout.at).as_secs(), "a client is locked out of pairing");
        sqlx::query!(
            "INSERT INTO pairing_lockout (client, locked_at_ms, locked_until_ms) VALUES (?1, ?2, ?3)",
            self.client,
            lockout.at.0,
            lockout.until.0
        )
        .execute(&mut *conn)
        .await?;
        self.forget_failures(conn).await
    }

    async fn forget_failures(&self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        sqlx::query!("DELETE FROM pairing_failure WHERE client = ?1", self.client).execute(conn).await?;
        Ok(())
    }
}
