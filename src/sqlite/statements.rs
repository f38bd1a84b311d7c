//! Statements with rows, on the writer's own thread.
//!
//! Most of what is written are rows of a few statements, thousands in a second. sqlx would take each argument in an enum, carry all
//! of them to the thread of its connection, and look up, bind and reset each statement by its text: as much work again as SQLite has
//! with them. So rusqlite does it, on the same connection and on the thread of the writer, bound straight from the commands
//! (`docs/decisions/0020-rows-are-bound-on-a-thread-of-their-own.md`, and 0026). sqlx stands still meanwhile: its lock on the connection
//! is held for as long as a [`Locked`] lends the prepared statements.
//!
//! Rows are a `VALUES` of up to 32 of them, or of a power of two: so there are few texts, and all of them stay prepared. What the
//! macros of sqlx check in other statements, a test does here: it prepares every statement against the schema.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
};

use rusqlite::{Params, PrepFlags, Row, Statement, ToSql};
use sqlx::{SqliteConnection, sqlite::LockedSqliteHandle};

use super::error::of_rusqlite;

/// Rows of one statement at most: SQLite takes 32,766 arguments.
pub(super) const MOST_ROWS: usize = 1024;
/// Up to here there is a statement for each number of rows; beyond, for each power of two.
const EACH_NUMBER: usize = 32;

/// How many of so many rows the next statement takes.
fn rows_at_once(rows: usize) -> usize {
    let power = rows.checked_ilog2().map_or(0, |power| 1 << power);
    if rows <= EACH_NUMBER { rows } else { power.min(MOST_ROWS) }
}

/// A statement that takes rows.
///
/// One that inserts messages or keys is an `INSERT OR FAIL`: whatever fails, its transaction or its savepoint is rolled back, so
/// SQLite need not keep copies of the pages that a statement changes, to undo it alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowsStatement {
    /// What stands before the rows. No two statements have the same.
    pub(super) head: &'static str,
    /// A row, with a `?` for each argument.
    pub(super) row: &'static str,
    /// What stands after the rows.
    pub(super) tail: &'static str,
}

impl RowsStatement {
    pub(super) fn text(&self, rows: usize) -> String {
        let Self { head, row, tail } = self;
        let mut text = String::with_capacity(head.len() + rows * (row.len() + 1) + tail.len());
        text.push_str(head);
        for number in 0..rows {
            text.push_str(if number == 0 { "" } else { "," });
            text.push_str(row);
        }
        text + tail
    }
}

/// Prepared statements of a connection.
pub(super) struct Statements<'c> {
    conn: &'c rusqlite::Connection,
    /// By the head of the text and the number of rows.
    prepared: HashMap<(&'static str, usize), Statement<'c>>,
}

impl<'c> Statements<'c> {
    pub(super) fn new(conn: &'c rusqlite::Connection) -> Self {
        Self { conn, prepared: HashMap::new() }
    }

    /// Runs a statement without rows. Returns how many rows it changed, if it is one that changes rows.
    pub(super) fn execute(
        &mut self,
        statement: &'static str,
        arguments: impl Params,
    ) -> Result<u64, rusqlite::Error> {
        self.prepare((statement, 0), || statement.to_owned())?.execute(arguments).map(|rows| rows as u64)
    }

    /// The one row of a query.
    pub(super) fn query_row<R>(
        &mut self,
        query: &'static str,
        arguments: impl Params,
    ) -> Result<R, rusqlite::Error>
    where
        R: for<'r> TryFrom<&'r Row<'r>, Error = rusqlite::Error>,
    {
        self.prepare((query, 0), || query.to_owned())?.query_row(arguments, |row| row.try_into())
    }

