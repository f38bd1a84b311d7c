//! From SQLite's errors to [`StoreError`].

use std::{borrow::Cow, error::Error as StdError};

use sqlx::error::{DatabaseError, ErrorKind};

use crate::repository::StoreError;

/// Primary result codes, <https://sqlite.org/rescode.html>.
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const NOT_A_DATABASE: u32 = 26;
/// `SQLITE_IOERR_WRITE`.
const WRITE_FAILED: u32 = 778;
/// `SQLITE_CORRUPT_VTAB`: not the file is damaged, but what FTS5 keeps in it.
const FULL_TEXT_CORRUPT: u32 = 267;
const FAULTS_OF_ONE_COMMAND: [u32; 4] = [1, 18, 19, 20]; // ERROR, TOOBIG, CONSTRAINT, MISMATCH

/// What the caller gets to know.
pub(super) fn store_error(error: &sqlx::Error) -> StoreError {
    match primary_code(error) {
        Some(BUSY | LOCKED) => StoreError::Busy,
        Some(FULL) => StoreError::Full,
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Whether the error is the fault of one command, so that its neighbours may still succeed.
pub(super) fn is_fault_of_one_command(error: &sqlx::Error) -> bool {
    match code(error) {
        Some(code) => code == FULL_TEXT_CORRUPT || FAULTS_OF_ONE_COMMAND.contains(&(code & 0xff)),
        None => !matches!(error, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed),
    }
}

/// Whether a commit that failed with this error may be on disk all the same. It is not if its pages could not be written, for the
/// last of them is what makes it one, or if another connection was in the way.
pub(super) fn leaves_doubt(error: &sqlx::Error) -> bool {
    let not_written =
        matches!(primary_code(error), Some(BUSY | LOCKED | FULL)) || code(error) == Some(WRITE_FAILED);
    !not_written && !is_fault_of_one_command(error)
}

/// Whether another connection is in the way.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(BUSY | LOCKED))
}

/// Whether the file itself is damaged, or no database.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    matches!(primary_code(error), Some(CORRUPT | NOT_A_DATABASE))
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    code(error).map(|extended| extended & 0xff)
}

/// The extended result code.
fn code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// An error that came through rusqlite, as the same error comes through sqlx.
pub(super) fn of_rusqlite(error: rusqlite::Error) -> sqlx::Error {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let message = message.unwrap_or_else(|| failure.to_string());
            sqlx::Error::Database(Box::new(Failure { code: failure.extended_code, message }))
        }
        error => sqlx::Error::Encode(Box::new(error)),
    }
}

/// What SQLite says of a failure, in the words of sqlx.
#[derive(Debug, thiserror::Error)]
#[error("(code: {code}) {message}")]
struct Failure {
    code: i32,
    message: String,
}

impl DatabaseError for Failure {
    fn message(&self) -> &str {
        &self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.code.to_string().into())
    }

    fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: i32) -> sqlx::Error {
        sqlx::Error::Database(Box::new(Failure { code, message: String::new() }))
    }

    #[test]
    fn what_one_command_is_to_blame_for_leaves_no_doubt_and_what_the_disk_did_not_say_does() {
        for (name, code, of_one, doubt) in [
            ("constraint", 1811, true, false),
            ("damaged full text", 267, true, false),
            ("damaged file", 11, false, true),
            ("failed sync", 1034, false, true),
            ("failed write", 778, false, false),
            ("full", 13, false, false),
            ("busy", 261, false, false),
        ] {
            let error = failed(code);
            assert_eq!((is_fault_of_one_command(&error), leaves_doubt(&error)), (of_one, doubt), "{name}");
        }
    }
}
