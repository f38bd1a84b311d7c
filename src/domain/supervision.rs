//! When a part that failed is begun again, and what is shown of it meanwhile.
//!
//! Pauses double from [`BACKOFF`]`.first` to its `longest`, with jitter, and begin again at the first once a part has run
//! for [`STABLE`]. Until then a part that was begun again is [`State::Degraded`] at best: what keeps failing does not look
//! well in between.

use std::time::Duration;

use super::{delivery::Backoff, health::State};

/// The pauses before a part is begun again.
pub const BACKOFF: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(1) };

/// A part that has run for so long has left its failures behind.
pub const STABLE: Duration = Duration::from_mins(1);

/// One part under supervision. Moments are times since some fixed moment, and never go back.
#[derive(Debug, Clone)]
pub struct Supervision {
    phase: Phase,
    /// Failures since it last was stable.
    failures: u32,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// It was never begun.
    Absent,
    /// It runs since then, and says this of itself.
    Running { since: Duration, says: State },
    /// It failed, and is begun again after a pause.
    Waiting,
}

impl Default for Supervision {
    fn default() -> Self {
        Self { phase: Phase::Absent, failures: 0 }
    }
}

impl Supervision {
    /// It is begun.
    pub fn begin(&mut self, now: Duration) {
        let says = if self.failures == 0 { State::Starting } else { State::Error };
        self.phase = Phase::Running { since: now, says };
    }

    /// It says how it is doing.
    pub fn say(&mut self, state: State) {
        if let Phase::Running { says, .. } = &mut self.phase {
            *says = state;
        }
    }

    /// It ended, though it should not have: how long to wait before it is begun again. `random` is any random number.
    pub fn fail(&mut self, now: Duration, random: u64) -> Duration {
        if self.is_stable(now) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting;
        BACKOFF.pause(self.failures, None, random)
    }

    /// How it is doing.
    #[must_use]
    pub fn state(&self, now: Duration) -> State {
        match self.phase {
            Phase::Absent => State::Disabled,
            Phase::Waiting => State::Error,
            Phase::Running { says, .. } if self.failures > 0 && !self.is_stable(now) => {
                says.max(State::Degraded)
            }
            Phase::Running { says, .. } => says,
        }
    }

    fn is_stable(&self, now: Duration) -> bool {
        matches!(self.phase, Phase::Running { since, .. } if now.saturating_sub(since) >= STABLE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);
    /// A random number that makes each pause its longest.
    fn whole(failures: u32) -> u64 {
        let whole = Duration::from_secs(1) * 2_u32.pow(failures.min(7) - 1);
        u64::try_from(whole.min(BACKOFF.longest).as_millis()).unwrap() / 2
    }

    #[test]
    fn pauses_double_to_a_minute_and_begin_again_after_a_stable_minute() {
        let mut part = Supervision::default();
        for (failures, secs) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
            part.begin(NOW);
            assert_eq!(part.fail(NOW + STABLE / 2, whole(failures)), Duration::from_secs(secs));
        }
        part.begin(NOW);
        assert_eq!(part.fail(NOW + STABLE, whole(1)), Duration::from_secs(1));
    }

    #[test]
    fn what_was_begun_again_is_degraded_until_it_is_stable() {
        let mut part = Supervision::default();
        assert_eq!(part.state(NOW), State::Disabled);
        part.begin(NOW);
        assert_eq!(part.state(NOW), State::Starting);
        part.say(State::Ok);
        assert_eq!(part.state(NOW), State::Ok);
        part.fail(NOW, 0);
        part.say(State::Ok);
        assert_eq!(part.state(NOW), State::Error, "what has ended has no say");
        part.begin(NOW);
        assert_eq!(part.state(NOW), State::Error, "nothing has got better yet");
        part.say(State::Ok);
        assert_eq!(part.state(NOW), State::Degraded);
        assert_eq!(part.state(NOW + STABLE), State::Ok);
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Begin,
        Say(State),
        Fail(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        let said = prop_oneof![Just(State::Ok), Just(State::Degraded), Just(State::Error)];
        prop_oneof![Just(Event::Begin), said.prop_map(Event::Say), any::<u64>().prop_map(Event::Fail)]
    }

    proptest! {
        /// Whatever happens in whatever order: a pause is at least half a second and at most a minute, it does not shrink
        /// while failures follow each other, and a part that failed within the last minute is never shown as well.
        #[test]
        fn a_part_that_keeps_failing_is_never_shown_as_well(events in prop::collection::vec((event(), 0_u64..90), 1..100)) {
            let (mut part, mut now) = (Supervision::default(), NOW);
            let (mut failed, mut begun) = (None, None);
            for (event, secs) in events {
                now += Duration::from_secs(secs);
                match event {
                    Event::Begin => {
                        part.begin(now);
                        begun = Some(now);
                    }
                    Event::Say(state) => part.say(state),
                    Event::Fail(random) => {
                        let pause = part.fail(now, random);
                        prop_assert!(pause >= BACKOFF.first / 2 && pause <= BACKOFF.longest);
                        failed = Some(now);
                        begun = None;
                    }
                }
                let stable = begun.is_some_and(|begun: Duration| now.saturating_sub(begun) >= STABLE);
                if part.state(now) == State::Ok {
                    prop_assert!(begun.is_some() && (failed.is_none() || stable));
                }
                if failed.is_some() && begun.is_none() {
                    prop_assert_eq!(part.state(now), State::Error);
                }
            }
        }
    }
}
