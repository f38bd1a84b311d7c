//! The one kind of time that is stored: whole milliseconds since 1970 in UTC.

use std::time::Duration;

/// A moment, in milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    /// The moment `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(as_ms(duration)))
    }

    /// The moment `duration` earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(as_ms(duration)))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The moment as a part of a file's name, `20261122T041500Z`. The order of names is that of moments, up to the year 9999.
    #[must_use]
    pub fn stamp(self) -> String {
        self.iso().replace(['-', ':'], "")
    }

    /// The moment to the second for people, `2026-11-22T04:15:00Z`.
    #[must_use]
    pub fn iso(self) -> String {
        let (days, second) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000) / 1000);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of a number of days since 1970. The year is counted from March, so that a leap day is its last.
fn civil(days: i64) -> (i64, i64, i64) {
    const FROM_MARCH_OF_0: i64 = 719_468;
    const FOUR_CENTURIES: i64 = 146_097;
    let days = days.saturating_add(FROM_MARCH_OF_0);
    let (era, day) = (days.div_euclid(FOUR_CENTURIES), days.rem_euclid(FOUR_CENTURIES));
    let year = (day - day / 1460 + day / 36_524 - day / (FOUR_CENTURIES - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let year = era * 400 + year + i64::from(month >= 10);
    (year, if month < 10 { month + 3 } else { month - 9 }, day - (153 * month + 2) / 5 + 1)
}

fn as_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A wait as `Retry-After` and `retry_after` say it: whole seconds, rounded up, never 0 (RFC 9110, 10.2.3).
#[must_use]
pub fn retry_after_secs(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_and_is_never_zero() {
        for (ms, secs) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60), (60_000, 60)] {
            assert_eq!(retry_after_secs(Duration::from_millis(ms)), secs, "{ms} ms");
        }
    }

    #[test]
    fn a_stamp_is_the_moment_in_utc() {
        for (ms, stamp) in [
            (0, "19700101T000000Z"),
            (1_709_251_199_999, "20240229T235959Z"),
            (1_790_000_000_000, "20260921T141320Z"),
            (951_868_800_000, "20000301T000000Z"),
            (4_107_542_399_000, "21000228T235959Z"),
            (4_107_542_400_000, "21000301T000000Z"),
            (-1000, "19691231T235959Z"),
        ] {
            assert_eq!(Millis(ms).stamp(), stamp);
        }
        assert_eq!(Millis(1_790_000_000_999).iso(), "2026-09-21T14:13:20Z");
    }

    #[test]
    fn the_time_since_a_later_moment_is_zero() {
        assert_eq!(Millis(5).since(Millis(9)), Duration::ZERO);
        assert_eq!(Millis(9).since(Millis(5)), Duration::from_millis(4));
    }
}
