//! In which parts of the record an idempotency key may be, so that a new one costs no look-up, and any other mostly one
//! look.
//!
//! A hash table of eight bytes a key: 32 bits of its hash, beside the ten that choose its small table, and the number of its
//! part, which is 1024 messages. "Nowhere" is certain. A part that is named has the key, or had it, or has another one with
//! the same bits. Several parts are named where a key was used again after it had expired.
//!
//! The table is many small ones, each of which grows by itself, so that nobody waits while a big one is copied. What is in parts
//! of which no row is left is forgotten, once there is twice as much as there was after the last time.

use std::hash::{BuildHasher as _, RandomState};

use crate::domain::{client::Owner, id::MessageId};

/// Messages in a part, as a power of two. The index `idempotency_key_part` and the SQL of `key_record.rs` say it as 10 and 1023.
const PART_BITS: u32 = 10;
/// The small tables, as a power of two.
const TABLE_BITS: u32 = 10;
/// Places in a small table that begins.
const FIRST: usize = 64;
/// Entries up to which nothing need be forgotten.
const ALWAYS_ROOM: usize = 1 << 16;

/// Where a key may be on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Places {
    /// It is certainly new.
    Nowhere,
    /// In one of these parts, or nowhere.
    Parts(Vec<i64>),
    /// In any part, or nowhere.
    Anywhere,
}

#[derive(Debug)]
pub(super) struct KeyIndex {
    hasher: RandomState,
    tables: Vec<Table>,
    entries: usize,
    /// With how many entries it is crowded.
    room: usize,
    /// The newest part of a key that this process wrote.
    newest_written: i64,
}

impl Default for KeyIndex {
    fn default() -> Self {
        let tables = std::iter::repeat_with(Table::default).take(1 << TABLE_BITS).collect();
        Self { hasher: RandomState::new(), tables, entries: 0, room: ALWAYS_ROOM, newest_written: i64::MIN }
    }
}

impl KeyIndex {
    /// A key is on record in a part.
    pub(super) fn add(&mut self, key: (Owner, &str), part: i64) {
        self.add_entry(key, Entry::place(part));
    }

    /// A key is on record, written by this process under the number of this message.
    pub(super) fn add_written(&mut self, key: (Owner, &str), message: MessageId) {
        let part = part_of(message.0);
        self.newest_written = self.newest_written.max(part);
        self.add(key, part);
    }

    /// A key may be on record anywhere.
    pub(super) fn add_anywhere(&mut self, key: (Owner, &str)) {
        self.add_entry(key, Entry::ANYWHERE);
    }

    fn add_entry(&mut self, key: (Owner, &str), place: u32) {
        let hash = self.hasher.hash_one(key);
        if self.tables[table_of(hash)].add(Entry::new(hash, place)) {
            self.entries += 1;
        }
    }

    /// Where a key may be on record.
    pub(super) fn find(&self, key: (Owner, &str)) -> Places {
        let hash = self.hasher.hash_one(key);
        let mut parts = Vec::new();
        for entry in self.tables[table_of(hash)].find(Entry::new(hash, Entry::ANYWHERE)) {
            match entry.part() {
                Some(part) => parts.push(part),
                None => return Places::Anywhere,
            }
        }
        if parts.is_empty() { Places::Nowhere } else { Places::Parts(parts) }
    }

    /// Whether it is time to forget. Says so once.
    pub(super) fn is_crowded(&mut self) -> bool {
        let crowded = self.entries >= self.room;
        if crowded {
            self.room = usize::MAX; // until `forget` is through
        }
        crowded
    }

    /// The newest part of a key that this process has written so far: what it writes later is in no older one.
    pub(super) fn newest_written(&self) -> i64 {
        self.newest_written
    }

    /// Forgets what is in a part before `newest` and not in one of `living`, which are in order: some at each step, from 0 on.
    /// Returns whether it was the last.
    pub(super) fn forget(&mut self, step: usize, living: &[i64], newest: i64) -> bool {
        if let Some(table) = self.tables.get_mut(step) {
            let before = table.used;
            table.retain(|part| part >= newest || living.binary_search(&part).is_ok());
            self.entries -= before - table.used;
            return false;
        }
        self.room = (self.entries * 2).max(ALWAYS_ROOM);
        true
    }
}

/// The part that a message is in.
pub(super) fn part_of(message: i64) -> i64 {
    message >> PART_BITS
}

/// The upper bits of a hash say in which table it is.
fn table_of(hash: u64) -> usize {
    usize::try_from(hash >> (u64::BITS - TABLE_BITS)).unwrap_or_default()
}

