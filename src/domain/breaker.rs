//! A circuit breaker: whether to call what failed time after time, and when to try it again.
//!
//! Closed, every call is let through. After [`FAILURES`] failures in a row it opens: no call is let through for
//! [`FIRST_PAUSE`]. Then one call is, the probe. If that succeeds the breaker closes; if it fails the next pause is twice
//! as long, up to [`LONGEST_PAUSE`].

use std::time::Duration;

/// Failures in a row that open a breaker.
pub const FAILURES: u32 = 5;
/// How long it stays open at first.
pub const FIRST_PAUSE: Duration = Duration::from_secs(30);
/// How long it stays open at most.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The breaker of one provider. Moments are times since some fixed moment; that of a call which races another may
/// be a little before the other's.
#[derive(Debug, Clone)]
pub struct Breaker {
    state: State,
    /// Counts the changes of state: a call that was let through before the last one has no say any more.
    epoch: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Duration, pause: Duration },
    Probing { pause: Duration },
}

/// That a call was let through. It is to be given back to [`Breaker::ended`].
#[derive(Debug, Clone, Copy)]
#[must_use = "a probe that is not given back keeps the breaker from closing"]
pub struct Pass {
    epoch: u64,
}

/// What a call says of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It works.
    Works,
    /// It failed.
    Failed,
    /// Nothing: the call was given up before there was anything to tell.
    Unknown,
}

/// What a breaker shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Calls are let through.
    Closed,
    /// It failed, and it is time to try it again, or it is being tried.
    HalfOpen,
    /// Calls are not let through.
    Open,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed { failures: 0 }, epoch: 0 }
    }
}

impl Breaker {
    /// Whether a call would be let through.
    ///
    /// # Errors
    /// How long none will be. While the probe runs that is not known, and zero.
    pub fn check(&self, now: Duration) -> Result<(), Duration> {
        match self.state {
            State::Open { until, .. } if until > now => Err(until.saturating_sub(now)),
            State::Probing { .. } => Err(Duration::ZERO),
            State::Closed { .. } | State::Open { .. } => Ok(()),
        }
    }