    /// Runs a statement with rows, each of which `fill` binds, unless there are none. Returns how many rows it changed.
    pub(super) fn execute_rows<R>(
        &mut self,
        statement: &RowsStatement,
        mut rows: &[R],
        fill: impl Fn(&mut Arguments<'_, 'c>, &R),
    ) -> Result<u64, rusqlite::Error> {
        let mut changed = 0;
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows_at_once(rows.len()));
            rows = later;
            let prepared = self.prepare((statement.head, now.len()), || statement.text(now.len()))?;
            let mut arguments = Arguments { statement: prepared, bound: 0, error: None };
            for row in now {
                fill(&mut arguments, row);
            }
            let bound = arguments.error.map_or(Ok(()), Err);
            let done = bound.and_then(|()| prepared.raw_execute());
            prepared.clear_bindings(); // texts may be large
            changed += done? as u64;
        }
        Ok(changed)
    }

    fn prepare(
        &mut self,
        key: (&'static str, usize),
        text: impl FnOnce() -> String,
    ) -> Result<&mut Statement<'c>, rusqlite::Error> {
        Ok(match self.prepared.entry(key) {
            Entry::Occupied(prepared) => prepared.into_mut(),
            Entry::Vacant(none) => {
                none.insert(self.conn.prepare_with_flags(&text(), PrepFlags::SQLITE_PREPARE_PERSISTENT)?)
            }
        })
    }
}

/// The arguments of a statement, in order.
pub(super) struct Arguments<'s, 'c> {
    statement: &'s mut Statement<'c>,
    bound: usize,
    error: Option<rusqlite::Error>,
}

impl Arguments<'_, '_> {
    /// The next argument.
    pub(super) fn bind(&mut self, value: impl ToSql) -> &mut Self {
        self.bound += 1;
        if let Err(error) = self.statement.raw_bind_parameter(self.bound, value) {
            self.error.get_or_insert(error);
        }
        self
    }
}

/// A connection of sqlx, as rusqlite has it.
pub(super) struct SharedConnection {
    conn: rusqlite::Connection,
    address: usize, // of the handle
}

impl SharedConnection {
    /// That of this connection.
    #[expect(
        unsafe_code,
        reason = "to share a connection is what sqlx's lock_handle and rusqlite's from_handle are for"
    )]
    pub(super) async fn of(conn: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let handle = conn.lock_handle().await?.as_raw_handle().as_ptr();
        // SAFETY: the handle is open for as long as it is used, and nobody else uses it then. It is used by `Statements`, which are
        // reached through a `Locked` alone, which has sqlx's lock on this very connection, and which end with the `Connection` that
        // lends them, under the lock too. That borrows the connection of sqlx, which cannot be closed before. What is left then calls
        // nothing of SQLite's when it is dropped, since it does not own the handle.
        let conn = unsafe { rusqlite::Connection::from_handle(handle) }.map_err(of_rusqlite)?;
        Ok(Self { conn, address: handle.addr() })
    }
}

/// What `work` does, or an error if it panics.
pub(super) fn unless_it_panics<R>(work: impl FnOnce() -> R) -> Result<R, sqlx::Error> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| sqlx::Error::WorkerCrashed)
}

/// A connection for statements of sqlx, and for those with rows.
pub(super) struct Connection<'c> {
    sqlx: &'c mut SqliteConnection,
    statements: Statements<'c>,
    address: usize,
}

impl<'c> Connection<'c> {
    /// With that of another connection it cannot be locked.
    pub(super) fn new(sqlx: &'c mut SqliteConnection, shared: &'c SharedConnection) -> Self {
        Self { sqlx, statements: Statements::new(&shared.conn), address: shared.address }
    }

    /// For statements of sqlx.
    pub(super) fn sqlx(&mut self) -> &mut SqliteConnection {
        self.sqlx
    }

    /// For statements with rows. To lock it costs a hop to sqlx's thread, so whoever has more of them keeps it.
    pub(super) async fn lock(&mut self) -> Result<Locked<'_, 'c>, sqlx::Error> {
        let Self { sqlx, statements, address } = self;
        let mut lock = sqlx.lock_handle().await?;
        let is_its_own = lock.as_raw_handle().addr().get() == *address;
        if is_its_own { Ok(Locked { _lock: lock, statements }) } else { Err(sqlx::Error::WorkerCrashed) }
    }
}

impl Drop for Connection<'_> {
    /// What was prepared ends: the connection can be closed then.
    fn drop(&mut self) {
        let lock = block_on(self.sqlx.lock_handle());
        self.statements.prepared.clear();
        drop(lock);
    }
}

/// A connection that sqlx does not use.
pub(super) struct Locked<'l, 'c> {
    _lock: LockedSqliteHandle<'l>,
    statements: &'l mut Statements<'c>,
}

impl<'c> Locked<'_, 'c> {
    /// For as long as the lock is held.
    pub(super) fn statements(&mut self) -> &mut Statements<'c> {
        self.statements
    }
}

/// Waits on this thread for a future that other threads bring to its end.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
