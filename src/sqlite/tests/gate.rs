//! Where a test decides when the writer takes a batch.

use std::cell::Cell;

use tokio::sync::{Semaphore, SemaphorePermit, watch};

thread_local! {
    /// Whether a store that is opened on this thread has its gate shut.
    pub(super) static SHUT: Cell<bool> = const { Cell::new(false) };
}

/// The writer passes it before each batch. It is open unless a test has it [shut](SHUT).
pub(in crate::sqlite) struct Gate {
    permits: Semaphore,
    batches: watch::Sender<Batches>,
}

/// Of the batches so far.
#[derive(Default)]
pub(super) struct Batches {
    pub(super) taken: usize,
    pub(super) ended: usize,
    /// Whether the writer waits, or has waited, until they are told.
    waits_until_told: bool,
}

impl Default for Gate {
    fn default() -> Self {
        let permits = if SHUT.get() { 0 } else { Semaphore::MAX_PERMITS };
        Self { permits: Semaphore::new(permits), batches: watch::Sender::default() }
    }
}

impl Gate {
    pub(in crate::sqlite) async fn permit(&self) -> SemaphorePermit<'_> {
        self.permits.acquire().await.unwrap()
    }

    /// There was a batch. A permit that is dropped instead is for the next try.
    pub(in crate::sqlite) fn taken(&self, permit: SemaphorePermit<'_>) {
        permit.forget();
        self.batches.send_modify(|batches| batches.taken += 1);
    }

    /// What came of a batch is being told.
    pub(in crate::sqlite) fn ended(&self) {
        self.batches.send_modify(|batches| batches.ended += 1);
    }

    /// The writer waits until all is told.
    pub(in crate::sqlite) fn waits(&self) {
        self.batches.send_modify(|batches| batches.waits_until_told = true);
    }

    pub(super) fn waits_until_told(&self) -> bool {
        self.batches.borrow().waits_until_told
    }

    pub(super) fn let_through(&self, batches: usize) {
        self.permits.add_permits(batches);
    }

    pub(super) fn batches_ended(&self) -> usize {
        self.batches.borrow().ended
    }

    pub(super) async fn wait_for(&self, so_far: impl FnMut(&Batches) -> bool) {
        self.batches.subscribe().wait_for(so_far).await.unwrap();
    }
}
