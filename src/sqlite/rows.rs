//! Many rows in one statement: numbers as JSON for `jsonb_each(?1)`, texts and blobs side by side in one blob `?2`.
//!
//! A text is written as two numbers, its place in the blob (from 1, as `substr` counts) and its length, and read back with
//! `CAST(substr(?2, r.value ->> k, r.value ->> k + 1) AS TEXT)`. So no text is escaped or parsed, and every character, NUL
//! included, is stored as it came. For a missing one both numbers are `null`, and so is what `substr` makes of them.

use std::fmt::Write as _;

use serde::Deserialize;

/// Many rows out of one, packed by `json_group_array(json_array(…))`: where there are very many, a row each costs several times as
/// much.
pub(super) fn unpack<'a, T: Deserialize<'a>>(packed: &'a str) -> Result<Vec<T>, sqlx::Error> {
    serde_json::from_str(packed).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Rows under construction.
#[derive(Debug, Default)]
pub(super) struct Rows {
    json: String,
    blob: Vec<u8>,
    count: u64,
}

impl Rows {
    /// How many rows there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Adds a row, whose columns `fill` writes in order.
    pub(super) fn push(&mut self, fill: impl FnOnce(&mut Row<'_>)) {
        self.json.push(if self.count == 0 { '[' } else { ',' });
        self.json.push('[');
        fill(&mut Row { rows: self, first: true });
        self.json.push(']');
        self.count += 1;
    }

    /// The two parameters.
    pub(super) fn finish(mut self) -> (String, Vec<u8>) {
        self.json.push_str(if self.count == 0 { "[]" } else { "]" });
        (self.json, self.blob)
    }
}

/// One row under construction.
pub(super) struct Row<'a> {
    rows: &'a mut Rows,
    first: bool,
}

impl Row<'_> {
    /// A number, one column.
    pub(super) fn int(&mut self, number: i64) -> &mut Self {
        self.separate();
        write!(self.rows.json, "{number}").ok(); // writing to a String does not fail
        self
    }

    /// A text or blob, two columns.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let start = self.rows.blob.len() + 1;
        self.rows.blob.extend_from_slice(bytes);
        self.separate();
        write!(self.rows.json, "{start},{}", bytes.len()).ok();
        self
    }

    /// What displays itself as text, two columns.
    pub(super) fn display(&mut self, value: impl std::fmt::Display) -> &mut Self {
        use std::io::Write as _;
        let start = self.rows.blob.len() + 1;
        write!(self.rows.blob, "{value}").ok(); // writing to a Vec does not fail
        let length = self.rows.blob.len() + 1 - start;
        self.separate();
        write!(self.rows.json, "{start},{length}").ok();
        self
    }

    /// A text that may be missing, two columns.
    pub(super) fn maybe_text(&mut self, text: Option<&str>) -> &mut Self {
        match text {
            Some(text) => self.bytes(text.as_bytes()),
            None => self.null(2),
        }
    }

    fn null(&mut self, columns: usize) -> &mut Self {
        for _ in 0..columns {
            self.separate();
            self.rows.json.push_str("null");
        }
        self
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.rows.json.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_numbers_and_texts_are_places_in_the_blob() {
        let mut rows = Rows::default();
        rows.push(|row| {
            row.int(7).bytes("a\0é".as_bytes()).maybe_text(None);
        });
        rows.push(|row| {
            row.display(42).bytes(b"");
        });
        assert_eq!(rows.count(), 2);
        let (json, blob) = rows.finish();
        assert_eq!(json, "[[7,1,4,null,null],[5,2,7,0]]");
        assert_eq!(blob, "a\0é42".as_bytes());
        assert_eq!(Rows::default().finish().0, "[]");
    }
}
