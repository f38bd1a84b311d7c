//! Tokens. A server reads those that are not revoked again after an edit.

use async_trait::async_trait;
use sqlx::{SqliteConnection, SqliteExecutor};

use super::{ALL, Ids, stored};
use crate::{
    domain::{id::TokenId, time::Millis},
    repository::{
        NewToken, StoreError,
        admin::{TokenAdminRepository, TokenChange, TokenEntry},
    },
    sqlite::{SqliteStore, command::Step, token},
};

#[async_trait]
impl TokenAdminRepository for SqliteStore {
    async fn list_tokens(&self, limit: u32) -> Result<Vec<TokenEntry>, StoreError> {
        stored(entries(&self.shared.reads, ALL, limit).await)
    }

    async fn issue_token(
        &self,
        token: NewToken,
        expires_at: Option<Millis>,
        now: Millis,
    ) -> Result<TokenId, StoreError> {
        self.shared.step(None, Issue { token, expires_at, now }).await
    }

    async fn rename_token(&self, name: &str, label: &str) -> Result<TokenChange, StoreError> {
        self.change_token(name, To::Label(label.into())).await
    }

    async fn revoke_token(&self, name: &str, now: Millis) -> Result<TokenChange, StoreError> {
        self.change_token(name, To::Revoked(now)).await
    }

    async fn expire_token(&self, name: &str, expires_at: Option<Millis>) -> Result<TokenChange, StoreError> {
        self.change_token(name, To::End(expires_at)).await
    }
}

impl SqliteStore {
    async fn change_token(&self, name: &str, change: To) -> Result<TokenChange, StoreError> {
        self.shared.step(None, ChangeToken { name: name.into(), change }).await
    }
}

async fn entries(
    source: impl SqliteExecutor<'_>,
    (first, last): Ids,
    limit: u32,
) -> Result<Vec<TokenEntry>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!: i64", label AS "label!: String", source AS "source!: String",
                  created_at_ms AS "created_at_ms!: i64", expires_at_ms AS "expires_at_ms: i64",
                  revoked_at_ms AS "revoked_at_ms: i64"
           FROM token WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT ?3"#,
        first,
        last,
        limit
    )
    .fetch_all(source)
    .await?;
    let entries = rows.into_iter().map(|row| TokenEntry {
        id: TokenId(row.id),
        label: row.label,
        source: row.source,
        created_at: Millis(row.created_at_ms),
        expires_at: row.expires_at_ms.map(Millis),
        revoked_at: row.revoked_at_ms.map(Millis),
    });
    Ok(entries.collect())
}

struct Issue {
    token: NewToken,
    expires_at: Option<Millis>,
    now: Millis,
}

#[async_trait]
impl Step for Issue {
    type Output = TokenId;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<TokenId, sqlx::Error> {
        let NewToken { label, hash, source } = &self.token;
        let id = token::insert(conn, label, *hash, *source, self.now).await?;
        set_end(conn, id, self.expires_at).await?;
        Ok(id)
    }
}

/// What becomes of a token.
enum To {
    Label(String),
    Revoked(Millis),
    End(Option<Millis>),
}

struct ChangeToken {
    name: String,
    change: To,
}

#[async_trait]
impl Step for ChangeToken {
    type Output = TokenChange;

    async fn run(&self, conn: &mut SqliteConnection) -> Result<TokenChange, sqlx::Error> {
        let id = match self.find(conn).await?.as_slice() {
            [] => return Ok(TokenChange::NotFound),
            [id] => *id,
            several => return Ok(TokenChange::Ambiguous(several.to_vec())),
        };
        let changed = match &self.change {
            To::Label(label) => set_label(conn, id, label).await?,
            To::Revoked(now) => revoke(conn, id, *now).await?,
            To::End(at) => set_end(conn, id, *at).await?,
        };
        let found = entries(conn, (id.0, id.0), 1).await?.into_iter().next();
        Ok(match found {
            Some(entry) if changed => TokenChange::Done(entry),
            Some(entry) => TokenChange::Revoked(entry),
            None => TokenChange::NotFound,
        })
    }
}

impl ChangeToken {
    /// The tokens that the name may mean. Revoked ones do not count as long as there is another.
    async fn find(&self, conn: &mut SqliteConnection) -> Result<Vec<TokenId>, sqlx::Error> {
        let id = self.name.parse::<i64>().ok();
        let rows = sqlx::query!(
            r#"SELECT id AS "id!: i64", revoked_at_ms IS NULL AS "stands!: bool" FROM token
               WHERE id = ?1 OR label = ?2 ORDER BY id"#,
            id,
            self.name
        )
        .fetch_all(conn)
        .await?;
        let any_stands = rows.iter().any(|row| row.stands);
        let meant = rows.into_iter().filter(|row| row.stands || !any_stands);
        Ok(meant.map(|row| TokenId(row.id)).collect())
    }
}

async fn set_label(conn: &mut SqliteConnection, id: TokenId, label: &str) -> Result<bool, sqlx::Error> {
    let changed =
        sqlx::query!("UPDATE token SET label = ?2 WHERE id = ?1", id.0, label).execute(conn).await?;
    Ok(changed.rows_affected() > 0)
}

async fn revoke(conn: &mut SqliteConnection, id: TokenId, now: Millis) -> Result<bool, sqlx::Error> {
    let changed = sqlx::query!(
        "UPDATE token SET revoked_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL",
        id.0,
        now.0
    )
    .execute(conn)
    .await?;
    Ok(changed.rows_affected() > 0)
}

async fn set_end(
    conn: &mut SqliteConnection,
    id: TokenId,
    expires_at: Option<Millis>,
) -> Result<bool, sqlx::Error> {
    let at = expires_at.map(|at| at.0);
    let changed =
        sqlx::query!("UPDATE token SET expires_at_ms = ?2 WHERE id = ?1 AND revoked_at_ms IS NULL", id.0, at)
            .execute(conn)
            .await?;
    Ok(changed.rows_affected() > 0)
}
