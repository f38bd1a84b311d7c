//! Waiting for a state: looking again and again, with a pause in between that leaves the processor to what is waited for.

use std::{fmt::Debug, path::Path, time::Duration};

use super::{gateway::sqlite3, process::LONGEST_WAIT};

/// Between two looks, many of which begin a program.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Looks until there is something. Fails the test instead of hanging, and says what was awaited.
pub async fn until_some<T>(awaited: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            pause().await;
        }
    };
    let found = tokio::time::timeout(LONGEST_WAIT, looking).await;
    found.unwrap_or_else(|_| panic!("not within {LONGEST_WAIT:?}: {awaited}"))
}

/// Looks until it holds.
pub async fn until(awaited: &str, mut holds: impl AsyncFnMut() -> bool) {
    until_some(awaited, async || holds().await.then_some(())).await;
}

/// Looks until this is seen.
pub async fn until_is<T: PartialEq<E> + Debug, E: Debug + ?Sized>(
    awaited: &str,
    expected: &E,
    mut look: impl AsyncFnMut() -> T,
) {
    let mut last = None;
    let looking = async {
        loop {
            let seen = look().await;
            if seen == *expected {
                return;
            }
            last = Some(seen);
            pause().await;
        }
    };
    let found = tokio::time::timeout(LONGEST_WAIT, looking).await;
    assert!(
        found.is_ok(),
        "{awaited}: {expected:?} is expected, but within {LONGEST_WAIT:?} it stays {last:?}"
    );
}

/// Waits until a query on the database says this.
pub async fn until_query(database: &Path, query: &str, expected: &str) {
    until_is(query, expected, async || sqlite3(database, query)).await;
}
