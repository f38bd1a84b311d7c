//! Replies on their way out: what they are, and how long to wait before another try.

use std::time::Duration;

/// What a reply to a channel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyKind {
    /// What the model said.
    Answer,
    /// That there is no answer.
    Apology,
    /// That only text is understood.
    Notice,
}

impl ReplyKind {
    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Apology => "apology",
            Self::Notice => "notice",
        }
    }
}

/// What senders of pictures, voice messages and the like are told.
pub const ONLY_TEXT: &str = "Sorry, I can only understand text messages.";

/// How the pauses between tries grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause before the second try.
    pub first: Duration,
    /// The longest pause, unless the other side asks for a longer one.
    pub longest: Duration,
}

/// The longest pause that the other side may ask for.
const LONGEST_ASKED: Duration = Duration::from_hours(24);

impl Backoff {
    /// The pause after the `attempt`-th try (from 1): doubled each time, and of that a random share between a half and the
    /// whole, so that what failed together does not come back together ("equal jitter"). At least what the other side asked
    /// for, up to a day. `random` is any random number.
    #[must_use]
    pub fn pause(&self, attempt: u32, asked: Option<Duration>, random: u64) -> Duration {
        let doubled =
            self.first.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let whole_ms = u64::try_from(doubled.min(self.longest).as_millis()).unwrap_or(u64::MAX);
        let half_ms = whole_ms / 2;
        let pause = Duration::from_millis(whole_ms - half_ms + random % (half_ms + 1));
        pause.max(asked.unwrap_or_default().min(LONGEST_ASKED))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(15) };

    #[test]
    fn the_pause_doubles_up_to_the_longest() {
        let longest = |attempt| (0..4001).map(|random| BACKOFF.pause(attempt, None, random)).max().unwrap();
        for (attempt, ms) in [(1, 1000), (2, 2000), (3, 4000)] {
            assert_eq!(longest(attempt).as_millis(), ms, "attempt {attempt}");
        }
        let full = |attempt| BACKOFF.pause(attempt, None, 450_000).as_secs();
        assert_eq!((full(11), full(33), full(u32::MAX)), (900, 900, 900));
    }

    #[test]
    fn the_other_side_may_ask_for_more_but_not_for_ever() {
        let asked = |secs| BACKOFF.pause(1, Some(Duration::from_secs(secs)), 0).as_millis();
        assert_eq!((asked(0), asked(30), asked(u64::MAX)), (500, 30_000, 86_400_000));
    }

    proptest! {
        #[test]
        fn a_pause_is_between_half_of_it_and_the_whole(attempt in 0_u32..64, random: u64) {
            let whole = Duration::from_secs(1).saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(BACKOFF.longest);
            let pause = BACKOFF.pause(attempt, None, random);
            prop_assert!(pause <= whole && pause * 2 >= whole);
        }
    }
}
