//! A small memory of which idempotency keys may be on record, so that a new one costs no look-up.
//!
//! Two generations of Bloom filters: every key goes into the younger; a key on record is in one of the two. When the younger
//! is as old as a key may get, the older is emptied and takes its place. So "no" is certain and "maybe" is rare. A generation
//! that fills up gets another filter of twice the size.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hash},
    time::Duration,
};

use crate::domain::time::Millis;

/// The words of a block, which is a line of the processor's cache: all bits of a key are in one.
const BLOCK: usize = 8;
/// Blocks of the first filter of a generation: 4 MiB.
const FIRST: usize = 1 << 16;
/// Bits of room for each key: some 0.1 % of new keys are a "maybe" then, when the filter is full.
const BITS_PER_KEY: usize = 20;
const PROBES: usize = 5;

#[derive(Debug)]
pub(super) struct KeyFilter {
    younger: Generation,
    older: Generation,
    younger_since: Millis,
    ttl: Duration,
    hasher: RandomState,
    /// Whether every key on record is in it.
    complete: bool,
}

impl KeyFilter {
    /// An empty filter for keys that live `ttl` after they were last added. Where there may be keys on record, all are a "maybe"
    /// until those are added too.
    pub(super) fn new(ttl: Duration, now: Millis) -> Self {
        let (younger, older) = (Generation::default(), Generation::default());
        Self { younger, older, younger_since: now, ttl, hasher: RandomState::new(), complete: false }
    }

    /// All keys on record have been added.
    pub(super) fn is_complete(&mut self) {
        self.complete = true;
    }

    /// Remembers `key`. To be called when its work starts and when it ends, since its life is counted from the end.
    pub(super) fn add(&mut self, key: &impl Hash, now: Millis) {
        if now.since(self.younger_since) > self.ttl {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger = Generation::default();
            self.younger_since = now;
        }
        self.younger.add(self.hasher.hash_one(key));
    }

    /// Remembers `key`, which was added at `since`, for another life; it is known that long already if the generation is still
    /// the same.
    pub(super) fn add_again(&mut self, key: &impl Hash, since: Millis, now: Millis) {
        if since < self.younger_since || now.since(self.younger_since) > self.ttl {
            self.add(key, now);
        }
    }

    /// Whether `key` may be on record. `false` is certain.
    pub(super) fn may_contain(&self, key: &impl Hash) -> bool {
        let hash = self.hasher.hash_one(key);
        !self.complete || self.younger.may_contain(hash) || self.older.may_contain(hash)
    }
}

/// Filters of growing size.
#[derive(Debug, Default)]
struct Generation {
    filters: Vec<Vec<[u64; BLOCK]>>,
    room: usize, // keys that the last of them still takes
}

impl Generation {
    fn add(&mut self, hash: u64) {
        if self.may_contain(hash) {
            return; // added again, it takes no room; and if it only looks so, all its bits are there all the same
        }
        if self.room == 0 {
            let blocks = self.filters.last().map_or(FIRST, |last| last.len() * 2);
            self.filters.push(vec![[0; BLOCK]; blocks]);
            self.room = blocks * BLOCK * 64 / BITS_PER_KEY;
        }
        self.room -= 1;
        let Some(filter) = self.filters.last_mut() else { return };
        let block = block_of(hash, filter.len());
        if let Some(block) = filter.get_mut(block) {
            bits_of(hash).for_each(|(word, bit)| block[word] |= bit);
        }
    }

    fn may_contain(&self, hash: u64) -> bool {
        self.filters.iter().any(|filter| {
            let block = filter.get(block_of(hash, filter.len()));
            block.is_some_and(|block| bits_of(hash).all(|(word, bit)| block[word] & bit != 0))
        })
    }
}

/// Which block of so many, a power of two: the lower half of the hash says it.
fn block_of(hash: u64, blocks: usize) -> usize {
    usize::try_from(hash & 0xffff_ffff).unwrap_or_default() & (blocks - 1)
}

/// The words and bits of a key in its block: six bits of the upper half of the hash for each, in words one after the other.
fn bits_of(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    let first = usize::try_from(hash >> 61).unwrap_or_default();
    (0..PROBES).map(move |probe| ((first + probe) % BLOCK, 1 << ((hash >> (32 + 6 * probe)) & 63)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_mins(5);

    /// An empty one, where nothing is on record.
    fn filter() -> KeyFilter {
        let mut filter = KeyFilter::new(TTL, Millis(0));
        filter.is_complete();
        filter
    }

    #[test]
    fn all_are_a_maybe_until_those_on_record_are_known() {
        assert!(KeyFilter::new(TTL, Millis(0)).may_contain(&"new"));
        assert!(!filter().may_contain(&"new"));
    }

    #[test]
    fn a_key_is_hardly_ever_a_maybe_however_many_there_are() {
        let mut filter = filter();
        (0..3_200_000_u32).for_each(|key| filter.add(&key, Millis(0)));
        assert!((0..100_000).all(|key| filter.may_contain(&key)));
        let maybes = (3_200_000..3_300_000_u32).filter(|key| filter.may_contain(key)).count();
        assert!(maybes < 8_000, "{maybes} of 100,000");
    }

    #[test]
    fn keys_that_are_added_again_take_no_room() {
        let mut filter = filter();
        for _ in 0..40 {
            (0..100_000_u32).for_each(|key| filter.add(&key, Millis(0)));
        }
        assert_eq!(filter.younger.filters.len(), 1);
    }

    #[test]
    fn a_key_that_ends_later_lives_from_then_on() {
        let mut filter = filter();
        filter.add(&"key", Millis(10));
        filter.add_again(&"key", Millis(10), Millis(299_000));
        filter.add(&"x", Millis(300_001));
        assert!(filter.may_contain(&"key"));
        filter.add_again(&"key", Millis(10), Millis(300_002));
        filter.add(&"x", Millis(600_002));
        assert!(filter.may_contain(&"key"), "its work ended in the second generation");
        filter.add(&"x", Millis(900_003));
        assert!(!filter.may_contain(&"key"));
    }

    #[test]
    fn a_new_key_is_hardly_ever_a_maybe() {
        let mut filter = filter();
        (0..100_000).for_each(|key| filter.add(&key, Millis(0)));
        let maybes = (100_000..200_000).filter(|key| filter.may_contain(key)).count();
        assert!(maybes < 100, "{maybes} of 100,000");
    }

    #[test]
    fn a_key_is_forgotten_in_the_end() {
        let mut filter = filter();
        filter.add(&"old", Millis(0));
        filter.add(&"x", Millis(300_001));
        filter.add(&"x", Millis(600_002));
        assert!(!filter.may_contain(&"old"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_key_is_known_for_as_long_as_it_lives(steps in prop::collection::vec((0_u16..50, 0_i64..120_000), 1..60)) {
            let mut filter = filter();
            let mut added: Vec<(u16, i64)> = Vec::new();
            let mut now = 0;
            for (key, wait) in steps {
                now += wait;
                filter.add(&key, Millis(now));
                added.push((key, now));
                for (key, at) in &added {
                    prop_assert!(now - at > 300_000 || filter.may_contain(key));
                }
            }
        }
    }
}
