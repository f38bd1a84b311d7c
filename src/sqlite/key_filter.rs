//! A small memory of which idempotency keys may be on record, so that a new one costs no look-up.
//!
//! Two Bloom filters of fixed size: every key goes into the younger; a key on record is in one of the two. When the younger
//! is as old as a key may get, the older is emptied and takes its place. So "no" is certain and "maybe" is rare, until
//! more keys are used within one time to live than the filters were made for: then "maybe" gets more frequent, and the
//! store is asked more often.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hash},
    time::Duration,
};

use crate::domain::time::Millis;

/// 2²⁵ bits, 4 MiB: 1 % of new keys are a "maybe" at 2.6 million keys in a generation.
const BITS: u64 = 1 << 25;
const PROBES: u64 = 4;

#[derive(Debug)]
pub(super) struct KeyFilter {
    younger: Vec<u64>,
    older: Vec<u64>,
    younger_since: Millis,
    ttl: Duration,
    hasher: RandomState,
}

impl KeyFilter {
    /// An empty filter for keys that live `ttl` after they were last added.
    pub(super) fn new(ttl: Duration, now: Millis) -> Self {
        let empty = || vec![0; usize::try_from(BITS / 64).unwrap_or_default()];
        Self { younger: empty(), older: empty(), younger_since: now, ttl, hasher: RandomState::new() }
    }

    /// Remembers `key`. To be called when its work starts and when it ends, since its life is counted from the end.
    pub(super) fn add(&mut self, key: &impl Hash, now: Millis) {
        if now.since(self.younger_since) > self.ttl {
            std::mem::swap(&mut self.younger, &mut self.older);
            self.younger.fill(0);
            self.younger_since = now;
        }
        for (word, bit) in self.places(key) {
            if let Some(word) = self.younger.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Whether `key` may be on record. `false` is certain.
    pub(super) fn may_contain(&self, key: &impl Hash) -> bool {
        let has =
            |bits: &[u64]| self.places(key).all(|(word, bit)| bits.get(word).is_none_or(|w| w & bit != 0));
        has(&self.younger) || has(&self.older)
    }

    /// The words and bits of `key`, by double hashing (Kirsch and Mitzenmacher, 2006).
    fn places<K: Hash>(&self, key: &K) -> impl Iterator<Item = (usize, u64)> + use<K> {
        let hash = self.hasher.hash_one(key);
        let (first, step) = (hash & 0xffff_ffff, (hash >> 32) | 1);
        (0..PROBES).map(move |i| {
            let bit = first.wrapping_add(i.wrapping_mul(step)) % BITS;
            (usize::try_from(bit / 64).unwrap_or_default(), 1 << (bit % 64))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_mins(5);

    #[test]
    fn a_new_key_is_hardly_ever_a_maybe() {
        let mut filter = KeyFilter::new(TTL, Millis(0));
        (0..100_000).for_each(|key| filter.add(&key, Millis(0)));
        let maybes = (100_000..200_000).filter(|key| filter.may_contain(key)).count();
        assert!(maybes < 100, "{maybes} of 100,000");
    }

    #[test]
    fn a_key_is_forgotten_in_the_end() {
        let mut filter = KeyFilter::new(TTL, Millis(0));
        filter.add(&"old", Millis(0));
        filter.add(&"x", Millis(300_001));
        filter.add(&"x", Millis(600_002));
        assert!(!filter.may_contain(&"old"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn a_key_is_known_for_as_long_as_it_lives(steps in prop::collection::vec((0_u16..50, 0_i64..120_000), 1..60)) {
            let mut filter = KeyFilter::new(TTL, Millis(0));
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
