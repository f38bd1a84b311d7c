//! Metrics of the work on an answer: the agent, the language model behind it, and what went wrong.
//!
//! Names, help texts and labels are those of the gateway that existing dashboards were made for.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Histogram};

use super::instrument::{HistogramSpec, Level, LevelGuard, Meter, Total, TotalBy, counter};
use super::label::labels;
use crate::domain::message::Usage;

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

labels! {
    /// Which side of a model used tokens.
    TokenKind {
        /// What it was told.
        Prompt => "prompt",
        /// What it said.
        Completion => "completion",
    }
}

labels! {
    /// Why a provider was not called.
    NotCalled {
        /// As many calls of it run and wait as may.
        QueueFull => "queue_full",
        /// It failed time after time, and is suspended.
        Suspended => "suspended",
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

/// Calls to language models, latency and errors.
pub struct AgentMetrics {
    requests: Counter<u64>,
    starts: Counter<u64>,
    durations: Histogram<f64>,
    latencies: Histogram<f64>,
    errors: TotalBy<Component>,
    attempts: Counter<u64>,
    not_called: TotalBy<NotCalled>,
    running: Level,
    waiting: Level,
    shortened: Total,
    suspended: Level,
    tokens: TotalBy<TokenKind>,
    tokens_last: Level,
}

impl AgentMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let errors = counter(meter, "errors_total", "Total errors by component");
        let tokens = counter(meter, "tokens_used_total", "Tokens used, as far as the provider tells");
        Self {
            requests: counter(meter, "llm_requests_total", "Requests sent to a language model"),
            starts: counter(meter, "agent_starts_total", "Total agent invocations"),
            durations: DURATION.seconds(meter),
            latencies: LATENCY.seconds(meter),
            errors: TotalBy::new(&errors, "component", &[]),
            attempts: counter(
                meter,
                "llm_attempts_total",
                "Calls of a provider, retries and fallbacks included",
            ),
            not_called: TotalBy::new(
                &counter(
                    meter,
                    "llm_calls_refused_total",
                    "Calls of a provider that were not made, by reason",
                ),
                "reason",
                &[],
            ),
            running: Level::gauge(meter, "llm_calls_running", "Calls of providers that run now"),
            waiting: Level::gauge(meter, "llm_calls_waiting", "Calls of providers that wait for room"),
            shortened: Total::new(
                meter,
                "conversations_shortened_total",
                "Times that a conversation was too long for the model and was told again without its older half",
            ),
            suspended: Level::gauge(
                meter,
                "providers_suspended",
                "Providers that are not called because they failed time after time",
            ),
            tokens: TotalBy::new(&tokens, "kind", &[]),
            tokens_last: Level::gauge(meter, "tokens_used_last", "Tokens used in the last request"),
        }
    }

    /// The instruments of one configured model, its counters shown at zero from now on. Never call this with a name that
    /// came from outside: each is a series for ever.
    #[must_use]
    pub fn model(&self, provider: ProviderLabel, model: &str) -> ModelMetrics {
        let labels = [KeyValue::new("model", model.to_owned()), KeyValue::new("provider", provider.as_str())];
        let (requests, starts) = (self.requests.bind(&labels), self.starts.bind(&labels));
        requests.add(0);
        starts.add(0);
        ModelMetrics { requests, starts, durations: self.durations.bind(&labels) }
    }

    /// Records how long a message waited for its answer, whatever came of it.
    pub fn latency(&self, elapsed: Duration) {
        self.latencies.record(elapsed.as_secs_f64(), &[]);
    }

    /// The calls of one kind of provider.
    #[must_use]
    pub fn attempts(&self, provider: ProviderLabel) -> AttemptMetrics {
        let answered = self.attempts.bind(&AttemptMetrics::labels(provider, "answered"));
        AttemptMetrics { provider, all: self.attempts.clone(), answered }
    }

    /// Counts a call that was not made.
    pub fn not_called(&self, why: NotCalled) {
        self.not_called.increment(why);
    }

    /// Counts a call as running until the guard is dropped.
    pub fn running(&self) -> LevelGuard {
        self.running.hold()
    }

    /// Counts a call as waiting until the guard is dropped.
    pub fn waiting(&self) -> LevelGuard {
        self.waiting.hold()
    }

    /// Counts a conversation that was told again without its older half.
    pub fn shortened(&self) {
        self.shortened.increment();
    }

    /// Counts a provider as suspended until the guard is dropped.
    pub fn suspended(&self) -> LevelGuard {
        self.suspended.hold()
    }

    /// Counts the tokens of an answer. A provider that tells of none leaves the numbers as they are.
    pub fn used(&self, usage: Usage) {
        let [prompt, completion] = [usage.prompt_tokens, usage.completion_tokens];
        if prompt.or(completion).is_none() {
            return;
        }
        let [prompt, completion] = [prompt, completion].map(Option::unwrap_or_default);
        self.tokens.add(TokenKind::Prompt, prompt);
        self.tokens.add(TokenKind::Completion, completion);
        self.tokens_last.set(prompt.saturating_add(completion));
    }

    /// Counts an error.
    pub fn error(&self, component: Component) {
        self.errors.increment(component);
    }
}

/// The instruments of one model.
pub struct ModelMetrics {
    requests: BoundCounter<u64>,
    starts: BoundCounter<u64>,
    durations: BoundHistogram<f64>,
}

impl ModelMetrics {
    /// Counts one request to the model.
    pub fn requested(&self) {
        self.requests.add(1);
    }

    /// Counts the start of an agent run.
    pub fn started(&self) {
        self.starts.add(1);
    }

    /// Records how long an agent run took, whatever came of it.
    pub fn finished(&self, elapsed: Duration) {
        self.durations.record(elapsed.as_secs_f64());
    }
}

/// The calls of one kind of provider, by what came of them.
pub struct AttemptMetrics {
    provider: ProviderLabel,
    all: Counter<u64>,
    answered: BoundCounter<u64>,
}

impl AttemptMetrics {
    fn labels(provider: ProviderLabel, outcome: &'static str) -> [KeyValue; 2] {
        [KeyValue::new("provider", provider.as_str()), KeyValue::new("outcome", outcome)]
    }

    /// Counts one that brought an answer.
    pub fn answered(&self) {
        self.answered.add(1);
    }

    /// Counts one that did not. `class` is one of the few words that a provider's errors are classed by.
    pub fn failed(&self, class: &'static str) {
        self.all.add(1, &Self::labels(self.provider, class));
    }
}