/// The lower half of a key's hash, and where the key is: the number of its part, from 1 on. Zero is an empty place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const EMPTY: Self = Self(0);
    /// A part that is not known, or whose number is too high, or below zero: 2⁴² messages are not reached but by hand.
    const ANYWHERE: u32 = u32::MAX;

    fn place(part: i64) -> u32 {
        let number = part.checked_add(1).and_then(|number| u32::try_from(number).ok());
        number.filter(|number| *number > 0).unwrap_or(Self::ANYWHERE)
    }

    fn new(hash: u64, place: u32) -> Self {
        Self(hash << 32 | u64::from(place))
    }

    /// Where in a table of so many places it would like to be.
    fn home(self, places: usize) -> usize {
        usize::try_from((u128::from(self.0 >> 32) * places as u128) >> 32).unwrap_or_default()
    }

    fn is_like(self, other: Self) -> bool {
        self.0 >> 32 == other.0 >> 32
    }

    fn part(self) -> Option<i64> {
        let place = self.0 & u64::from(u32::MAX);
        i64::try_from(place).ok().filter(|_| place != u64::from(Self::ANYWHERE)).map(|place| place - 1)
    }
}

/// Open addressing: an entry is in the first free place from its home on.
#[derive(Debug, Default)]
struct Table {
    places: Vec<Entry>,
    used: usize,
}

impl Table {
    /// Whether it was not there yet.
    fn add(&mut self, entry: Entry) -> bool {
        if self.find(entry).any(|found| found == entry) {
            return false;
        }
        if (self.used + 1) * 5 > self.places.len() * 4 {
            let more = (self.places.len() + self.places.len() / 2).max(FIRST);
            self.rebuild(more, |_| true);
        }
        self.put(entry);
        true
    }

    /// All entries with the same bits of a hash.
    fn find(&self, like: Entry) -> impl Iterator<Item = Entry> {
        let (before, from) = self.places.split_at(like.home(self.places.len()));
        let run = from.iter().chain(before).copied().take_while(|entry| *entry != Entry::EMPTY);
        run.filter(move |entry| entry.is_like(like))
    }

    /// There is room for it.
    fn put(&mut self, entry: Entry) {
        let home = entry.home(self.places.len());
        let (before, from) = self.places.split_at_mut(home);
        if let Some(free) = from.iter_mut().chain(before).find(|place| **place == Entry::EMPTY) {
            *free = entry;
            self.used += 1;
        }
    }

    /// Keeps what is in such parts, and what may be in any.
    fn retain(&mut self, keeps: impl Fn(i64) -> bool) {
        let keeps = |entry: Entry| entry != Entry::EMPTY && entry.part().is_none_or(&keeps);
        let kept = self.places.iter().filter(|entry| keeps(**entry)).count();
        if kept < self.used {
            self.rebuild((kept + kept / 2).max(FIRST), keeps);
        }
    }

