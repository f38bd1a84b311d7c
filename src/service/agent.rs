//! Asking the model, with everything that is counted about it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use crate::{
    domain::message::{Answer, Completion, MessageText, Prompt},
    provider::{Provider, ProviderError, ProviderHealth},
    system::SteadyClock,
    telemetry::{
        Metrics,
        metrics::{Component, LevelGuard, ModelMetrics, TurnOutcome},
    },
};

/// The model, and what is counted about it.
pub struct Agent {
    provider: Arc<dyn Provider>,
    clock: Arc<SteadyClock>,
    metrics: Arc<Metrics>,
    model: ModelMetrics,
}

/// Work that has begun.
pub(super) struct Begun {
    /// The model's answer to come.
    pub(super) work: Pin<Box<dyn Future<Output = Result<Completion, ProviderError>> + Send>>,
    since: Duration,
    _level: LevelGuard,
}

impl Agent {
    /// An agent that asks `provider`.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>, clock: Arc<SteadyClock>, metrics: Arc<Metrics>) -> Self {
        let model = metrics.agent.model(provider.kind().label(), provider.model());
        Self { provider, clock, metrics, model }
    }

    /// How far the model can be asked now.
    #[must_use]
    pub fn health(&self) -> ProviderHealth {
        self.provider.health()
    }

    /// Begins work on a message. What comes of it is to be passed to [`ended`](Self::ended).
    pub(super) fn begin(&self, text: Arc<MessageText>) -> Begun {
        self.model.started();
        self.model.requested();
        let (provider, prompt) = (Arc::clone(&self.provider), Prompt::single(text));
        Begun {
            work: Box::pin(async move { provider.answer(&prompt).await }),
            since: self.clock.monotonic(),
            _level: self.metrics.turns.running(),
        }
    }

    /// Counts and logs what came of the work, and passes the answer on.
    pub(super) fn ended(
        &self,
        begun: &Begun,
        result: Result<Completion, ProviderError>,
    ) -> Result<Answer, ProviderError> {
        let took = self.clock.monotonic().saturating_sub(begun.since);
        self.model.finished(took);
        self.metrics.agent.latency(took);
        match &result {
            Ok(completion) => {
                self.metrics.turns.outcome(TurnOutcome::Answered);
                self.metrics.agent.used(completion.usage);
            }
            Err(error) => {
                tracing::warn!(%error, class = error.class(), "a turn failed");
                self.metrics.turns.outcome(TurnOutcome::Failed);
                self.metrics.agent.error(Component::Provider);
            }
        }
        result.map(|completion| completion.answer)
    }

    /// Answers a message.
    pub(super) async fn ask(&self, text: Arc<MessageText>) -> Result<Answer, ProviderError> {
        let mut begun = self.begin(text);
        let result = (&mut begun.work).await;
        self.ended(&begun, result)
    }
}
