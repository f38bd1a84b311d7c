//! Statements that are sent to SQLite's thread together, with their rows bound.
//!
//! Each call into sqlx is a hop to the thread of the connection and back, which costs more than a small statement. sqlx takes
//! a text of several statements in one hop, prepares each once, and gives every `?` of them the next argument, in order.
//!
//! Rows are a `VALUES` of a fixed number of them, a power of two, of which a `LIMIT` takes those that there are: so there are
//! few texts, and all of them stay prepared. What the macros of sqlx check in other statements, a test does here: it prepares
//! every statement against the schema.

use futures_util::TryStreamExt as _;
use sqlx::{
    Arguments as _, AssertSqlSafe, Either, Encode, Executor as _, Sqlite, SqliteConnection, Type,
    sqlite::SqliteArguments,
};

/// Rows of one statement at most: SQLite takes 32,766 arguments.
pub(super) const MOST_ROWS: usize = 1024;

/// A statement that takes rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsStatement {
    /// What stands before the rows, up to `FROM`.
    pub(super) head: &'static str,
    /// Columns of a row: `column1`, `column2` and so on.
    pub(super) columns: usize,
    /// What stands after the rows.
    pub(super) tail: &'static str,
}

/// Statements on their way to SQLite.
#[derive(Default)]
pub(super) struct Script {
    text: String,
    arguments: SqliteArguments,
    statements: usize,
    error: Option<sqlx::Error>,
    /// The statements whose rows are counted.
    counts: Vec<usize>,
    counted: u64,
}

type Bind<'a> = &'a dyn Fn(&mut Script);

/// No arguments but the rows.
pub(super) const NO_MORE: (Bind<'static>, Bind<'static>) = (&|_| (), &|_| ());

/// How far a script came.
#[derive(Debug)]
pub(super) struct ScriptError {
    pub(super) error: sqlx::Error,
    /// Whether only the last statement failed.
    pub(super) at_the_end: bool,
}

impl Script {
    /// Adds a statement; its arguments follow with [`bind`](Self::bind).
    pub(super) fn add(&mut self, statement: &str) -> &mut Self {
        self.text.push_str(statement);
        self.text.push(';');
        self.statements += 1;
        self
    }

    /// The next argument.
    pub(super) fn bind<T>(&mut self, value: T) -> &mut Self
    where
        T: Encode<'static, Sqlite> + Type<Sqlite>,
    {
        if let Err(error) = self.arguments.add(value) {
            self.error.get_or_insert(sqlx::Error::Encode(error));
        }
        self
    }

    /// Adds a statement with rows, each of which `fill` binds, unless there are none. `before` and `after` bind the arguments
    /// before and after the rows.
    pub(super) fn add_rows<R>(
        &mut self,
        statement: &RowsStatement,
        rows: &[R],
        (before, after): (Bind<'_>, Bind<'_>),
        fill: impl Fn(&mut Self, &R),
    ) {
        for chunk in rows.chunks(MOST_ROWS) {
            let room = chunk.len().next_power_of_two();
            self.push_text(statement, room);
            before(self);
            for row in chunk {
                fill(self, row);
            }
            for _ in 0..(room - chunk.len()) * statement.columns {
                self.bind(None::<i64>);
            }
            self.bind(i64::try_from(chunk.len()).unwrap_or(i64::MAX));
            after(self);
        }
    }

    fn push_text(&mut self, statement: &RowsStatement, rows: usize) {
        self.text.push_str(statement.head);
        self.text.push_str(" FROM (VALUES ");
        for row in 0..rows {
            self.text.push_str(if row == 0 { "(?" } else { ",(?" });
            (1..statement.columns).for_each(|_| self.text.push_str(",?"));
            self.text.push(')');
        }
        // With a bare `LIMIT ?` SQLite would plan for the number, and prepare the statement again for another one.
        self.text.push_str(") LIMIT ? + 0");
        self.add(statement.tail);
    }

    /// Counts the rows that the last statement will have changed.
    pub(super) fn count_rows(&mut self) {
        self.counts.push(self.statements);
    }

    /// The rows that were counted in all runs.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// The text of one statement, for tests.
    #[cfg(test)]
    pub(super) fn text_of(statement: &RowsStatement, rows: usize) -> String {
        let mut script = Self::default();
        script.push_text(statement, rows);
        script.text
    }

    /// Runs what was added, in one hop, and starts again with nothing. What follows a statement that failed is not run.
    pub(super) async fn run(&mut self, conn: &mut SqliteConnection) -> Result<(), ScriptError> {
        let Self { text, arguments, statements, error, counts, counted } = std::mem::take(self);
        self.counted = counted;
        let failed = |error, at_the_end| Err(ScriptError { error, at_the_end });
        if let Some(error) = error {
            return failed(error, false);
        }
        if statements == 0 {
            return Ok(());
        }
        let mut done = 0;
        let mut results = conn.fetch_many(sqlx::query_with(AssertSqlSafe(text), arguments));
        loop {
            match results.try_next().await {
                Ok(Some(Either::Left(result))) => {
                    done += 1;
                    self.counted += if counts.contains(&done) { result.rows_affected() } else { 0 };
                }
                Ok(Some(Either::Right(_))) => {}
                Ok(None) if done == statements => return Ok(()),
                Ok(None) => return failed(sqlx::Error::WorkerCrashed, done + 1 == statements),
                Err(error) => return failed(error, done + 1 == statements),
            }
        }
    }
}

impl From<ScriptError> for sqlx::Error {
    fn from(failed: ScriptError) -> Self {
        failed.error
    }
}