    fn rebuild(&mut self, places: usize, keeps: impl Fn(Entry) -> bool) {
        let old = std::mem::replace(&mut self.places, vec![Entry::EMPTY; places]);
        self.used = 0;
        old.into_iter()
            .filter(|entry| *entry != Entry::EMPTY && keeps(*entry))
            .for_each(|entry| self.put(entry));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::id::TokenId;

    const OWNER: Owner = Owner::Token(TokenId(1));

    fn add(index: &mut KeyIndex, key: u32, part: i64) {
        index.add((OWNER, &key.to_string()), part);
    }

    fn find(index: &KeyIndex, key: u32) -> Places {
        index.find((OWNER, &key.to_string()))
    }

    fn forget(index: &mut KeyIndex, living: &[i64], newest: i64) {
        assert!((0..=index.tables.len()).any(|step| index.forget(step, living, newest)));
    }

    /// The bytes of all places.
    fn bytes(index: &KeyIndex) -> usize {
        index.tables.iter().map(|table| table.places.capacity() * size_of::<Entry>()).sum()
    }

    #[test]
    fn a_key_is_found_in_its_part_and_a_new_one_nowhere_however_many_there_are() {
        let mut index = KeyIndex::default();
        for keys in [100, 100_000, 1_000_000_u32] {
            (0..keys).for_each(|key| add(&mut index, key, i64::from(key >> 10)));
            assert_eq!(index.entries, keys as usize, "a key that is added again takes no room");
            let ambiguous =
                (0..keys).filter(|key| find(&index, *key) != Places::Parts(vec![i64::from(key >> 10)]));
            let ambiguous: Vec<u32> = ambiguous.take(100).collect();
            assert!(ambiguous.len() < 20, "{}", ambiguous.len());
            for key in ambiguous {
                let Places::Parts(parts) = find(&index, key) else { panic!("{key} is in a part") };
                assert!(parts.contains(&i64::from(key >> 10)));
            }
            let maybes = (keys..keys + 100_000).filter(|key| find(&index, *key) != Places::Nowhere).count();
            assert!(maybes < 20, "{maybes} of 100,000");
            let bytes = bytes(&index);
            assert!(bytes <= (keys as usize * 16).max(1 << 20), "{bytes} bytes for {keys} keys");
        }
    }

    #[test]
    fn the_keys_of_one_owner_are_not_anothers() {
        let mut index = KeyIndex::default();
        add(&mut index, 1, 7);
        assert_eq!(index.find((Owner::Token(TokenId(2)), "1")), Places::Nowhere);
    }

    #[test]
    fn a_key_in_several_parts_is_found_in_each() {
        let mut index = KeyIndex::default();
        for part in [7, 3, 7] {
            add(&mut index, 1, part);
        }
        assert_eq!(find(&index, 1), Places::Parts(vec![7, 3]));
    }

    #[test]
    fn a_key_whose_part_is_unknown_or_beyond_all_bounds_may_be_anywhere() {
        let mut index = KeyIndex::default();
        index.add_anywhere((OWNER, "lost"));
        assert_eq!(index.find((OWNER, "lost")), Places::Anywhere);
        for (key, message) in [(1, i64::MIN), (2, -1), (3, i64::MAX), (4, ((1 << 32) - 2) << 10)] {
            add(&mut index, key, part_of(message));
            assert_eq!(find(&index, key), Places::Anywhere, "{message}");
        }
        for (key, part) in [(5, 0), (6, (1 << 32) - 3)] {
            add(&mut index, key, part);
            assert_eq!(find(&index, key), Places::Parts(vec![part]));
        }
        forget(&mut index, &[], i64::MAX);
        assert_eq!((find(&index, 3), find(&index, 5)), (Places::Anywhere, Places::Nowhere));
    }

    #[test]
    fn what_is_in_parts_without_rows_is_forgotten_when_it_is_crowded() {
        let mut index = KeyIndex::default();
        let crowded_at = (0..200_000_u32).find(|key| {
            add(&mut index, *key, i64::from(key >> 10));
            index.is_crowded()
        });
        assert_eq!(crowded_at, Some(65_535));
        assert!(!index.is_crowded(), "it says so once");
        forget(&mut index, &[2, 60], 62);
        assert_eq!(index.entries, 4 * 1024);
        for (key, is_left) in [(1024, false), (2048, true), (61_439, false), (61_440, true), (65_535, true)] {
            assert_eq!(find(&index, key) != Places::Nowhere, is_left, "{key}");
        }
        assert!(bytes(&index) <= 1 << 20, "its room is given back");
        (0..61_440).for_each(|key| add(&mut index, 1_000_000 + key, 63));
        assert!(index.is_crowded(), "it says so again");
    }

    #[test]
    fn what_this_process_wrote_last_is_in_the_newest_part() {
        let mut index = KeyIndex::default();
        add(&mut index, 1, 1000);
        assert_eq!(index.newest_written(), i64::MIN, "read, not written");
        index.add_written((OWNER, "2"), MessageId(5000));
        index.add_written((OWNER, "3"), MessageId(2000));
        assert_eq!((index.newest_written(), find(&index, 3)), (4, Places::Parts(vec![1])));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// What is on record is never nowhere: with keys that come, come again, and go with their parts.
        #[test]
        fn a_key_on_record_is_always_found(
            steps in prop::collection::vec((0_u32..3000, 0_i64..40, prop::bool::weighted(0.02)), 1..4000)
        ) {
            let mut index = KeyIndex::default();
            let mut on_record: HashSet<(u32, i64)> = HashSet::new();
            for (key, part, forgets) in steps {
                if forgets {
                    let living: Vec<i64> = (0..20).filter(|part| part % 3 != i64::from(key) % 3).collect();
                    on_record.retain(|(_, part)| *part >= 20 || living.contains(part));
                    forget(&mut index, &living, 20);
                }
                add(&mut index, key, part);
                on_record.insert((key, part));
            }
            prop_assert_eq!(index.entries, on_record.len(), "no two of so few have the same bits");
            for (key, part) in on_record {
                let Places::Parts(parts) = find(&index, key) else { return Err(TestCaseError::fail("nowhere")) };
                prop_assert!(parts.contains(&part));
            }
        }

        /// Where many have the same bits, each is found still.
        #[test]
        fn entries_that_collide_are_all_found(
            entries in prop::collection::vec((0_usize..4, 1_u32..200), 1..300)
        ) {
            let mut table = Table::default();
            // At both ends of the table, so that runs go on at its beginning.
            let bits = [0, 1, u64::from(u32::MAX), 1 << 31];
            let entry = |(which, place): (usize, u32)| Entry::new(bits[which], place);
            let mut added = HashSet::new();
            for new in entries {
                prop_assert_eq!(table.add(entry(new)), added.insert(new));
                for one in &added {
                    prop_assert!(table.find(entry(*one)).any(|found| found == entry(*one)));
                }
            }
            table.retain(|part| part % 2 == 0);
            for (bits, place) in added {
                let is_left = table.find(entry((bits, place))).any(|found| found == entry((bits, place)));
                prop_assert_eq!(is_left, place % 2 == 1);
            }
        }
    }
}
