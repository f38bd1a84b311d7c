//! Pairing: one-time codes, and how long a client that guesses is locked out.
//!
//! The fifth wrong code within 15 minutes locks its client out; each further lockout within a day lasts twice as long as
//! the one before, up to an hour. The failures of a lockout are spent with it: the next lockout needs five new ones.

use std::{fmt, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroize as _;

use super::time::Millis;

/// Wrong codes that lock a client out.
pub const FAILURES_TO_LOCK: usize = 5;
/// The time in which they must fall.
pub const FAILURE_WINDOW: Duration = Duration::from_mins(15);
/// The time in which a further lockout lasts longer.
pub const LOCKOUT_MEMORY: Duration = Duration::from_hours(24);
/// The longest lockout.
pub const LONGEST_LOCKOUT: Duration = Duration::from_hours(1);

/// A pairing code in clear: six digits.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingCode([u8; 6]);

impl PairingCode {
    /// Reads a header value, trimmed.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let digits: [u8; 6] = value.trim_ascii().try_into().ok()?;
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }

    /// A code from random numbers, all codes alike: a number from the incomplete last million is drawn again.
    pub fn from_random(mut next: impl FnMut() -> u32) -> Self {
        const WHOLE_MILLIONS: u32 = u32::MAX / 1_000_000 * 1_000_000;
        let mut number = next();
        while number >= WHOLE_MILLIONS {
            number = next();
        }
        let mut digits = [b'0'; 6];
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789"[(number % 10) as usize];
            number /= 10;
        }
        Self(digits)
    }

    /// The six digits.
    #[must_use]
    pub fn expose(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// What is kept of it: HMAC-SHA256 keyed with `salt`.
    #[must_use]
    pub fn hash(&self, salt: &[u8]) -> [u8; 32] {
        // An HMAC key may have any length (RFC 2104, section 2), so there is no error to report.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(salt) else { return [0; 32] };
        mac.update(&self.0);
        mac.finalize().into_bytes().into()
    }

    /// Whether `hash` was made of this code with `salt`, in constant time.
    #[must_use]
    pub fn matches(&self, salt: &[u8], hash: &[u8]) -> bool {
        self.hash(salt).ct_eq(hash).into()
    }
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[pairing code]")
    }
}

impl Drop for PairingCode {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// One lockout of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// When it began.
    pub at: Millis,
    /// When it ends.
    pub until: Millis,
}

/// What is on record about one client, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Its wrong codes since its last lockout.
    pub failures: Vec<Millis>,
    /// Its lockouts.
    pub lockouts: Vec<Lockout>,
}

impl History {
    /// How long the client is still locked out. A clock that was set back makes no lockout longer than it was.
    #[must_use]
    pub fn locked_for(&self, now: Millis) -> Option<Duration> {
        let remaining = |l: &Lockout| l.until.since(now).min(l.until.since(l.at));
        self.lockouts.iter().map(remaining).max().filter(|left| !left.is_zero())
    }

    /// The lockout that a wrong code at `now` brings, if it is the fifth; `first` is how long the first one lasts.
    #[must_use]
    pub fn lockout_after_failure(&self, now: Millis, first: Duration) -> Option<Lockout> {
        let recent = self.failures.iter().filter(|at| now.since(**at) < FAILURE_WINDOW).count();
        if recent + 1 < FAILURES_TO_LOCK {
            return None;
        }
        let earlier = self.lockouts.iter().filter(|l| now.since(l.at) < LOCKOUT_MEMORY).count();
        let doubled = 2_u32.saturating_pow(u32::try_from(earlier).unwrap_or(u32::MAX));
        let length = first.saturating_mul(doubled).min(LONGEST_LOCKOUT);
        Some(Lockout { at: now, until: now.plus(length) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: Duration = Duration::from_mins(5);

    fn minutes(n: i64) -> Millis {
        Millis(n * 60_000)
    }

    #[test]
    fn a_code_is_six_digits() {
        assert!(PairingCode::parse(b" 012345\t").is_some());
        for bad in [&b""[..], b"12345", b"1234567", b"12345a", "１２３４５６".as_bytes()] {
            assert!(PairingCode::parse(bad).is_none());
        }
    }

    #[test]
    fn a_random_number_beyond_the_last_whole_million_is_drawn_again() {
        let mut numbers = [u32::MAX, 4_294_000_000, 4_293_999_999].into_iter();
        let code = PairingCode::from_random(|| numbers.next().unwrap());
        assert_eq!(code.expose(), "999999");
        assert_eq!(PairingCode::from_random(|| 42).expose(), "000042");
    }

    #[test]
    fn a_code_matches_its_own_hash_only() {
        let code = PairingCode::parse(b"123456").unwrap();
        let hash = code.hash(b"salt");
        assert!(code.matches(b"salt", &hash));
        assert!(!code.matches(b"other", &hash));
        assert!(!PairingCode::parse(b"123457").unwrap().matches(b"salt", &hash));
        assert!(!format!("{code:?}").contains("123456"));
    }

    #[test]
    fn the_fifth_failure_within_15_minutes_locks() {
        let mut history =
            History { failures: vec![minutes(0), minutes(5), minutes(10)], ..Default::default() };
        assert_eq!(history.lockout_after_failure(minutes(14), FIRST), None);
        history.failures.push(minutes(14));
        assert!(history.lockout_after_failure(minutes(14), FIRST).is_some());
        assert_eq!(history.lockout_after_failure(minutes(15), FIRST), None, "the first has decayed");
    }

    #[test]
    fn each_further_lockout_within_a_day_lasts_twice_as_long_up_to_an_hour() {
        let mut history = History::default();
        let mut now = Millis(0);
        for expected_secs in [300, 600, 1200, 2400, 3600, 3600] {
            history.failures = vec![now; 4];
            let lockout = history.lockout_after_failure(now, FIRST).unwrap();
            assert_eq!(lockout.until.since(now).as_secs(), expected_secs);
            history.lockouts.push(lockout);
            now = lockout.until;
            assert_eq!(history.locked_for(now), None);
        }
        now = now.plus(LOCKOUT_MEMORY);
        assert_eq!(history.lockout_after_failure(now, FIRST), None, "the failures have decayed");
        history.failures = vec![now; 4];
        let lockout = history.lockout_after_failure(now, FIRST).unwrap();
        assert_eq!(lockout.until.since(now).as_secs(), 300);
    }

    proptest! {
        #[test]
        fn a_clock_set_back_makes_no_lockout_longer(at in 0_i64..1_000_000, length in 1_i64..3_600_000, now in -10_000_000_i64..10_000_000) {
            let lockout = Lockout { at: Millis(at), until: Millis(at + length) };
            let history = History { failures: vec![], lockouts: vec![lockout] };
            let left = history.locked_for(Millis(now)).unwrap_or_default();
            prop_assert!(left <= Duration::from_millis(length.unsigned_abs()));
            prop_assert_eq!(left.is_zero(), now >= at + length);
        }
    }
}
