//! Statements with rows, beside those of sqlx on the same connection.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    task::Poll,
    thread,
};

use rusqlite::StatementStatus;
use sqlx::{Connection as _, SqliteConnection};

use super::super::{
    error::of_rusqlite,
    statements::{Connection, MOST_ROWS, RowsStatement, StatementThread, Statements},
};

const INSERT: RowsStatement =
    RowsStatement { head: "INSERT INTO number (n, text) VALUES ", row: "(?, ?)", tail: "" };

async fn connect() -> SqliteConnection {
    let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
    sqlx::query("CREATE TABLE number (n INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")
        .execute(&mut conn)
        .await
        .unwrap();
    conn
}

async fn rows(conn: &mut SqliteConnection) -> Vec<(i64, String)> {
    sqlx::query_as("SELECT n, text FROM number ORDER BY n").fetch_all(conn).await.unwrap()
}

#[tokio::test]
async fn as_many_rows_are_written_as_there_are() {
    let mut conn = connect().await;
    let statements = StatementThread::start(&mut conn).await.unwrap();
    let mut both = Connection::new(&mut conn, statements);
    for count in [0, 1, 2, 3, 31, 32, 33, 75, MOST_ROWS - 1, MOST_ROWS, 2 * MOST_ROWS + 5] {
        let given: Vec<(i64, String)> =
            (0..i64::try_from(count).unwrap()).map(|n| (n, format!("text {n}"))).collect();
        let expected = given.clone();
        let mut lock = both.lock().await.unwrap();
        let changed = lock.run(move |statements| {
            statements.execute_rows(&INSERT, &given, |arguments, (n, text)| {
                arguments.bind(*n).bind(text.as_str());
            })
        });
        assert_eq!(changed.await.unwrap().unwrap(), count as u64);
        drop(lock);
        assert_eq!(rows(both.sqlx()).await, expected);
        sqlx::query("DELETE FROM number").execute(both.sqlx()).await.unwrap();
    }
    drop(both);
    conn.close().await.unwrap();
}

/// SQLite would plan a statement with `LIMIT ?` or a partial index anew for each argument, unless it is compiled not to.
#[test]
fn a_statement_is_prepared_once_whatever_its_arguments_are() {
    let conn = rusqlite::Connection::open_in_memory().unwrap();
    conn.execute_batch(
        "CREATE TABLE number (n INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
         CREATE INDEX number_a ON number (n) WHERE text = 'a';
         INSERT INTO number VALUES (1, 'a'), (2, 'b'), (3, 'a')",
    )
    .unwrap();
    let mut limited = conn.prepare("SELECT n FROM number WHERE text = ?1 ORDER BY n LIMIT ?2").unwrap();
    for (text, limit, found) in [("a", 1, vec![1]), ("b", 9, vec![2]), ("a", 9, vec![1, 3])] {
        let rows = limited.query_map((text, limit), |row| row.get(0)).unwrap();
        assert_eq!(rows.collect::<Result<Vec<i64>, _>>().unwrap(), found);
    }
    assert_eq!(
        limited.get_status(StatementStatus::RePrepare),
        0,
        "SQLite is not compiled as .cargo/config.toml says"
    );
}

/// What becomes of an error depends on its code, and people read its text.
#[tokio::test]
async fn an_error_is_the_same_through_both_libraries() {
    let mut conn = connect().await;
    let statements = StatementThread::start(&mut conn).await.unwrap();
    let mut both = Connection::new(&mut conn, statements);
    for statement in [
        "INSERT INTO number (n, text) VALUES (1, NULL)",
        "INSERT INTO number (n, text) VALUES (1, 'a'), (1, 'b')",
        "COMMIT",
        "no statement",
    ] {
        let through_sqlx = sqlx::query(statement).execute(both.sqlx()).await.unwrap_err();
        let mut lock = both.lock().await.unwrap();
        let through_rusqlite = lock.run(move |statements| statements.execute(statement, ())).await.unwrap();
        let through_rusqlite = of_rusqlite(through_rusqlite.unwrap_err());
        let code =
            |error: &sqlx::Error| error.as_database_error().unwrap().code().map(|code| code.to_string());
        assert_eq!(code(&through_rusqlite), code(&through_sqlx), "{statement}");
        assert_eq!(through_rusqlite.to_string(), through_sqlx.to_string());
    }
    assert_eq!(rows(both.sqlx()).await, []);
}

/// sqlx must not have the connection back before.
#[tokio::test]
async fn whoever_stops_waiting_for_a_job_waits_until_it_has_ended() {
    let mut conn = connect().await;
    let statements = StatementThread::start(&mut conn).await.unwrap();
    let mut both = Connection::new(&mut conn, statements);
    let (go_on, goes_on) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    {
        let mut lock = both.lock().await.unwrap();
        let (begun, has_begun) = mpsc::channel();
        let has_ended = Arc::clone(&ended);
        let mut job = pin!(lock.run(move |statements| {
            begun.send(()).unwrap();
            goes_on.recv().unwrap();
            statements.execute("INSERT INTO number (n, text) VALUES (?1, 'a')", (1,)).unwrap();
            has_ended.store(true, Ordering::SeqCst);
        }));
        assert!(poll_fn(|context| Poll::Ready(job.as_mut().poll(context))).await.is_pending());
        has_begun.recv().unwrap();
        // It is let go on while this thread is in the drop, or before: the drop waits in either case.
        thread::spawn(move || go_on.send(()).unwrap());
    }
    assert!(ended.load(Ordering::SeqCst));
    assert_eq!(rows(both.sqlx()).await, [(1, "a".to_owned())]);
}

/// What it had prepared stays, so that nothing of the thread's touches the connection while sqlx has it.
#[tokio::test]
async fn a_job_that_panics_is_an_error_and_the_next_one_runs() {
    let mut conn = connect().await;
    let statements = StatementThread::start(&mut conn).await.unwrap();
    let mut both = Connection::new(&mut conn, statements);
    for round in 0..3_i64 {
        let mut lock = both.lock().await.unwrap();
        let insert = move |statements: &mut Statements<'_>| {
            statements.execute_rows(&INSERT, &[round], |arguments, n| _ = arguments.bind(*n).bind("a"))
        };
        assert_eq!(lock.run(insert).await.unwrap().unwrap(), 1);
        let failed: Result<(), _> = lock.run(|_| panic!("on purpose")).await;
        assert!(matches!(failed, Err(sqlx::Error::WorkerCrashed)), "{failed:?}");
        drop(lock);
        assert_eq!(rows(both.sqlx()).await.len(), usize::try_from(round + 1).unwrap());
    }
    drop(both);
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_connection_is_not_locked_for_the_thread_of_another() {
    let (mut one, mut other) = (connect().await, connect().await);
    let statements = StatementThread::start(&mut one).await.unwrap();
    let mut both = Connection::new(&mut other, statements);
    assert!(both.lock().await.is_err());
    assert_eq!(rows(both.sqlx()).await, []);
}