    /// Lets a call through.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn enter(&mut self, now: Duration) -> Result<Pass, Duration> {
        self.check(now)?;
        if let State::Open { pause, .. } = self.state {
            self.change(State::Probing { pause });
        }
        Ok(Pass { epoch: self.epoch })
    }

    /// Takes in what came of a call that was let through.
    pub fn ended(&mut self, pass: Pass, verdict: Verdict, now: Duration) {
        if pass.epoch != self.epoch {
            return;
        }
        match (self.state, verdict) {
            (State::Closed { .. }, Verdict::Works) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Verdict::Failed) if failures + 1 < FAILURES => {
                self.state = State::Closed { failures: failures + 1 };
            }
            (State::Closed { .. }, Verdict::Failed) => self.open(FIRST_PAUSE, now),
            (State::Probing { .. }, Verdict::Works) => self.change(State::Closed { failures: 0 }),
            (State::Probing { pause }, Verdict::Failed) => self.open((pause * 2).min(LONGEST_PAUSE), now),
            (State::Probing { pause }, Verdict::Unknown) => self.change(State::Open { until: now, pause }),
            (State::Closed { .. }, Verdict::Unknown) | (State::Open { .. }, _) => {}
        }
    }

    /// What it shows now.
    #[must_use]
    pub fn shown(&self, now: Duration) -> Shown {
        match self.state {
            State::Closed { .. } => Shown::Closed,
            State::Open { until, .. } if until > now => Shown::Open,
            State::Open { .. } | State::Probing { .. } => Shown::HalfOpen,
        }
    }

    fn open(&mut self, pause: Duration, now: Duration) {
        self.change(State::Open { until: now.saturating_add(pause), pause });
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Duration = Duration::from_secs(1000);

    fn open_at(now: Duration) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            let pass = breaker.enter(now).unwrap();
            breaker.ended(pass, Verdict::Failed, now);
        }
        breaker
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_starts_the_count_again() {
        let mut breaker = Breaker::default();
        for verdict in [[Verdict::Failed; 4].as_slice(), &[Verdict::Works], &[Verdict::Failed; 4]].concat() {
            let pass = breaker.enter(START).unwrap();
            breaker.ended(pass, verdict, START);
        }
        assert_eq!(breaker.shown(START), Shown::Closed);
        let pass = breaker.enter(START).unwrap();
        breaker.ended(pass, Verdict::Failed, START);
        assert_eq!(breaker.shown(START), Shown::Open);
        assert_eq!(breaker.enter(START + Duration::from_secs(10)).unwrap_err(), Duration::from_secs(20));
    }

    #[test]
    fn the_pause_doubles_from_30_seconds_to_5_minutes_until_a_probe_succeeds() {
        let mut now = START;
        let mut breaker = open_at(now);
        for secs in [30, 60, 120, 240, 300, 300] {
            assert_eq!(breaker.enter(now).unwrap_err(), Duration::from_secs(secs));
            now += Duration::from_secs(secs);
            let probe = breaker.enter(now).unwrap();
            breaker.ended(probe, Verdict::Failed, now);
        }
        now += LONGEST_PAUSE;
        let probe = breaker.enter(now).unwrap();
        assert_eq!((breaker.shown(now), breaker.enter(now).unwrap_err()), (Shown::HalfOpen, Duration::ZERO));
        breaker.ended(probe, Verdict::Works, now);
        assert_eq!(breaker.shown(now), Shown::Closed);
        assert_eq!(open_at(now).enter(now).unwrap_err(), FIRST_PAUSE);
    }

    #[test]
    fn a_probe_that_was_given_up_makes_room_for_another() {
        let mut breaker = open_at(START);
        let later = START + FIRST_PAUSE;
        let probe = breaker.enter(later).unwrap();
        breaker.ended(probe, Verdict::Unknown, later);
        let probe = breaker.enter(later).unwrap();
        breaker.ended(probe, Verdict::Failed, later);
        assert_eq!(breaker.enter(later).unwrap_err(), FIRST_PAUSE * 2);
    }

    #[test]
    fn a_call_from_before_has_no_say() {
        let mut breaker = Breaker::default();
        let early = breaker.enter(START).unwrap();
        for _ in 0..FAILURES {
            let pass = breaker.enter(START).unwrap();
            breaker.ended(pass, Verdict::Failed, START);
        }
        breaker.ended(early, Verdict::Works, START);
        assert_eq!(breaker.shown(START), Shown::Open);
    }

    fn verdicts() -> impl Strategy<Value = Verdict> {
        prop_oneof![Just(Verdict::Works), Just(Verdict::Failed), Just(Verdict::Unknown)]
    }

    proptest! {
        /// Whatever comes of up to eight calls at once, in whatever order: never two probes, no pause of more than five
        /// minutes, and after that pause a call is let through or a probe runs.
        #[test]
        fn it_never_shuts_for_good(steps in prop::collection::vec((0_usize..8, verdicts(), 0_u64..90), 1..200)) {
            let (mut breaker, mut now) = (Breaker::default(), START);
            let mut calls: [Option<Pass>; 8] = [None; 8];
            for (slot, verdict, secs) in steps {
                now += Duration::from_secs(secs);
                let was_closed = breaker.shown(now) == Shown::Closed;
                match calls[slot].take() {
                    Some(pass) => breaker.ended(pass, verdict, now),
                    None => match breaker.enter(now) {
                        Ok(pass) => calls[slot] = Some(pass),
                        Err(pause) => prop_assert!(!was_closed && pause <= LONGEST_PAUSE),
                    },
                }
                let probes = calls.iter().flatten().filter(|pass| pass.epoch == breaker.epoch).count();
                let is_probing = matches!(breaker.state, State::Probing { .. });
                prop_assert!(!is_probing || probes == 1, "{probes} probes");
                prop_assert!(is_probing || breaker.clone().enter(now + LONGEST_PAUSE).is_ok());
            }
        }

        /// Successes alone never open it, and neither do failures that are not in a row.
        #[test]
        fn it_opens_for_failures_in_a_row_alone(verdicts in prop::collection::vec(verdicts(), 0..100)) {
            let (mut breaker, mut in_a_row) = (Breaker::default(), 0);
            for verdict in verdicts {
                let Ok(pass) = breaker.enter(START) else { break };
                breaker.ended(pass, verdict, START);
                in_a_row = match verdict {
                    Verdict::Works => 0,
                    Verdict::Failed => in_a_row + 1,
                    Verdict::Unknown => in_a_row,
                };
                prop_assert_eq!(breaker.shown(START) == Shown::Open, in_a_row >= FAILURES);
            }
        }
    }
}
