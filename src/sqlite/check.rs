//! Whether a database keeps its promises: SQLite's own checks, and our invariants, each a query for the rows that break it.
//!
//! An invariant holds after each commit of the gateway, so the check may run beside a server: it reads all of it in one
//! transaction. What an operator may do by hand (README.md, "Look inside") breaks none of them.

use serde::Serialize;
use sqlx::{Connection as _, SqliteConnection};

use super::{
    contents,
    copy::{Progress, Stage},
    open::{self, DatabaseSettings, OpenError, newest_known_step},
    transaction,
    upkeep::UpkeepError,
};

/// What a check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Every check that was made, by its name.
    pub checks: Vec<&'static str>,
    /// What is wrong; nothing if the database is sound. At most 20 of a kind.
    pub findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check that found it.
    pub check: &'static str,
    /// Where: a row by its key, or SQLite's words.
    pub found: String,
}

impl Checked {
    /// How many of the checks found something.
    #[must_use]
    pub fn found(&self) -> usize {
        self.checks
            .iter()
            .filter(|check| self.findings.iter().any(|finding| finding.check == **check))
            .count()
    }
}

/// A check in the making.
struct Making<'a> {
    checked: Checked,
    progress: &'a Progress<'a>,
}

impl Making<'_> {
    fn begin(&self, check: &'static str) {
        (self.progress)(Stage::Checking(check));
    }

    fn add(&mut self, check: &'static str, found: impl IntoIterator<Item = String>) {
        self.checked.checks.push(check);
        self.checked.findings.extend(found.into_iter().map(|found| Finding { check, found }));
    }
}

/// Makes all checks. Those of our own need a file that SQLite finds whole.
///
/// # Errors
/// [`UpkeepError`] if it cannot be read, or has not the schema that the checks are about.
pub async fn check(settings: &DatabaseSettings, progress: &Progress<'_>) -> Result<Checked, UpkeepError> {
    let mut conn = open::open_to_read(settings).await?;
    let mut making = Making { checked: Checked::default(), progress };
    let checked = check_open(&mut conn, settings, &mut making).await;
    conn.close().await.ok();
    checked.map(|()| making.checked)
}

async fn check_open(
    conn: &mut SqliteConnection,
    settings: &DatabaseSettings,
    checked: &mut Making<'_>,
) -> Result<(), UpkeepError> {
    const WHOLE: &str = "integrity_and_foreign_keys";
    let failed = UpkeepError::sqlite(&settings.path);
    checked.begin(WHOLE);
    let complaints = contents::complaints(conn).await.map_err(&failed)?;
    checked.add(WHOLE, complaints);
    if checked.checked.found() > 0 {
        return Ok(());
    }
    let (path, known) = (settings.path.clone(), newest_known_step());
    match open::newest_step(conn).await.map_err(&failed)? {
        version if version > known => return Err(OpenError::TooNew { path, version }.into()),
        version if version < known => return Err(UpkeepError::OlderSchema { path, version }),
        _ => {}
    }
    transaction::begin_reading(conn).await.map_err(&failed)?;
    let ours = check_ours(conn, checked).await;
    transaction::end(conn, ours).await.map_err(&failed)
}

async fn check_ours(conn: &mut SqliteConnection, checked: &mut Making<'_>) -> Result<(), sqlx::Error> {
    check_keys(conn, checked).await?;
    check_messages(conn, checked).await?;
    check_leases(conn, checked).await?;
    check_deliveries(conn, checked).await?;
    check_numbers(conn, checked).await
}

/// Runs the query of an invariant: the rows that break it, as texts.
macro_rules! broken {
    ($conn:ident, $checked:ident, $name:literal, $sql:literal) => {{
        $checked.begin($name);
        $checked.add($name, sqlx::query_scalar!($sql).fetch_all(&mut *$conn).await?)
    }};
}

async fn check_keys(conn: &mut SqliteConnection, checked: &mut Making<'_>) -> Result<(), sqlx::Error> {
    // A message that was deleted is fine: its key is free again. Its number may be another message's by now.
    broken!(
        conn,
        checked,
        "answered_key_has_its_answer_or_no_message",
        r#"SELECT 'key ' || k.key || ' of ' || k.owner || ', message ' || m.id || ' is ' || m.state AS "row!: String"
           FROM idempotency_key AS k JOIN message AS m
               ON m.id = k.message_id AND m.sender = k.owner AND m.idempotency_key = k.key
           WHERE k.state = 'answered' AND m.state <> 'answered' LIMIT 20"#
    );
    broken!(
        conn,
        checked,
        "running_key_has_its_unfinished_message",
        r#"SELECT 'key ' || k.key || ' of ' || k.owner AS "row!: String" FROM idempotency_key AS k
           WHERE k.state = 'running' AND NOT EXISTS (
               SELECT 1 FROM message AS m
               WHERE m.id = k.message_id AND m.sender = k.owner AND m.idempotency_key = k.key
                 AND m.state IN ('accepted', 'running')) LIMIT 20"#
    );
    // The oldest keys of an owner are dropped by these numbers.
    broken!(
        conn,
        checked,
        "answered_keys_are_numbered_once",
        r#"SELECT 'number ' || answered_no || ' of ' || owner AS "row!: String" FROM idempotency_key
           WHERE answered_no IS NOT NULL GROUP BY owner, answered_no HAVING count(*) > 1 OR answered_no < 1 LIMIT 20"#
    );
    Ok(())
}

