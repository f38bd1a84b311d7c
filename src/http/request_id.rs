//! Ids for answers to requests that brought none.

use std::{
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
};

use http::HeaderValue;

/// Bytes of the longest id.
const LONGEST: usize = 33;

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
        self.next().to_str().unwrap_or_default().to_owned()
    }

    /// The next one.
    #[must_use]
    pub fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = [0; LONGEST];
        let mut rest = &mut text[..];
        // It has room: each number is at most sixteen digits.
        write!(rest, "{:016x}-{number:x}", self.run_tag).ok();
        let length = LONGEST - rest.len();
        HeaderValue::from_bytes(&text[..length]).unwrap_or(HeaderValue::from_static("-"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_tag_of_the_run_and_a_number() {
        let ids = RequestIds::new([0xab, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ids.next(), "00000000000000ab-0");
        assert_eq!(ids.next_text(), "00000000000000ab-1");
        let longest = RequestIds { run_tag: u64::MAX, next: AtomicU64::new(u64::MAX) };
        assert_eq!(longest.next(), "ffffffffffffffff-ffffffffffffffff");
    }
}
