//! Metrics of turns: one message and the work on its answer.

use super::instrument::{Level, LevelGuard, Meter, Total, TotalBy, counter};
use super::label::labels;

labels! {
    /// What became of a turn.
    TurnOutcome {
        /// It has its answer.
        Answered => "answered",
        /// The provider failed.
        Failed => "failed",
        /// A crash cut it, and its sender will send again.
        Interrupted => "interrupted",
        /// A crash cut it, and it was taken up again at the next start.
        Resumed => "resumed",
        /// Too much was in flight to begin it.
        Refused => "refused",
    }
}

/// Turns by outcome, and how many run.
pub struct TurnMetrics {
    outcomes: TotalBy<TurnOutcome>,
    in_flight: Level,
    cut: Total,
}

impl TurnMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let outcomes = counter(meter, "turns_total", "Turns, by outcome");
        Self {
            outcomes: TotalBy::new(&outcomes, "outcome", &[]),
            in_flight: Level::gauge(meter, "turns_in_flight", "Turns that run now"),
            cut: Total::new(meter, "replies_cut_total", "Replies that were longer than they may be"),
        }
    }

    /// Counts a turn as running until the guard is dropped.
    pub fn running(&self) -> LevelGuard {
        self.in_flight.hold()
    }

    /// Counts a reply that was cut.
    pub fn cut(&self) {
        self.cut.increment();
    }

    /// Counts what became of a turn.
    pub fn outcome(&self, outcome: TurnOutcome) {
        self.outcomes.increment(outcome);
    }
}
