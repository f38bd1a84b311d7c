//! Where a test decides when the writer takes a batch, and when callers are told what came of it.

use std::cell::Cell;

use tokio::sync::{Semaphore, watch};

use crate::sqlite::writer::News;

thread_local! {
    /// Whether a store that is opened on this thread has its gate shut.
    static SHUT: Cell<bool> = const { Cell::new(false) };
}

/// Opens a store whose gate is shut, and whose writer looks for edits only when it is asked.
pub(super) async fn shut<S>(open: impl Future<Output = S>) -> S {
    SHUT.set(true);
    let store = open.await;
    SHUT.set(false);
    store
}

/// The writer passes it before each batch, and each of its news before it is told. It is open unless a test has it [shut](shut()).
pub(in crate::sqlite) struct Gate {
    is_shut: bool,
    batches: Semaphore,
    news: Semaphore,
    so_far: watch::Sender<SoFar>,
}

#[derive(Default)]
pub(super) struct SoFar {
    /// Batches that were taken.
    pub(super) taken: usize,
    /// Batches of which it is said what came of them.
    pub(super) ended: usize,
    /// News that were told, or are just being told.
    pub(super) told: usize,
    /// Whether the writer has asked to be told when all is told.
    waits_until_told: bool,
}

impl Default for Gate {
    fn default() -> Self {
        let is_shut = SHUT.get();
        let permits = || Semaphore::new(if is_shut { 0 } else { Semaphore::MAX_PERMITS });
        Self { is_shut, batches: permits(), news: permits(), so_far: watch::Sender::default() }
    }
}

impl Gate {
    pub(in crate::sqlite) fn is_shut(&self) -> bool {
        self.is_shut
    }

    /// Takes a batch once there is a permit, which is for the next try if this one is given up.
    pub(in crate::sqlite) async fn pass<T>(&self, take: impl Future<Output = T>) -> T {
        let permit = self.batches.acquire().await.unwrap();
        let taken = take.await;
        permit.forget();
        self.so_far.send_modify(|so_far| so_far.taken += 1);
        taken
    }

    pub(in crate::sqlite) fn said(&self, news: &News) {
        self.so_far.send_modify(|so_far| match news {
            News::Written(..) | News::Failed(..) => so_far.ended += 1,
            News::SoFar(_) => so_far.waits_until_told = true,
        });
    }

    /// Takes news once there is a permit.
    pub(in crate::sqlite) async fn tell(&self, next: impl Future<Output = Option<News>>) -> Option<News> {
        let permit = self.news.acquire().await.unwrap();
        let news = next.await?;
        permit.forget();
        self.so_far.send_modify(|so_far| so_far.told += 1);
        Some(news)
    }

    pub(super) fn let_through(&self, batches: usize) {
        self.batches.add_permits(batches);
    }

    pub(super) fn let_tell(&self, news: usize) {
        self.news.add_permits(news);
    }

    pub(super) fn open(&self) {
        self.let_through(Semaphore::MAX_PERMITS / 2);
        self.let_tell(Semaphore::MAX_PERMITS / 2);
    }

    pub(super) fn batches_ended(&self) -> usize {
        self.so_far.borrow().ended
    }

    pub(super) async fn wait_for(&self, holds: impl FnMut(&SoFar) -> bool) {
        self.so_far.subscribe().wait_for(holds).await.unwrap();
    }

    pub(super) async fn until_the_writer_waits(&self) {
        self.wait_for(|so_far| so_far.waits_until_told).await;
    }
}
