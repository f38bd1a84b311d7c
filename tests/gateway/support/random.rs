//! Choices that a seed makes again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// `SplitMix64`: small, and good enough to choose moments.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 up to `end`, which is not among them.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// Another source, for a task of its own.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// The seed in `MOORGATE_TEST_SEED`, to see a failure again; else another one each time.
pub fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a seed is for the test, not for the gateway")]
    let given = std::env::var("MOORGATE_TEST_SEED");
    given.map_or_else(|_| RandomState::new().build_hasher().finish(), |seed| seed.parse().unwrap())
}