async fn check_messages(conn: &mut SqliteConnection, checked: &mut Making<'_>) -> Result<(), sqlx::Error> {
    broken!(
        conn,
        checked,
        "message_is_finished_when_it_says_so",
        r#"SELECT 'message ' || id || ' is ' || state AS "row!: String" FROM message
           WHERE (state IN ('accepted', 'running')) <> (finished_at_ms IS NULL) LIMIT 20"#
    );
    broken!(
        conn,
        checked,
        "message_was_begun_as_often_as_its_state_says",
        r#"SELECT 'message ' || id || ' is ' || state || ' after ' || attempts AS "row!: String" FROM message
           WHERE attempts < (state IN ('running', 'answered')) LIMIT 20"#
    );
    broken!(
        conn,
        checked,
        "message_is_of_its_conversation",
        r#"SELECT 'message ' || m.id AS "row!: String" FROM message AS m
           LEFT JOIN conversation AS c ON c.id = m.conversation_id
           WHERE (m.channel = 'webhook') <> (m.platform_id IS NULL)
              OR (m.channel <> 'webhook' AND m.conversation_id IS NULL)
              OR c.channel <> m.channel OR c.sender <> m.sender LIMIT 20"#
    );
    Ok(())
}

/// A lease names the run that holds it. A server that has just begun may not have taken over yet what the last one left.
async fn check_leases(conn: &mut SqliteConnection, checked: &mut Making<'_>) -> Result<(), sqlx::Error> {
    broken!(
        conn,
        checked,
        "running_message_is_of_the_newest_run",
        r#"SELECT 'message ' || id || ' of run ' || run_id AS "row!: String" FROM message
           WHERE state IN ('accepted', 'running') AND state = 'running'
             AND run_id <> (SELECT coalesce(max(id), 0) FROM server_run)
             AND NOT EXISTS (SELECT 1 FROM server_run AS r
                             WHERE r.stopped_at_ms IS NULL AND r.started_at_ms > (unixepoch() - 10) * 1000) LIMIT 20"#
    );
    broken!(
        conn,
        checked,
        "delivery_being_sent_is_of_the_newest_run",
        r#"SELECT 'delivery ' || id || ' of run ' || run_id AS "row!: String" FROM delivery
           WHERE state = 'due' AND run_id <> (SELECT coalesce(max(id), 0) FROM server_run)
             AND NOT EXISTS (SELECT 1 FROM server_run AS r
                             WHERE r.stopped_at_ms IS NULL AND r.started_at_ms > (unixepoch() - 10) * 1000) LIMIT 20"#
    );
    broken!(
        conn,
        checked,
        "no_row_is_of_a_run_to_come",
        r#"SELECT 'message ' || id || ' of run ' || run_id AS "row!: String" FROM message
           WHERE run_id > (SELECT coalesce(max(id), 0) FROM server_run) LIMIT 20"#
    );
    Ok(())
}

async fn check_deliveries(conn: &mut SqliteConnection, checked: &mut Making<'_>) -> Result<(), sqlx::Error> {
    broken!(
        conn,
        checked,
        "finished_delivery_is_not_being_sent",
        r#"SELECT 'delivery ' || id || ' is ' || state AS "row!: String" FROM delivery
           WHERE state <> 'due' AND run_id IS NOT NULL LIMIT 20"#
    );
    // The parts of one reply were written in one commit.
    broken!(
        conn,
        checked,
        "parts_of_a_reply_are_in_order",
        r#"SELECT 'delivery ' || id AS "row!: String" FROM (
               SELECT id, part, parts, lag(part) OVER reply AS part_before, lag(parts) OVER reply AS parts_before
               FROM delivery
               WINDOW reply AS (PARTITION BY conversation_id, message_id, kind, created_at_ms ORDER BY id))
           WHERE part <= part_before OR parts <> parts_before LIMIT 20"#
    );
    broken!(
        conn,
        checked,
        "sent_delivery_was_begun",
        r#"SELECT 'delivery ' || id AS "row!: String" FROM delivery
           WHERE attempts < 0 OR in_doubt < 0 OR (state = 'sent' AND attempts < 1) LIMIT 20"#
    );
    Ok(())
}

async fn check_numbers(conn: &mut SqliteConnection, checked: &mut Making<'_>) -> Result<(), sqlx::Error> {
    // Other rows name these ids, and so does work that is under way.
    broken!(
        conn,
        checked,
        "ids_are_not_given_twice",
        r#"SELECT m.name || ' ' || m.id AS "row!: String" FROM (
               SELECT 'server_run' AS name, max(id) AS id FROM server_run
               UNION ALL SELECT 'token', max(id) FROM token
               UNION ALL SELECT 'conversation', max(id) FROM conversation
               UNION ALL SELECT 'delivery', max(id) FROM delivery) AS m
           WHERE m.id > coalesce((SELECT s.seq FROM sqlite_sequence AS s WHERE s.name = m.name), 0)"#
    );
    broken!(
        conn,
        checked,
        "full_text_knows_how_far_it_is",
        r#"SELECT 'memory_progress has ' || count(*) || ' rows' AS "row!: String" FROM memory_progress HAVING count(*) <> 1"#
    );
    broken!(
        conn,
        checked,
        "run_ends_after_it_began",
        r#"SELECT 'run ' || id AS "row!: String" FROM server_run WHERE stopped_at_ms < started_at_ms LIMIT 20"#
    );
    broken!(
        conn,
        checked,
        "hits_and_failures_are_counted_up",
        r#"SELECT 'rate_hit of ' || scope || ' at ' || at_ms AS "row!: String" FROM rate_hit WHERE hits < 1
           UNION ALL SELECT 'pairing_code ' || id FROM pairing_code WHERE failed_attempts < 0 LIMIT 20"#
    );
    Ok(())
}
