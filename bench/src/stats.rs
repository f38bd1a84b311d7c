//! Figures: latencies counted in fixed buckets, medians, ratios, and tables for a Markdown page.
//!
//! It owns no measurement: it only adds up what others measured.

use std::fmt;
use std::time::Duration;

/// Below this many nanoseconds the buckets are linear.
const LINEAR_BELOW_NS: u64 = 1_000_000;
const LINEAR_STEP_NS: u64 = 2_000;
const LINEAR_BUCKETS: usize = 500;
/// From there on each doubling is cut into this many buckets, so that one is at most 0.8 % wide.
const BUCKETS_PER_OCTAVE: usize = 128;
const OCTAVE_BITS: u32 = BUCKETS_PER_OCTAVE.ilog2();
/// 1000 microseconds are in the octave from 2^9 on, 60 seconds in the one from 2^25 on.
const FIRST_OCTAVE: u32 = 9;
const LAST_OCTAVE: u32 = 25;
const BUCKETS: usize = LINEAR_BUCKETS + BUCKETS_PER_OCTAVE * (LAST_OCTAVE - FIRST_OCTAVE + 1) as usize;

/// Latencies in buckets of 2 us up to 1 ms and of less than 1 % up to 60 s; longer ones are in the last bucket.
#[derive(Clone, Debug)]
pub struct Histogram {
    buckets: Box<[u64]>,
    total: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS].into_boxed_slice(), total: 0, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn record(&mut self, latency: Duration) {
        self.buckets[bucket_of(latency)] += 1;
        self.total += 1;
        self.max = self.max.max(latency);
    }

    /// The longest latency, exactly; zero when none was counted.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// What `per_mille` in a thousand latencies did not exceed (nearest rank), rounded up to the end of its bucket,
    /// but never above `max`. Zero when none was counted.
    #[must_use]
    pub fn quantile(&self, per_mille: u32) -> Duration {
        let rank = (self.total * u64::from(per_mille)).div_ceil(1000).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets[..BUCKETS - 1].iter().enumerate() {
            seen += count;
            if seen >= rank {
                return end_of(bucket).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(latency: Duration) -> usize {
    let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    if nanos < LINEAR_BELOW_NS {
        return usize::try_from(nanos / LINEAR_STEP_NS).unwrap_or(0);
    }
    let micros = nanos / 1000;
    let octave = micros.ilog2();
    let within = usize::try_from(micros >> (octave - OCTAVE_BITS)).unwrap_or(0) - BUCKETS_PER_OCTAVE;
    let bucket = LINEAR_BUCKETS + (octave - FIRST_OCTAVE) as usize * BUCKETS_PER_OCTAVE + within;
    bucket.min(BUCKETS - 1)
}

/// The first latency above the bucket.
fn end_of(bucket: usize) -> Duration {
    if bucket < LINEAR_BUCKETS {
        return Duration::from_nanos((bucket as u64 + 1) * LINEAR_STEP_NS);
    }
    let (octave, within) =
        ((bucket - LINEAR_BUCKETS) / BUCKETS_PER_OCTAVE, (bucket - LINEAR_BUCKETS) % BUCKETS_PER_OCTAVE);
    let first = (BUCKETS_PER_OCTAVE + within) as u64 + 1;
    Duration::from_micros(first << (octave as u64 + u64::from(FIRST_OCTAVE - OCTAVE_BITS)))
}

/// The middle value, or the mean of the two in the middle; `None` of nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[middle - 1], upper))
}

/// The middle duration, or the mean of the two in the middle; `None` of nothing.
#[must_use]
pub fn median_duration(values: &[Duration]) -> Option<Duration> {
    let mut sorted = values.to_vec();
    sorted.sort();
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[middle - 1] + upper) / 2)
}

/// How many times `base` the value is; `None` when `base` is zero.
#[must_use]
pub fn ratio(value: f64, base: f64) -> Option<f64> {
    (base != 0.0).then(|| value / base)
}

/// A count as a fraction's part. Exact up to 2^53.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "no count of a benchmark comes near 2^53")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// A figure as a whole number with its thousands apart: `12,346`.
#[must_use]
pub fn format_whole(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A latency in milliseconds, with fewer places the longer it is: `0.084 ms`, `12.3 ms`, `1830 ms`.
#[must_use]
pub fn format_latency(latency: Duration) -> String {
    let millis = latency.as_secs_f64() * 1000.0;
    let places = if millis < 1.0 {
        3
    } else if millis < 10.0 {
        2
    } else {
        usize::from(millis < 100.0)
    };
    format!("{millis:.places$} ms")
}

/// A Markdown table whose source is aligned too: the first column to the left, the others to the right.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a heading for each column.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| cell(heading)).collect()] }
    }

    /// Adds a row. Missing cells stay empty; cells beyond the headings are left out.
    pub fn row(&mut self, cells: &[impl AsRef<str>]) {
        let mut row: Vec<_> = cells.iter().map(|text| cell(text.as_ref())).collect();
        row.resize(self.rows[0].len(), String::new());
        self.rows.push(row);
    }
}

