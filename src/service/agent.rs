//! Asking the model, with everything that is told to it and counted about it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use super::session::{Place, Sessions};
use crate::{
    domain::{
        bound::cut,
        conversation::{Conversation, HistoryLimit, Session},
        health::State,
        message::{Account, Answer, MessageText, Prompt},
    },
    provider::{Chain, ProviderError},
    repository::{ConversationRepository, StoreError},
    telemetry::{
        Metrics,
        metrics::{Component, LevelGuard, ModelMetrics, TurnOutcome},
        trace,
    },
};

/// What an agent is made of.
pub struct AgentParts {
    /// The models.
    pub chain: Chain,
    /// What was said before.
    pub conversations: Arc<dyn ConversationRepository>,
    /// How much of it the model is told.
    pub history: HistoryLimit,
    /// Turns of one session that may wait for their turn.
    pub max_waiting: usize,
    /// The longest answer, in characters: a longer one is cut.
    pub max_reply_chars: usize,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}

/// The model, what it is told, and what is counted about it.
pub struct Agent {
    parts: AgentParts,
    model: ModelMetrics,
    sessions: Arc<Sessions>,
}

/// An answer to come.
pub(super) type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// What came of asking.
pub(super) struct Ended {
    pub(super) result: Result<Answer, AskError>,
    pub(super) account: Account,
    /// To be kept until the end is on disk: then the next turn of the session begins.
    pub(super) held: Held,
}

/// What a turn holds while it is at work.
pub(super) struct Held {
    _place: Option<Place>,
    _level: LevelGuard,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    /// The provider had none.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The conversation could not be read.
    #[error("the conversation cannot be read: {0}")]
    History(#[from] StoreError),
}

impl AskError {
    /// One word for the database.
    pub(super) const fn class(&self) -> &'static str {
        match self {
            Self::Provider(error) => error.class(),
            Self::History(_) => "storage",
        }
    }

    /// Whether the same question may be answered later.
    pub(super) const fn is_transient(&self) -> bool {
        match self {
            Self::Provider(error) => error.is_transient(),
            Self::History(_) => true,
        }
    }

    /// The pause that the provider asks for, or needs.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Provider(error) => error.retry_after(),
            Self::History(_) => None,
        }
    }
}

impl Agent {
    /// An agent that nobody has asked yet.
    #[must_use]
    pub fn new(parts: AgentParts) -> Arc<Self> {
        let model = parts.metrics.agent.model(parts.chain.kind().label(), parts.chain.model());
        Arc::new(Self { parts, model, sessions: Arc::default() })
    }

    /// How far the model can be asked now.
    #[must_use]
    pub fn health(&self) -> State {
        self.parts.chain.health()
    }

    /// A place in a session; `None` if as many turns of it wait as may. Who was `accepted` before gets one in any case.
    pub(super) fn enter(&self, session: Session, accepted: bool) -> Option<Place> {
        let most = if accepted { usize::MAX } else { self.parts.max_waiting };
        self.sessions.enter(session, most)
    }

    /// An answer to a message of a conversation, or of none. With a place in a session it waits for its turn.
    pub(super) fn ask(
        self: &Arc<Self>,
        text: Arc<MessageText>,
        conversation: Option<Conversation>,
        mut place: Option<Place>,
    ) -> Work {
        let agent = Arc::clone(self);
        Box::pin(async move {
            if let Some(place) = &mut place {
                place.turn().await;
            }
            let level = agent.parts.metrics.turns.running();
            let mut span = trace::turn();
            let (result, account) = span.around(agent.answer(text, conversation)).await;
            agent.count(&result, &account);
            span.set("moorgate.calls", u64::from(account.calls));
            if let Err(error) = &result {
                span.fail(error.class());
            }
            drop(span);
            Ended { result, account, held: Held { _place: place, _level: level } }
        })
    }

    async fn answer(
        &self,
        message: Arc<MessageText>,
        conversation: Option<Conversation>,
    ) -> (Result<Answer, AskError>, Account) {
        let history = match conversation {
            None => Vec::new(),
            Some(it) => match self.parts.conversations.history(&it, self.parts.history).await {
                Ok(history) => history,
                Err(error) => return (Err(error.into()), Account::default()),
            },
        };
        self.model.started();
        self.model.requested();
        let (result, account) = self.ask_chain(Prompt { history, message }).await;
        self.model.finished(account.took);
        self.parts.metrics.agent.latency(account.took);
        (result.map(|answer| self.within_bounds(answer)).map_err(AskError::from), account)
    }

    /// Asks the models. A conversation that is too long for them is told again without its older half, and so on: it would be too
    /// long for ever otherwise.
    async fn ask_chain(&self, mut prompt: Prompt) -> (Result<Answer, ProviderError>, Account) {
        let mut total = Account::default();
        loop {
            let (result, account) = self.parts.chain.answer(&prompt).await;
            total.add(account);
            if result != Err(ProviderError::ContextTooLong) || prompt.history.is_empty() {
                return (result, total);
            }
            self.parts.metrics.agent.shortened();
            prompt.history.drain(..prompt.history.len().div_ceil(2));
        }
    }

    fn within_bounds(&self, answer: Answer) -> Answer {
        match cut(&answer.text, self.parts.max_reply_chars) {
            None => answer,
            Some(text) => {
                self.parts.metrics.turns.cut();
                Answer { text: text.into(), ..answer }
            }
        }
    }

    fn count(&self, result: &Result<Answer, AskError>, account: &Account) {
        let metrics = &self.parts.metrics;
        match result {
            Ok(_) => {
                metrics.turns.outcome(TurnOutcome::Answered);
                metrics.agent.used(account.usage);
            }
            Err(error) => {
                tracing::warn!(%error, class = error.class(), "a turn failed");
                metrics.turns.outcome(TurnOutcome::Failed);
                metrics.agent.error(match error {
                    AskError::Provider(_) => Component::Provider,
                    AskError::History(_) => Component::Storage,
                });
            }
        }
    }
}
