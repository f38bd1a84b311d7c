//! Ids for answers to requests that brought none.

use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;

/// Hands out ids that no other request of this or another run has.
#[derive(Debug)]
pub struct RequestIds {
    run_tag: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of a run; `run_tag` is random, so that ids of two runs differ.
    #[must_use]
    pub fn new(run_tag: [u8; 8]) -> Self {
        Self { run_tag: u64::from_le_bytes(run_tag), next: AtomicU64::new(0) }
    }

    /// The next one, as text.
    pub(super) fn next_text(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}-{number:x}", self.run_tag)
    }

    /// The next one.
    #[must_use]
    pub fn next(&self) -> HeaderValue {
        HeaderValue::try_from(self.next_text()).unwrap_or(HeaderValue::from_static("-"))
    }
}
