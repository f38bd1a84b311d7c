//! From SQLite's errors to [`StoreError`].

use crate::repository::StoreError;

/// Primary result codes, <https://sqlite.org/rescode.html>.
const BUSY: u32 = 5;
const LOCKED: u32 = 6;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const NOT_A_DATABASE: u32 = 26;
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
    match primary_code(error) {
        Some(code) => FAULTS_OF_ONE_COMMAND.contains(&code),
        None => !matches!(error, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed),
    }
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
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|extended| extended & 0xff)
}
