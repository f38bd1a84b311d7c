//! Metrics of telemetry itself: what was lost on its way out.

use super::instrument::{Meter, TotalBy, counter, observe_total};
use super::label::labels;
use crate::telemetry::logs;

labels! {
    /// Why a span did not arrive.
    SpanLoss {
        /// As many waited as may.
        QueueFull => "queue_full",
        /// The receiver did not take it.
        ExportFailed => "export_failed",
    }
}

labels! {
    /// What became of a push to the receiver.
    Push {
        /// It has the spans.
        SpansSent => "spans_sent",
        /// It does not have the spans.
        SpansFailed => "spans_failed",
        /// It has the metrics.
        MetricsSent => "metrics_sent",
        /// It does not have the metrics.
        MetricsFailed => "metrics_failed",
    }
}

/// Lost log lines and spans, and pushes to an OTLP receiver.
pub struct OwnMetrics {
    spans: TotalBy<SpanLoss>,
    pushes: TotalBy<Push>,
}

impl OwnMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let spans = counter(meter, "spans_dropped_total", "Spans that were lost on their way out, by reason");
        let pushes = counter(meter, "otlp_pushes_total", "Pushes to the OTLP receiver, by what came of them");
        let named =
            ("log_lines_dropped_total", "Log lines that were lost because standard error is slow or gone");
        observe_total(meter, named, logs::dropped);
        Self { spans: TotalBy::new(&spans, "reason", &[]), pushes: TotalBy::new(&pushes, "outcome", &[]) }
    }

    /// Counts spans that were lost.
    pub fn lost(&self, why: SpanLoss, spans: usize) {
        self.spans.add(why, spans as u64);
    }

    /// Counts a push.
    pub fn pushed(&self, outcome: Push) {
        self.pushes.increment(outcome);
    }
}
