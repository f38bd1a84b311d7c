//! Metrics of the work on an answer: the agent, the language model behind it, and what went wrong.
//!
//! Names, help texts and labels are those of the gateway that existing dashboards were made for.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

use super::instrument::{HistogramSpec, TotalBy, counter};
use super::label::labels;

labels! {
    /// The kind of provider that was asked.
    ProviderLabel {
        /// The built-in echo.
        Echo => "echo",
        /// An `OpenAI`-compatible API.
        OpenAi => "openai",
        /// The Anthropic API.
        Anthropic => "anthropic",
        /// A local Ollama.
        Ollama => "ollama",
    }
}

labels! {
    /// The part of the gateway that an error belongs to.
    Component {
        /// Serving requests.
        Gateway => "gateway",
        /// Asking a language model.
        Provider => "provider",
        /// The database.
        Storage => "storage",
    }
}

const DURATION: HistogramSpec = HistogramSpec {
    name: "agent_duration_seconds",
    help: "Agent invocation duration in seconds",
    bounds: &[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0],
};

pub(super) const LATENCY: HistogramSpec = HistogramSpec {
    name: "request_latency_seconds",
    help: "Request latency in seconds",
    bounds: &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0],
};

/// Agent runs, calls to a language model, latency and errors.
pub struct AgentMetrics {
    models: ModelNames,
    requests: Counter<u64>,
    starts: Counter<u64>,
    durations: Histogram<f64>,
    latencies: Histogram<f64>,
    errors: TotalBy<Component>,
}

impl AgentMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let help = "Requests sent to a language model";
        let requests = counter(meter, "llm_requests_total", help);
        let errors = counter(meter, "errors_total", "Total errors by component");
        Self {
            models: ModelNames::default(),
            requests,
            starts: counter(meter, "agent_starts_total", "Total agent invocations"),
            durations: DURATION.seconds(meter),
            latencies: LATENCY.seconds(meter),
            errors: TotalBy::new(&errors, "component", &[]),
        }
    }

    /// Shows the counters of a configured model at zero before it is first asked, so that its first request is seen as
    /// an increase.
    pub fn announce(&self, provider: ProviderLabel, model: &str) {
        let labels = self.labels(provider, model);
        self.requests.add(0, &labels);
        self.starts.add(0, &labels);
    }

    /// Counts one request to a language model.
    pub fn requested(&self, provider: ProviderLabel, model: &str) {
        self.requests.add(1, &self.labels(provider, model));
    }

    /// Counts the start of an agent run.
    pub fn started(&self, provider: ProviderLabel, model: &str) {
        self.starts.add(1, &self.labels(provider, model));
    }

    /// Records how long an agent run took, whatever came of it.
    pub fn finished(&self, provider: ProviderLabel, model: &str, elapsed: Duration) {
        self.durations.record(elapsed.as_secs_f64(), &self.labels(provider, model));
    }

    /// Records how long a message waited for its answer, whatever came of it.
    pub fn latency(&self, elapsed: Duration) {
        self.latencies.record(elapsed.as_secs_f64(), &[]);
    }

    /// Counts an error.
    pub fn error(&self, component: Component) {
        self.errors.increment(component);
    }

    fn labels(&self, provider: ProviderLabel, model: &str) -> [KeyValue; 2] {
        [KeyValue::new("model", self.models.bounded(model)), KeyValue::new("provider", provider.as_str())]
    }
}

/// The model names seen so far.
///
/// A provider may answer with any name it likes, and a proxy in front of it with a new one each time. So the first
/// [`ModelNames::MAX`] names are shown as they are; later, overlong and unprintable ones are `other`.
#[derive(Default)]
struct ModelNames(Mutex<BTreeSet<Arc<str>>>);

impl ModelNames {
    const MAX: usize = 64;
    const MAX_BYTES: usize = 128;

    fn bounded(&self, name: &str) -> Arc<str> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = seen.get(name) {
            return Arc::clone(known);
        }
        let presentable = (1..=Self::MAX_BYTES).contains(&name.len()) && !name.contains(char::is_control);
        if !presentable || seen.len() >= Self::MAX {
            return Arc::from("other");
        }
        let new: Arc<str> = Arc::from(name);
        seen.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_are_kept_up_to_the_limit_and_then_become_other() {
        let models = ModelNames::default();
        for n in 0..ModelNames::MAX {
            assert_eq!(&*models.bounded(&format!("model-{n}")), format!("model-{n}"));
        }
        assert_eq!(&*models.bounded("one-too-many"), "other");
        assert_eq!(&*models.bounded("model-0"), "model-0");
    }

    #[test]
    fn a_model_name_that_is_no_name_becomes_other() {
        let models = ModelNames::default();
        for name in ["", "a\nb", "\u{0}", &"x".repeat(129)] {
            assert_eq!(&*models.bounded(name), "other", "{name:?}");
        }
        assert_eq!(&*models.bounded(&"x".repeat(128)), "x".repeat(128));
    }
}
