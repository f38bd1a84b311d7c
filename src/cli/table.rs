//! What commands print: rows in aligned columns, or JSON. Both are made of the same fields, so they tell the same.
//!
//! On a terminal times are local; else they are ISO 8601 in UTC with milliseconds, as they always are in JSON. Texts come
//! from strangers: what could move a terminal's cursor or hide characters is not printed there.

use std::{
    fmt::{Display, Write as _},
    io::{self, IsTerminal as _, Write as _},
};

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::print;
use crate::domain::time::Millis;

/// The widest that a text is in a column; JSON has all of it.
const WIDEST_TEXT: usize = 60;

/// How a command prints.
#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Print JSON, with times in UTC
    #[arg(long)]
    json: bool,
}

/// One row, or all about one thing: names and values, in order.
pub(super) type Record = Vec<(&'static str, Value)>;

/// A value of a field.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// There is none.
    Missing,
    Flag(bool),
    Number(i64),
    /// A word or a name.
    Text(String),
    /// Something that somebody said: a column shows its beginning.
    Speech(String),
    Time(Millis),
    /// Names or sentences.
    Texts(Vec<String>),
    /// Number with a fraction.
    Real(f64),
    /// Rows of their own.
    Rows(Vec<Record>),
}

macro_rules! value_from {
    ($($from:ty => $make:expr),+ $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                $make(value)
            }
        })+
    };
}

value_from! {
    bool => Value::Flag,
    i64 => Value::Number,
    String => Value::Text,
    &str => |text: &str| Value::Text(text.to_owned()),
    Millis => Value::Time,
    f64 => Value::Real,
    Vec<String> => Value::Texts,
    Vec<Record> => Value::Rows,
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Missing, Into::into)
    }
}

impl OutputArgs {
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a list: an array, or a table.
    pub(super) fn list(&self, rows: &[Record]) {
        if self.json {
            let rows: Vec<_> = rows.iter().map(Object).collect();
            return print_json(&rows);
        }
        print(table(rows, &zone()));
    }

    /// Prints all about one thing: an object, or a line for each field.
    pub(super) fn details(&self, record: &Record) {
        if self.json {
            return print_json(&Object(record));
        }
        print(lines(record, &zone()));
    }

    /// A list whose rows are not known yet.
    pub(super) fn live(&self) -> LiveTable {
        LiveTable { json: self.json, zone: zone(), widths: Vec::new() }
    }

    /// Prints what was done: an object, or a sentence.
    pub(super) fn done(&self, sentence: impl Display, record: &Record) {
        if self.json {
            return print_json(&Object(record));
        }
        print(format_args!("{sentence}\n"));
    }

    /// Prints what was done to several: an array, or a sentence.
    pub(super) fn all_done(&self, sentence: impl Display, rows: &[Record]) {
        if self.json { self.list(rows) } else { print(format_args!("{sentence}\n")) }
    }
}

/// A list that is printed row by row: an object on a line, or columns that are as wide as they ever had to be.
pub(super) struct LiveTable {
    json: bool,
    zone: Zone,
    widths: Vec<usize>,
}

