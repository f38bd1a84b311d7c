//! What a piece of work is done for: the request whose log line counts it, and the span above it.
//!
//! It goes along with the future that does the work, so that who counts a query or begins a span need not be told. Work that
//! is moved to a task of its own takes it along with [`carry`].

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::task::futures::TaskLocalFuture;

use super::trace::Above;

tokio::task_local! {
    static SCOPE: Scope;
}

/// What work is done for.
#[derive(Clone, Default)]
pub struct Scope {
    queries: Option<Arc<Queries>>,
    pub(super) above: Option<Arc<Above>>,
}

/// How often a request waited for the store.
#[derive(Debug, Default)]
pub struct Queries(AtomicU32);

impl Queries {
    /// How often.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Scope {
    /// The scope of the work that is going on.
    #[must_use]
    pub fn current() -> Self {
        SCOPE.try_with(Clone::clone).unwrap_or_default()
    }

    /// The same, with its queries counted there.
    #[must_use]
    pub fn counting(self, queries: Option<Arc<Queries>>) -> Self {
        Self { queries, ..self }
    }

    /// The same, below another span.
    pub(super) fn below(self, above: Arc<Above>) -> Self {
        Self { above: Some(above), ..self }
    }

    /// Work in this scope.
    pub fn run<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        SCOPE.scope(self, work)
    }
}

/// Work in the scope of the present, wherever it will run.
pub fn carry<F: Future>(work: F) -> TaskLocalFuture<Scope, F> {
    Scope::current().run(work)
}

/// Counts a command that the store is given or a read that it is asked for.
pub fn count_query() {
    let count = |scope: &Scope| {
        if let Some(queries) = &scope.queries {
            queries.0.fetch_add(1, Ordering::Relaxed);
        }
    };
    SCOPE.try_with(count).ok(); // else nobody counts
}

/// The span that new ones go below; `None` if there is none, or if it is not kept.
pub(super) fn above() -> Option<Arc<Above>> {
    SCOPE.try_with(|scope| scope.above.clone()).ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn queries_are_counted_where_the_work_goes() {
        let queries = Arc::new(Queries::default());
        let work = async {
            count_query();
            let inner = tokio::spawn(carry(async { count_query() }));
            let outside = tokio::spawn(async { count_query() });
            inner.await.unwrap();
            outside.await.unwrap();
        };
        Scope::default().counting(Some(Arc::clone(&queries))).run(work).await;
        count_query();
        assert_eq!(queries.count(), 2);
    }
}
