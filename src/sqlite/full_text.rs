//! The full text of memory: what came there lately is put into the index in the background, and a search takes some steps
//! of that first.

use async_trait::async_trait;

use super::{SqliteStore, error::store_error, statements::Statements};
use crate::{
    domain::{memory::Memory, time::Millis},
    repository::{MemoryRepository, StoreError},
};

/// Rows that one step puts into the index at most: with so few it holds up the writer for about a millisecond, and more of them
/// at once would save nothing (docs/PERFORMANCE.md).
const ROWS: i64 = 64;
/// Bytes of texts that it puts there, unless a single one has more: these take some milliseconds.
const BYTES: i64 = 16_384;

/// Words that a search looks for; any more are passed over.
const MOST_WORDS: usize = 64;
/// Steps that a search waits for.
const SEARCH_STEPS: usize = 256;

const NEXT_MEMORIES: &str = "
    SELECT max(id) FILTER (WHERE fits), count(*), count(*) FILTER (WHERE fits)
    FROM (SELECT id, row_number() OVER (ORDER BY id) = 1 OR sum(octet_length(content)) OVER (ORDER BY id) <= ?2 AS fits
          FROM memory WHERE id > (SELECT indexed_to FROM memory_progress) ORDER BY id LIMIT ?1)";

/// Up to the row ?1.
const INDEX: &str = "
    INSERT INTO memory_text (rowid, content)
    SELECT m.id, m.content FROM memory AS m
    WHERE m.id > (SELECT indexed_to FROM memory_progress) AND m.id <= ?1
      AND NOT EXISTS (SELECT 1 FROM memory_text_docsize AS d WHERE d.id = m.id)";

const INDEXED: &str = "UPDATE memory_progress SET indexed_to = ?1";

/// Merges parts of the index, if four or more are of a size: up to 32 pages, which is more than is due on the average (what a step writes,
/// once for each level of the index). Left to itself (`automerge`), FTS5 merges what is due of many writings with one of them, which then
/// takes tens of milliseconds (<https://sqlite.org/fts5.html#the_merge_command>).
pub(super) const MERGE: &str = "INSERT INTO memory_text (memory_text, rank) VALUES ('merge', 32)";

/// All statements of it.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 4] = [NEXT_MEMORIES, INDEX, INDEXED, MERGE];

/// Puts some of memory into the full text. Whether there is more.
pub(super) fn index_some(statements: &mut Statements<'_>) -> Result<bool, rusqlite::Error> {
    let (last, rows, fits): (Option<i64>, i64, i64) = statements.query_row(NEXT_MEMORIES, (ROWS, BYTES))?;
    if let Some(last) = last {
        statements.execute(INDEX, (last,))?;
        statements.execute(INDEXED, (last,))?;
        statements.execute(MERGE, ())?;
    }
    Ok(rows >= ROWS || fits < rows)
}

impl SqliteStore {
    /// Puts in what was said lately, as far as some steps go. If that fails, what is there already can be searched all the same.
    async fn remember_most(&self) {
        for _ in 0..SEARCH_STEPS {
            match self.remember_once().await {
                Ok(Some(_)) => {}
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(%error, "a search does not look into what was said lately");
                    return;
                }
            }
        }
    }
}

#[async_trait]
impl MemoryRepository for SqliteStore {
    async fn search(&self, words: &str, limit: u32) -> Result<Vec<Memory>, StoreError> {
        let Some(query) = match_all(words) else { return Ok(Vec::new()) };
        self.remember_most().await;
        let rows = sqlx::query!(
            r#"SELECT m.key AS "key!: String", m.category AS "category!: String", m.channel AS "channel!: String",
                      m.sender AS "sender!: String", m.content AS "content!: String", m.created_at_ms AS "created_at_ms!: i64"
               FROM memory_text AS t JOIN memory AS m ON m.id = t.rowid
               WHERE memory_text MATCH ?1 ORDER BY t.rank, m.id DESC LIMIT ?2"#,
            query,
            limit
        )
        .fetch_all(&self.shared.reads)
        .await
        .map_err(|error| store_error(&error))?;
        let memories = rows.into_iter().map(|row| Memory {
            key: row.key,
            category: row.category,
            channel: row.channel,
            sender: row.sender,
            content: row.content,
            created_at: Millis(row.created_at_ms),
        });
        Ok(memories.collect())
    }
}

/// A query for texts that hold every one of the words (<https://sqlite.org/fts5.html#full_text_query_syntax>): each in
/// quotes, so that none of its characters means anything; one without a letter or digit is none.
fn match_all(words: &str) -> Option<String> {
    let is_word = |word: &&str| word.contains(char::is_alphanumeric);
    let quoted = words
        .split_whitespace()
        .filter(is_word)
        .take(MOST_WORDS)
        .map(|word| format!("\"{}\"", word.replace(['"', '\0'], " ")));
    Some(quoted.collect::<Vec<_>>().join(" ")).filter(|query| !query.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_words_whatever_is_in_them() {
        let query = |words| match_all(words);
        assert_eq!(query("red  bike").as_deref(), Some(r#""red" "bike""#));
        assert_eq!(query(r#"NOT "x" OR* content:y"#).as_deref(), Some(r#""NOT" " x " "OR*" "content:y""#));
        for nothing in ["", " \t", "* ( \" -", "\0"] {
            assert_eq!(query(nothing), None, "{nothing:?}");
        }
    }
}
