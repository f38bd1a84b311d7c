//! With which message an idempotency key may be on record, so that a new one costs no look-up, any other mostly one look, and
//! the database no index of keys.
//!
//! A hash table of eight bytes a key: 22 bits of its hash, beside the ten that choose its small table, and the number of its
//! message. That a key is new is certain. A message that is named has the key, or had it, or has another one with the same bits. Several
//! are named where a key was used again after it had gone from the record.
//!
//! The table is many small ones, each of which grows by itself, so that nobody waits while a big one is copied. What is in parts
//! of 1024 messages of which no row is left is forgotten, once there is twice as much as there was after the last time.

use std::hash::{BuildHasher as _, RandomState};

use crate::domain::{client::Owner, id::MessageId};

/// Messages in a part, as a power of two. The SQL of `key_record.rs` says it as 10 and 1023.
const PART_BITS: u32 = 10;
/// The small tables, as a power of two.
const TABLE_BITS: u32 = 10;
/// Places in a small table that begins.
const FIRST: usize = 64;
/// Bits of an entry that are its message.
const MESSAGE_BITS: u32 = 42;
/// Entries up to which nothing need be forgotten.
const ALWAYS_ROOM: usize = 1 << 16;

/// Where a key may be on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Places {
    /// With one of these messages, or nowhere.
    Messages(Vec<i64>),
    /// With any message, or nowhere.
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
    /// A key is on record under the number of a message.
    pub(super) fn add(&mut self, key: (Owner, &str), message: i64) {
        self.add_entry(key, Entry::place(message));
    }

    /// A key is on record, and this process wrote it.
    pub(super) fn add_written(&mut self, key: (Owner, &str), message: MessageId) {
        self.newest_written = self.newest_written.max(part_of(message.0));
        self.add(key, message.0);
    }

    /// A key may be on record anywhere.
    pub(super) fn add_anywhere(&mut self, key: (Owner, &str)) {
        self.add_entry(key, Entry::ANYWHERE);
    }

    fn add_entry(&mut self, key: (Owner, &str), place: u64) {
        let hash = self.hasher.hash_one(key);
        if self.tables[table_of(hash)].add(Entry::new(hash, place)) {
            self.entries += 1;
        }
    }

    /// Where a key may be on record; `None`: it is certainly new.
    pub(super) fn find(&self, key: (Owner, &str)) -> Option<Places> {
        let hash = self.hasher.hash_one(key);
        let mut messages = Vec::new();
        for entry in self.tables[table_of(hash)].find(Entry::new(hash, Entry::ANYWHERE)) {
            match entry.message() {
                Some(message) => messages.push(message),
                None => return Some(Places::Anywhere),
            }
        }
        (!messages.is_empty()).then_some(Places::Messages(messages))
    }

    /// Nothing is on record any more under the numbers of these messages, with which a key may have been.
    pub(super) fn remove(&mut self, key: (Owner, &str), messages: &[i64]) {
        let hash = self.hasher.hash_one(key);
        let (table, like) = (&mut self.tables[table_of(hash)], Entry::new(hash, Entry::ANYWHERE));
        let before = table.used;
        let is_gone = |entry: Entry| entry.message().is_some_and(|message| messages.contains(&message));
        table.retain(|entry| !entry.is_like(like) || !is_gone(entry));
        self.entries -= before - table.used;
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
            let lives = |part| part >= newest || living.binary_search(&part).is_ok();
            // What may be with any message is kept.
            table.retain(|entry| entry.message().is_none_or(|message| lives(part_of(message))));
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

/// The lowest bits of a key's hash, and where the key is: the number of its message, from 1 on. Zero is an empty place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Entry(u64);

impl Entry {
    const EMPTY: Self = Self(0);
    /// A message that is not known, or whose number is too high, or below zero: 2⁴² messages are not reached but by hand.
    const ANYWHERE: u64 = (1 << MESSAGE_BITS) - 1;

    /// The bits that say where.
    const PLACE: u64 = Self::ANYWHERE;

    fn place(message: i64) -> u64 {
        let number = u64::try_from(message).ok().filter(|number| *number < Self::ANYWHERE - 1);
        number.map_or(Self::ANYWHERE, |number| number + 1)
    }

    fn new(hash: u64, place: u64) -> Self {
        Self(hash << MESSAGE_BITS | place)
    }

    fn bits_of_hash(self) -> u64 {
        self.0 >> MESSAGE_BITS
    }

    /// Where in a table of so many places it would like to be.
    fn home(self, places: usize) -> usize {
        let home = (u128::from(self.bits_of_hash()) * places as u128) >> (u64::BITS - MESSAGE_BITS);
        usize::try_from(home).unwrap_or_default()
    }

    fn is_like(self, other: Self) -> bool {
        self.bits_of_hash() == other.bits_of_hash()
    }

    fn message(self) -> Option<i64> {
        let place = self.0 & Self::PLACE;
        i64::try_from(place).ok().filter(|_| place != Self::ANYWHERE).map(|place| place - 1)
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

    fn retain(&mut self, keeps: impl Fn(Entry) -> bool) {
        let kept = self.places.iter().filter(|entry| **entry != Entry::EMPTY && keeps(**entry)).count();
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

    fn add(index: &mut KeyIndex, key: u32, message: i64) {
        index.add((OWNER, &key.to_string()), message);
    }

    /// Its messages are sorted: which comes first depends on the process's hashes.
    fn find(index: &KeyIndex, key: u32) -> Option<Places> {
        let mut places = index.find((OWNER, &key.to_string()));
        if let Some(Places::Messages(messages)) = &mut places {
            messages.sort_unstable();
        }
        places
    }

    fn forget(index: &mut KeyIndex, living: &[i64], newest: i64) {
        assert!((0..=index.tables.len()).any(|step| index.forget(step, living, newest)));
    }

    /// The bytes of all places.
    fn bytes(index: &KeyIndex) -> usize {
        index.tables.iter().map(|table| table.places.capacity() * size_of::<Entry>()).sum()
    }

    #[test]
    fn a_key_is_found_with_its_message_and_a_new_one_nowhere_however_many_there_are() {
        let mut index = KeyIndex::default();
        for keys in [100, 100_000, 1_000_000_u32] {
            (0..keys).for_each(|key| add(&mut index, key, i64::from(key)));
            assert_eq!(index.entries, keys as usize, "a key that is added again takes no room");
            let mut ambiguous = 0;
            for key in 0..keys {
                let Some(Places::Messages(messages)) = find(&index, key) else {
                    panic!("{key} is on record")
                };
                assert!(messages.contains(&i64::from(key)));
                ambiguous += usize::from(messages.len() > 1);
            }
            // Of a thousand in one table one in 4,000 has the bits of another one.
            assert!(ambiguous < 1 + keys as usize / 2000, "{ambiguous} of {keys}");
            let maybes = (keys..keys + 100_000).filter(|key| find(&index, *key).is_some()).count();
            assert!(maybes < 50, "{maybes} of 100,000");
            let bytes = bytes(&index);
            assert!(bytes <= (keys as usize * 16).max(1 << 20), "{bytes} bytes for {keys} keys");
        }
    }

    #[test]
    fn the_keys_of_one_owner_are_not_anothers() {
        let mut index = KeyIndex::default();
        add(&mut index, 1, 7);
        assert_eq!(index.find((Owner::Token(TokenId(2)), "1")), None);
    }

    #[test]
    fn a_key_with_several_messages_is_found_with_each() {
        let mut index = KeyIndex::default();
        for message in [7, 3, 7] {
            add(&mut index, 1, message);
        }
        assert_eq!(find(&index, 1), Some(Places::Messages(vec![3, 7])));
    }

    #[test]
    fn a_key_whose_message_is_unknown_or_beyond_all_bounds_may_be_anywhere() {
        let mut index = KeyIndex::default();
        index.add_anywhere((OWNER, "lost"));
        assert_eq!(index.find((OWNER, "lost")), Some(Places::Anywhere));
        for (key, message) in [(1, i64::MIN), (2, -1), (3, i64::MAX), (4, (1 << 42) - 2)] {
            add(&mut index, key, message);
            assert_eq!(find(&index, key), Some(Places::Anywhere), "{message}");
        }
        for (key, message) in [(5, 0), (6, (1 << 42) - 3)] {
            add(&mut index, key, message);
            assert_eq!(find(&index, key), Some(Places::Messages(vec![message])));
        }
        forget(&mut index, &[], i64::MAX);
        assert_eq!((find(&index, 3), find(&index, 5)), (Some(Places::Anywhere), None));
    }

    #[test]
    fn a_key_that_is_gone_from_some_messages_is_left_with_the_others() {
        let mut index = KeyIndex::default();
        (1..=5).for_each(|message| add(&mut index, 1, message));
        add(&mut index, 2, 3);
        index.add_anywhere((OWNER, "lost"));
        index.remove((OWNER, "1"), &[1, 3, 4, 9]);
        index.remove((OWNER, "lost"), &[3]);
        assert_eq!(find(&index, 1), Some(Places::Messages(vec![2, 5])));
        assert_eq!(find(&index, 2), Some(Places::Messages(vec![3])), "it is another's");
        assert_eq!((index.find((OWNER, "lost")), index.entries), (Some(Places::Anywhere), 4));
    }

    #[test]
    fn what_is_in_parts_without_rows_is_forgotten_when_it_is_crowded() {
        let mut index = KeyIndex::default();
        let crowded_at = (0..200_000_u32).find(|key| {
            add(&mut index, *key, i64::from(*key));
            index.is_crowded()
        });
        assert_eq!(crowded_at, Some(65_535));
        assert!(!index.is_crowded(), "it says so once");
        forget(&mut index, &[2, 60], 62);
        assert_eq!(index.entries, 4 * 1024);
        for (key, is_left) in [(1024, false), (2048, true), (61_439, false), (61_440, true), (65_535, true)] {
            assert_eq!(find(&index, key).is_some(), is_left, "{key}");
        }
        assert!(bytes(&index) <= 1 << 20, "its room is given back");
        (1_000_000..1_061_440).for_each(|key| add(&mut index, key, i64::from(key)));
        assert!(index.is_crowded(), "it says so again");
    }

    #[test]
    fn what_this_process_wrote_last_is_in_the_newest_part() {
        let mut index = KeyIndex::default();
        add(&mut index, 1, 1_000_000);
        assert_eq!(index.newest_written(), i64::MIN, "read, not written");
        index.add_written((OWNER, "2"), MessageId(5000));
        index.add_written((OWNER, "3"), MessageId(2000));
        assert_eq!((index.newest_written(), find(&index, 3)), (4, Some(Places::Messages(vec![2000]))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// What is on record is never nowhere: with keys that come, come again, and go with their parts.
        #[test]
        fn a_key_on_record_is_always_found(
            steps in prop::collection::vec((0_u32..3000, 0_i64..40_960, prop::bool::weighted(0.02)), 1..4000)
        ) {
            let mut index = KeyIndex::default();
            let mut on_record: HashSet<(u32, i64)> = HashSet::new();
            for (key, message, forgets) in steps {
                if forgets {
                    let living: Vec<i64> = (0..20).filter(|part| part % 3 != i64::from(key) % 3).collect();
                    let lives = |part| part >= 20 || living.contains(&part);
                    on_record.retain(|(_, message)| lives(part_of(*message)));
                    forget(&mut index, &living, 20);
                }
                add(&mut index, key, message);
                on_record.insert((key, message));
            }
            prop_assert_eq!(index.entries, on_record.len(), "no two have the same bits and the same message");
            for (key, message) in on_record {
                let Some(Places::Messages(messages)) = find(&index, key) else { return Err(TestCaseError::fail("nowhere")) };
                prop_assert!(messages.contains(&message));
            }
        }

        /// Where many have the same bits, each is found still.
        #[test]
        fn entries_that_collide_are_all_found(
            entries in prop::collection::vec((0_usize..4, 1_u64..200), 1..300)
        ) {
            let mut table = Table::default();
            // At both ends of the table, so that runs go on at its beginning.
            let bits = [0, 1, u64::MAX, 1 << 21];
            let entry = |(which, place): (usize, u64)| Entry::new(bits[which], place);
            let mut added = HashSet::new();
            for new in entries {
                prop_assert_eq!(table.add(entry(new)), added.insert(new));
                for one in &added {
                    prop_assert!(table.find(entry(*one)).any(|found| found == entry(*one)));
                }
            }
            table.retain(|entry| entry.message().is_some_and(|message| message % 2 == 0));
            for (bits, place) in added {
                let is_left = table.find(entry((bits, place))).any(|found| found == entry((bits, place)));
                prop_assert_eq!(is_left, place % 2 == 1);
            }
        }
    }
}
