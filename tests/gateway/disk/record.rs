//! The record of every change of a disk, as `tests/shim/disk.c` writes it.

/// One change of a disk. Files are told apart by numbers.
pub enum Change {
    Name(String),
    Write(i64, usize, Vec<u8>),
    Truncate(i64, usize),
    Sync(i64),
    Remove(String),
    /// The name that a file got.
    Rename(String),
}

/// A record, and where in it each change ends.
pub fn read(record: &[u8]) -> Vec<(usize, i64, Change)> {
    let (mut changes, mut at) = (Vec::new(), 0);
    while at < record.len() {
        let word = |place: usize| {
            i64::from_ne_bytes(record[at + 8 * place..at + 8 * (place + 1)].try_into().unwrap())
        };
        let (what, file, place, length) = (word(0), word(1), word(2), usize::try_from(word(3)).unwrap());
        at += 32;
        let has_bytes = matches!(what, 1 | 2 | 5 | 6);
        let bytes = if has_bytes { record[at..at + length].to_vec() } else { Vec::new() };
        at += bytes.len();
        let name = || String::from_utf8(bytes.clone()).unwrap().rsplit('/').next().unwrap().to_owned();
        let change = match what {
            1 => Change::Name(name()),
            2 => Change::Write(file, usize::try_from(place).unwrap(), bytes),
            3 => Change::Truncate(file, usize::try_from(place).unwrap()),
            4 => Change::Sync(file),
            5 => Change::Remove(name()),
            6 => Change::Rename(name()),
            _ => panic!("no change: {what}"),
        };
        changes.push((at, file, change));
    }
    changes
}
