//! Metrics of the parts that run by themselves.

use super::instrument::{Meter, Total, TotalBy, counter};
use super::label::Label;
use crate::domain::health::Component;

impl Label for Component {
    const ALL: &'static [Self] = &Component::ALL;

    fn text(self) -> &'static str {
        self.as_str()
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Heartbeats, and parts that were begun again.
pub struct SupervisionMetrics {
    heartbeats: Total,
    restarts: TotalBy<Component>,
}

impl SupervisionMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let restarts = counter(
            meter,
            "component_restarts_total",
            "Components that were begun again after an error or a panic",
        );
        Self {
            heartbeats: Total::new(meter, "heartbeat_ticks_total", "Total heartbeat ticks"),
            restarts: TotalBy::new(&restarts, "component", &[]),
        }
    }

    /// Counts a heartbeat: the database was written and read.
    pub fn beat(&self) {
        self.heartbeats.increment();
    }

    /// Counts a component that is begun again.
    pub fn restarted(&self, component: Component) {
        self.restarts.increment(component);
    }
}
