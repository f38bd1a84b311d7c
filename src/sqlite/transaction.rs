//! Transactions of the writer, as plain statements.
//!
//! sqlx counts how deep it is in transactions, and a `ROLLBACK` that fails does not lower the count. After some errors
//! (a full disk, an I/O error) SQLite has rolled back by itself, <https://sqlite.org/lang_transaction.html>, and there is
//! nothing left to roll back. With sqlx's own transactions the writer could then never begin another one.

use sqlx::SqliteConnection;

/// Begins a transaction that will write: it waits for the lock here, or not at all.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
/// Puts on disk what was written.
pub(super) const COMMIT: &str = "COMMIT";

/// Undoes what was written.
pub(super) const ROLLBACK: &str = "ROLLBACK";

/// Begins a transaction that will write.
pub(super) async fn begin(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, BEGIN).await
}

/// Puts on disk what was written.
pub(super) async fn commit(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, COMMIT).await
}

/// Ends a transaction that failed, wherever that was. It fails if SQLite has done it already, or none was begun.
pub(super) async fn roll_back(conn: &mut SqliteConnection) {
    run(conn, ROLLBACK).await.ok();
}

/// Begins a transaction that only reads, all of it as of one moment.
pub(super) async fn begin_reading(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, "BEGIN").await
}

/// Ends a transaction that only read.
pub(super) async fn end<T, E: From<sqlx::Error>>(
    conn: &mut SqliteConnection,
    written: Result<T, E>,
) -> Result<T, E> {
    let ended = match written {
        Ok(written) => run(conn, COMMIT).await.map(|()| written).map_err(E::from),
        Err(error) => Err(error),
    };
    if ended.is_err() {
        roll_back(conn).await;
    }
    ended
}

/// Begins one command of a transaction.
pub(super) async fn begin_one(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, "SAVEPOINT one").await
}

/// Undoes what the one command wrote so far.
pub(super) async fn undo_one(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, "ROLLBACK TO one").await
}

/// Ends the one command.
pub(super) async fn end_one(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    run(conn, "RELEASE one").await
}

async fn run(conn: &mut SqliteConnection, statement: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query(statement).execute(conn).await.map(drop)
}