impl LiveTable {
    /// Prints a row.
    ///
    /// # Errors
    /// Nobody reads it.
    pub(super) fn row(&mut self, row: &Record) -> io::Result<()> {
        let text = if self.json { json_line(&Object(row)) } else { self.line(row) };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn line(&mut self, row: &Record) -> String {
        let cells: Vec<String> = row.iter().map(|(_, value)| cell(value, &self.zone)).collect();
        let names: Vec<String> = row.iter().map(|(name, _)| title(name)).collect();
        let is_first = self.widths.is_empty();
        self.widths.resize(row.len(), 0);
        for (width, (name, cell)) in self.widths.iter_mut().zip(names.iter().zip(&cells)) {
            *width = (*width).max(name.width()).max(cell.width());
        }
        let head = if is_first { aligned(&names, &self.widths, row) } else { String::new() };
        head + &aligned(&cells, &self.widths, row)
    }
}

fn print_json(value: &impl Serialize) {
    print(json_line(value));
}

fn json_line(value: &impl Serialize) -> String {
    // Numbers, texts and maps of them: there is nothing that JSON does not have.
    serde_json::to_string(value).map(|line| line + "\n").unwrap_or_default()
}

/// How times are written.
enum Zone {
    Utc,
    Local(TimeZone),
}

fn zone() -> Zone {
    if io::stdout().is_terminal() { Zone::Local(TimeZone::system()) } else { Zone::Utc }
}

/// A time as sentences have it.
pub(super) fn shown(at: Millis) -> String {
    written(at, &zone())
}

/// ISO 8601 in UTC with milliseconds. A number that is no time, which only a hand could have written, stays a number.
fn iso(at: Millis) -> String {
    Timestamp::from_millisecond(at.0)
        .map_or_else(|_| at.0.to_string(), |time| time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

fn written(at: Millis, zone: &Zone) -> String {
    match (zone, Timestamp::from_millisecond(at.0)) {
        (Zone::Local(zone), Ok(time)) => {
            time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        _ => iso(at),
    }
}

/// A record as a JSON object, its fields in order.
struct Object<'a>(&'a Record);

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing => serializer.serialize_none(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Text(text) | Self::Speech(text) => serializer.serialize_str(text),
            Self::Time(at) => serializer.serialize_str(&iso(*at)),
            Self::Texts(texts) => serializer.collect_seq(texts),
            Self::Real(number) => serializer.serialize_f64(*number),
            Self::Rows(rows) => serializer.collect_seq(rows.iter().map(Object)),
        }
    }
}

/// Aligned columns with a line of names above them.
fn table(rows: &[Record], zone: &Zone) -> String {
    let Some(first) = rows.first() else { return "none\n".into() };
    let names = first.iter().map(|(name, _)| title(name)).collect();
    let cells = rows.iter().map(|row| row.iter().map(|(_, value)| cell(value, zone)).collect());
    let lines: Vec<Vec<String>> = std::iter::once(names).chain(cells).collect();
    let widest = |column: usize| lines.iter().map(|line| line[column].width()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..first.len()).map(widest).collect();
    lines.iter().map(|line| aligned(line, &widths, first)).collect()
}

/// A line of cells, each as wide as its column; numbers stand at its right. `row` tells which are numbers.
fn aligned(cells: &[String], widths: &[usize], row: &Record) -> String {
    let mut line = String::new();
    for ((cell, width), (_, value)) in cells.iter().zip(widths).zip(row) {
        let pad = " ".repeat(width - cell.width());
        let (before, after) =
            if matches!(value, Value::Number(_)) { (pad, String::new()) } else { (String::new(), pad) };
        write!(line, "{before}{cell}{after}  ").ok(); // a String takes all
    }
    format!("{}\n", line.trim_end())
}

/// A line for each field, and a table for each list.
fn lines(record: &Record, zone: &Zone) -> String {
    let widest = record.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let mut text = String::new();
    for (name, value) in record {
        match value {
            Value::Rows(rows) => writeln!(text, "\n{}:\n{}", title(name), table(rows, zone).trim_end()),
            Value::Speech(speech) => {
                let indented: Vec<String> = speech.lines().map(harmless).collect();
                let between = format!("\n{}", " ".repeat(widest));
                writeln!(text, "{:widest$}{}", format!("{name}:"), indented.join(&between))
            }
            value => writeln!(text, "{:widest$}{}", format!("{name}:"), cell(value, zone)),
        }
        .ok();
    }
    text
}

fn title(name: &str) -> String {
    name.replace('_', " ").to_uppercase()
}

fn cell(value: &Value, zone: &Zone) -> String {
    match value {
        Value::Missing => "-".into(),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.into(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => harmless(text),
        Value::Speech(text) => shortened(&harmless(text)),
        Value::Time(at) => written(*at, zone),
        Value::Texts(texts) => harmless(&texts.join(", ")),
        Value::Real(number) => number.to_string(),
        Value::Rows(rows) => rows.len().to_string(),
    }
}

/// The beginning of a text that is too wide for a column.
fn shortened(text: &str) -> String {
    if text.width() <= WIDEST_TEXT {
        return text.into();
    }
    let mut width = 1; // of the three dots
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width <= WIDEST_TEXT
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// The text in one line, without characters that steer a terminal or turn the direction of writing.
fn harmless(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown = |c: char| match c {
        c if c.is_whitespace() => ' ',
        c if steers(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Record> {
        let row = |id: i64, text: &str, at: Option<Millis>| {
            vec![("id", id.into()), ("text", Value::Speech(text.into())), ("sent_at", at.into())]
        };
        vec![row(7, "日本", Some(Millis(1_790_000_000_123))), row(12, "two\nlines \u{1b}[2J", None)]
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_at_their_right() {
        let expected = "\
ID  TEXT            SENT AT
 7  日本            2026-09-21T14:13:20.123Z
12  two lines \u{fffd}[2J  -
";
        assert_eq!(table(&rows(), &Zone::Utc), expected);
        assert_eq!(table(&[], &Zone::Utc), "none\n");
    }

    #[test]
    fn a_live_table_has_its_names_once_and_grows_with_its_rows() {
        let mut live = LiveTable { json: false, zone: Zone::Utc, widths: Vec::new() };
        let row = |id: i64, text: &str| {
            vec![("id", id.into()), ("text", Value::Speech(text.into())), ("to", "x".into())]
        };
        assert_eq!(live.line(&row(7, "one")), "ID  TEXT  TO\n 7  one   x\n");
        assert_eq!(live.line(&row(1234, "longer")), "1234  longer  x\n");
        assert_eq!(live.line(&row(8, "two")), "   8  two     x\n");
    }

    #[test]
    fn times_are_local_on_a_terminal() {
        let zone = Zone::Local(TimeZone::fixed(jiff::tz::offset(-3)));
        assert!(table(&rows(), &zone).contains("  2026-09-21 11:13:20\n"));
        assert_eq!(written(Millis(i64::MAX), &zone), i64::MAX.to_string(), "no time at all");
    }

    #[test]
    fn a_text_is_cut_where_its_column_ends() {
        assert_eq!(shortened(&"x".repeat(60)), "x".repeat(60));
        assert_eq!(shortened(&"x".repeat(61)), "x".repeat(59) + "…");
        assert_eq!(shortened(&"本".repeat(31)), "本".repeat(29) + "…");
    }

    #[test]
    fn details_keep_the_lines_of_a_text_and_nothing_that_steers() {
        let record = vec![
            ("id", 1.into()),
            ("text", Value::Speech("one\ntwo\u{202e}".into())),
            ("sent", true.into()),
            ("parts", Value::Rows(vec![vec![("part", 1.into())]])),
        ];
        let expected = "id:    1\ntext:  one\n       two\u{fffd}\nsent:  yes\n\nPARTS:\nPART\n   1\n";
        assert_eq!(lines(&record, &Zone::Utc), expected);
    }

    #[test]
    fn json_has_all_of_a_text_and_its_fields_in_order() {
        let json = serde_json::to_string(&Object(&rows()[1])).unwrap();
        assert_eq!(json, r#"{"id":12,"text":"two\nlines \u001b[2J","sent_at":null}"#);
        let json = serde_json::to_string(&Value::from(rows())).unwrap();
        assert!(
            json.starts_with(r#"[{"id":7,"text":"日本","sent_at":"2026-09-21T14:13:20.123Z"},"#),
            "{json}"
        );
    }
}