/// Text that cannot break out of its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width_of = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<_> =
            (0..self.rows[0].len()).map(|column| width_of(column).unwrap_or(0).max(3)).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, (text, &width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(out, "| {text:<width$} |")?;
                } else {
                    write!(out, " {text:>width$} |")?;
                }
            }
            writeln!(out)?;
            if number == 0 {
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(width - usize::from(column > 0));
                    write!(
                        out,
                        "{}",
                        if column == 0 { format!("| {dashes} |") } else { format!(" {dashes}: |") }
                    )?;
                }
                writeln!(out)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_latency_is_in_a_bucket_that_ends_just_above_it() {
        let mut last = 0;
        let mut nanos: u64 = 1;
        while nanos < 60_000_000_000 {
            let bucket = bucket_of(Duration::from_nanos(nanos));
            let end = u64::try_from(end_of(bucket).as_nanos()).unwrap_or(u64::MAX);
            let width = if nanos < LINEAR_BELOW_NS { LINEAR_STEP_NS } else { nanos / 100 };
            assert!(nanos < end && end - nanos <= width, "{nanos} ns is in a bucket that ends at {end}");
            assert!(bucket >= last, "{nanos} ns is in an earlier bucket than a shorter latency");
            last = bucket;
            nanos += 1 + nanos / 1000;
        }
    }

    #[test]
    fn latencies_beyond_the_buckets_are_counted_and_the_longest_is_exact() {
        let mut histogram = Histogram::default();
        histogram.record(Duration::MAX);
        histogram.record(Duration::from_hours(1));
        assert_eq!((histogram.total, histogram.max()), (2, Duration::MAX));
        assert_eq!(histogram.quantile(500), Duration::MAX);
    }

    #[test]
    fn quantiles_are_the_nearest_rank() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        assert_eq!(histogram.quantile(500), Duration::from_micros(502), "500 us is in the bucket 500 to 502");
        assert_eq!(histogram.quantile(990), Duration::from_micros(992));
        assert_eq!(histogram.quantile(1000), Duration::from_millis(1), "never above the longest");
        assert_eq!(histogram.quantile(0), Duration::from_micros(2), "the first one's bucket");
    }

    #[test]
    fn nothing_counted_is_zero() {
        assert_eq!(Histogram::default().quantile(990), Duration::ZERO);
    }

    #[test]
    fn one_outlier_in_a_hundred_is_above_p99() {
        let mut histogram = Histogram::default();
        for _ in 0..99 {
            histogram.record(Duration::from_millis(5));
        }
        histogram.record(Duration::from_secs(9));
        assert!(histogram.quantile(990) < Duration::from_micros(5_050));
        assert_eq!(histogram.max(), Duration::from_secs(9));
    }

    #[test]
    fn medians_are_of_sorted_values() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        let millis = [9, 1, 5, 2].map(Duration::from_millis);
        assert_eq!(median_duration(&millis), Some(Duration::from_micros(3500)));
        assert_eq!(median_duration(&millis[..1]), Some(Duration::from_millis(9)));
    }

    #[test]
    fn a_ratio_to_nothing_is_none() {
        assert_eq!(ratio(3.0, 2.0), Some(1.5));
        assert_eq!(ratio(3.0, 0.0), None);
    }

    #[test]
    fn figures_are_written_for_people() {
        let whole = [0.0, 999.4, 1000.0, 1_234_567.8, -1234.0].map(format_whole);
        assert_eq!(whole, ["0", "999", "1,000", "1,234,568", "-1,234"]);
        let latencies = [84, 1_234, 12_345, 1_830_000].map(|us| format_latency(Duration::from_micros(us)));
        assert_eq!(latencies, ["0.084 ms", "1.23 ms", "12.3 ms", "1830 ms"]);
    }

    #[test]
    fn a_table_is_aligned_and_stays_in_its_cells() {
        let mut table = Table::new(&["case", "per second", "µs"]);
        table.row(&["webhook", "12,345", "81"]);
        table.row(&["a|b\nc"]);
        let expected = "\
| case    | per second |  µs |
| ------- | ---------: | --: |
| webhook |     12,345 |  81 |
| a\\|b c  |            |     |
";
        assert_eq!(table.to_string(), expected);
    }
}
