//! The idempotency keys on record: what memory reads of them, and looking one up.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{sync::Notify, time::Instant};

use super::{Shared, error::store_error, key_index::Places, memory::KeyId};
use crate::{
    domain::{
        idempotency::{BodyHash, KeyProgress, KeyRecord},
        message::Answer,
        time::Millis,
    },
    repository::StoreError,
    telemetry::{scope, trace},
};

/// Messages with which a key may be, of which so many are looked at without asking which of them are gone.
const FEW_PLACES: usize = 8;

/// The pause before keys on record are read again, after that failed.
const PAUSE_OF_KEYS: Duration = Duration::from_secs(1);

/// After the keys were read they are not read again for so many times as long, whatever is edited: with ten million of them, an edit
/// each second would keep a processor busy for good.
const REST: u32 = 19;

/// How long a request waits until all keys on record have been read after a start.
const WAIT_FOR_KEYS: Duration = Duration::from_secs(10);

impl Shared {
    /// Reads the keys on record, and again when another process has written. Until that was done for the first time, requests
    /// with a key wait.
    pub(super) async fn keep_keys(&self) {
        let is_closing = || self.closing.load(Ordering::Relaxed);
        while !is_closing() {
            match self.keep_keys_until_edited().await {
                Ok(()) => {} // edited and rested, or it is being closed
                Err(_) if is_closing() => {}
                Err(error) => {
                    tracing::warn!(%error, "the keys on record could not be read, which is tried again");
                    tokio::time::timeout(PAUSE_OF_KEYS, self.edited.notified()).await.ok();
                }
            }
        }
    }

    async fn keep_keys_until_edited(&self) -> Result<(), sqlx::Error> {
        let begun = Instant::now();
        self.read_keys().await?;
        self.memory.keys_are_read();
        let rested = Instant::now() + begun.elapsed() * REST;
        loop {
            self.forget_keys().await?;
            tokio::select! {
                () = self.edited.notified() => break,
                () = self.memory.until_keys_are_crowded() => {}
            }
        }
        // What is crowded meanwhile waits as well.
        wait_until(rested, &self.edited, || self.closing.load(Ordering::Relaxed)).await;
        Ok(())
    }

    /// Puts all keys on record into the index. A key that is deleted by hand later is found to be free when it is used.
    pub(super) async fn read_keys(&self) -> Result<(), sqlx::Error> {
        let mut part = self.read_part(i64::MIN).await?;
        while let Some((last, keys)) = part {
            // While the one is taken in, the next one is read.
            let (next, ()) = tokio::join!(self.read_part(last), async { self.memory.add_keys(&keys) });
            part = next?;
        }
        Ok(())
    }

    /// Reads the first part with keys after a message: its last message, and on each line a message, an owner and a key.
    async fn read_part(&self, after: i64) -> Result<Option<(i64, Vec<u8>)>, sqlx::Error> {
        let part = sqlx::query!(
            r#"SELECT first | 1023 AS "last: i64",
                      (SELECT CAST(group_concat(k.message_id || ' ' || k.owner || ' ' || k.key, char(10)) AS BLOB)
                       FROM idempotency_key AS k WHERE k.message_id BETWEEN first AND first | 1023) AS "keys: Vec<u8>"
               FROM (SELECT min(message_id) AS first FROM idempotency_key WHERE message_id > ?1)"#,
            after
        )
        .fetch_one(&self.reads)
        .await?;
        Ok(part.last.zip(part.keys))
    }

