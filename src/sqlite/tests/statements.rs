//! Statements with rows, beside those of sqlx on the same connection.

use rusqlite::StatementStatus;
use sqlx::{Connection as _, SqliteConnection};

use super::super::{
    error::of_rusqlite,
    statements::{Connection, MOST_ROWS, RowsStatement, SharedConnection, unless_it_panics},
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
    let shared = SharedConnection::of(&mut conn).await.unwrap();
    let mut both = Connection::new(&mut conn, &shared);
    for count in [0, 1, 2, 3, 31, 32, 33, 75, MOST_ROWS - 1, MOST_ROWS, 2 * MOST_ROWS + 5] {
        let given: Vec<(i64, String)> =
            (0..i64::try_from(count).unwrap()).map(|n| (n, format!("text {n}"))).collect();
        let mut lock = both.lock().await.unwrap();
        let changed = lock.statements().execute_rows(&INSERT, &given, |arguments, (n, text)| {
            arguments.bind(*n).bind(text.as_str());
        });
        assert_eq!(changed.unwrap(), count as u64);
        drop(lock);
        assert_eq!(rows(both.sqlx()).await, given);
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
    let shared = SharedConnection::of(&mut conn).await.unwrap();
    let mut both = Connection::new(&mut conn, &shared);
    for statement in [
        "INSERT INTO number (n, text) VALUES (1, NULL)",
        "INSERT INTO number (n, text) VALUES (1, 'a'), (1, 'b')",
        "COMMIT",
        "no statement",
    ] {
        let through_sqlx = sqlx::query(statement).execute(both.sqlx()).await.unwrap_err();
        let mut lock = both.lock().await.unwrap();
        let through_rusqlite = of_rusqlite(lock.statements().execute(statement, ()).unwrap_err());
        drop(lock);
        let code =
            |error: &sqlx::Error| error.as_database_error().unwrap().code().map(|code| code.to_string());
        assert_eq!(code(&through_rusqlite), code(&through_sqlx), "{statement}");
        assert_eq!(through_rusqlite.to_string(), through_sqlx.to_string());
    }
    assert_eq!(rows(both.sqlx()).await, []);
}

/// What was prepared stays usable, and ends before sqlx closes the connection.
#[tokio::test]
async fn work_that_panics_is_an_error_and_what_comes_next_runs() {
    let mut conn = connect().await;
    let shared = SharedConnection::of(&mut conn).await.unwrap();
    let mut both = Connection::new(&mut conn, &shared);
    for round in 0..3_i64 {
        let mut lock = both.lock().await.unwrap();
        let failed: Result<(), _> = unless_it_panics(|| {
            lock.statements()
                .execute("INSERT INTO number (n, text) VALUES (?1, 'b')", (-1 - round,))
                .unwrap();
            panic!("on purpose")
        });
        assert!(matches!(failed, Err(sqlx::Error::WorkerCrashed)), "{failed:?}");
        let insert = lock.statements().execute_rows(&INSERT, &[round], |arguments, n| {
            arguments.bind(*n).bind("a");
        });
        assert_eq!(insert.unwrap(), 1);
        drop(lock);
        assert_eq!(rows(both.sqlx()).await.len(), usize::try_from(2 * (round + 1)).unwrap());
    }
    drop(both);
    conn.close().await.unwrap();
}

#[tokio::test]
async fn a_connection_is_not_locked_for_that_of_another() {
    let (mut one, mut other) = (connect().await, connect().await);
    let shared = SharedConnection::of(&mut one).await.unwrap();
    let mut both = Connection::new(&mut other, &shared);
    assert!(both.lock().await.is_err());
    assert_eq!(rows(both.sqlx()).await, []);
}