    /// Lets the index forget the parts of which nothing is on record any more. Between its steps it is left to the requests.
    pub(super) async fn forget_keys(&self) -> Result<(), sqlx::Error> {
        let newest = self.memory.newest_part_written(); // before the others are read: what is written later is in no older one
        let living = self.parts_on_record().await?;
        for step in 0.. {
            if self.memory.forget_keys(step, &living, newest) {
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// All parts with keys, in order. Gaps between keys are jumped over.
    async fn parts_on_record(&self) -> Result<Vec<i64>, sqlx::Error> {
        let parts = sqlx::query_scalar!(
            r#"WITH RECURSIVE part (no) AS (
                   SELECT max(message_id) >> 10 FROM idempotency_key
                   UNION ALL
                   SELECT (SELECT k.message_id >> 10 FROM idempotency_key AS k
                           WHERE k.message_id < part.no << 10 ORDER BY k.message_id DESC LIMIT 1)
                   FROM part WHERE part.no IS NOT NULL)
               SELECT no AS "no!: i64" FROM part WHERE no IS NOT NULL"#
        );
        let mut parts = parts.fetch_all(&self.reads).await?;
        parts.reverse(); // the newest came first
        Ok(parts)
    }

    /// Waits until all keys on record have been read, which after a start takes some seconds where there are very many.
    pub(super) async fn wait_for_keys(&self) -> Result<(), StoreError> {
        let read = tokio::time::timeout(WAIT_FOR_KEYS, self.memory.until_keys_are_read()).await;
        read.map_err(|_| StoreError::Busy)
    }

    /// Those of many messages under whose number a key is on record. Memory forgets the others: a key that is used again and again
    /// would have more of them each time.
    async fn still_on_record(&self, id: &KeyId, mut messages: Vec<i64>) -> Result<Vec<i64>, sqlx::Error> {
        scope::count_query();
        let asked = serde_json::Value::from(messages.as_slice()).to_string();
        let found = sqlx::query_scalar!(
            r#"SELECT k.message_id AS "message_id!: i64"
               FROM json_each(?1) AS place CROSS JOIN idempotency_key AS k ON k.message_id = place.value"#,
            asked
        );
        let found = found.fetch_all(&self.reads).await?;
        messages.retain(|message| !found.contains(message));
        self.memory.remove_places(id, &messages);
        Ok(found)
    }

    /// Reads through all keys for one of which it is not known where it is, since nobody knows what became of its claim. No index
    /// helps.
    async fn search_key(&self, owner: &str, key: &str) -> Result<Vec<i64>, sqlx::Error> {
        scope::count_query();
        let newest = sqlx::query_scalar!(
            r#"SELECT message_id AS "message_id!: i64" FROM idempotency_key WHERE owner = ?1 AND key = ?2
               ORDER BY message_id DESC LIMIT 1"#,
            owner,
            key
        );
        Ok(newest.fetch_optional(&self.reads).await?.into_iter().collect())
    }

    /// Looks a key up where it may be.
    pub(super) async fn find_key(&self, id: &KeyId, places: Places) -> Result<Option<KeyRecord>, StoreError> {
        let _span = trace::read("key");
        let owner = id.0.to_string();
        let messages = match places {
            Places::Messages(messages) if messages.len() <= FEW_PLACES => Ok(messages),
            Places::Messages(messages) => self.still_on_record(id, messages).await,
            Places::Anywhere => self.search_key(&owner, id.1.as_str()).await,
        };
        let messages = messages.map_err(|error| store_error(&error))?;
        self.newest_record(&owner, id.1.as_str(), &messages).await
    }

    /// The newest record of a key under the numbers of these messages.
    async fn newest_record(
        &self,
        owner: &str,
        key: &str,
        messages: &[i64],
    ) -> Result<Option<KeyRecord>, StoreError> {
        scope::count_query();
        let messages = serde_json::Value::from(messages).to_string();
        let row = sqlx::query!(
            r#"SELECT k.body_hash AS "body_hash!: Vec<u8>", k.answered_at_ms AS "answered_at_ms: i64",
                      m.received_at_ms AS "received_at_ms: i64", m.answer AS "answer: String", m.model AS "model: String"
               FROM idempotency_key AS k
                    LEFT JOIN message AS m
                        ON m.id = k.message_id AND m.sender = k.owner AND m.idempotency_key = k.key
                            AND (k.answered_at_ms IS NOT NULL OR m.state IN ('accepted', 'running'))
               WHERE k.message_id = (
                        SELECT max(n.message_id) FROM json_each(?3) AS place
                            CROSS JOIN idempotency_key AS n ON n.message_id = place.value
                        WHERE n.key = ?2 AND n.owner = ?1)"#,
            owner,
            key,
            messages
        );
        let row = row.fetch_optional(&self.reads).await.map_err(|error| store_error(&error))?;
        // A key whose message was deleted, or ended, by hand is free.
        let Some((row, received_at)) = row.and_then(|row| row.received_at_ms.map(|at| (row, Millis(at))))
        else {
            return Ok(None);
        };
        let corrupt =
            |column| StoreError::Corrupt { table: "idempotency_key", column, key: format!("{owner} {key}") };
        let body_hash = BodyHash(row.body_hash.try_into().map_err(|_| corrupt("body_hash"))?);
        let progress = match (row.answered_at_ms, row.answer) {
            (Some(at), Some(text)) => KeyProgress::Answered(
                Millis(at),
                Answer { text: text.into(), model: row.model.unwrap_or_default().into() },
            ),
            (None, _) => KeyProgress::Running(received_at),
            (Some(_), None) => return Err(corrupt("message_id")),
        };
        Ok(Some(KeyRecord { body_hash, progress }))
    }
}

/// Waits until that moment, or until something is told for which `ends` holds.
async fn wait_until(moment: Instant, told: &Notify, ends: impl Fn() -> bool) {
    while !ends() && tokio::time::timeout_at(moment, told.notified()).await.is_ok() {}
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn edits_do_not_end_the_rest_but_closing_does() {
        let (told, end) = (Notify::new(), AtomicBool::new(false));
        let begun = Instant::now();
        let waits = wait_until(begun + Duration::from_secs(10), &told, || end.load(Ordering::Relaxed));
        let tells = async {
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                told.notify_one();
            }
        };
        tokio::join!(waits, tells);
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
        let waits = wait_until(begun + Duration::from_secs(20), &told, || end.load(Ordering::Relaxed));
        let closes = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            end.store(true, Ordering::Relaxed);
            told.notify_one();
        };
        tokio::join!(waits, closes);
        assert_eq!(begun.elapsed(), Duration::from_secs(11));
    }
}
