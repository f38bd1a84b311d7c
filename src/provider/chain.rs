//! One dependable provider made of several: the first is asked, again where that is safe, and then each of the others in
//! order, all within one deadline.
//!
//! A provider with others behind it gets an equal share of the time that is left, so that one that hangs leaves time for
//! them; what it does not use is theirs. One that fails time after time is left out for a while
//! ([`Breaker`](crate::domain::breaker::Breaker)), and no more calls than the limit allows run or wait for any of them.

use std::{sync::Arc, time::Duration};

use super::{
    Kind, Provider, ProviderError,
    link::{LimitedProvider, Limits, Share},
};
use crate::{
    domain::{
        breaker::Shown,
        delivery::Backoff,
        health::State,
        message::{Account, Answer, Prompt},
    },
    system::{Entropy, SteadyClock, random_number},
    telemetry::Metrics,
};

/// The pauses before the same provider is asked again.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(8) };

/// How a chain asks its providers.
#[derive(Debug, Clone, Copy)]
pub struct ChainSettings {
    /// The time for an answer, whoever gives it.
    pub timeout: Duration,
    /// How often one provider is asked again.
    pub max_retries: u32,
    /// Calls of one provider that run at once; at least 1.
    pub max_in_flight: usize,
    /// Calls that wait for one provider.
    pub max_queued: usize,
}

/// What a chain works with.
#[derive(Clone)]
pub struct ChainParts {
    /// For the deadline and the breakers.
    pub clock: Arc<SteadyClock>,
    /// For the pauses between tries.
    pub entropy: Arc<dyn Entropy>,
    /// Where calls are counted.
    pub metrics: Arc<Metrics>,
}

/// A provider of a chain.
pub struct Link {
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// The time for one call of it.
    pub timeout: Duration,
}

/// Several providers as one.
pub struct Chain {
    first: LimitedProvider,
    fallbacks: Vec<LimitedProvider>,
    settings: ChainSettings,
    parts: ChainParts,
}

impl Chain {
    /// A chain that asks `first`, and then `fallbacks` in their order.
    #[must_use]
    pub fn new(first: Link, fallbacks: Vec<Link>, settings: ChainSettings, parts: ChainParts) -> Self {
        let share = Share::of(Duration::ZERO, settings.timeout, fallbacks.len() + 1).left();
        let limited = |link: Link| {
            let limits = Limits {
                timeout: link.timeout,
                fair: link.timeout.min(share),
                in_flight: settings.max_in_flight,
                queued: settings.max_queued,
            };
            LimitedProvider::new(link.provider, limits, parts.clock.clone(), parts.metrics.clone())
        };
        let (first, fallbacks) = (limited(first), fallbacks.into_iter().map(limited).collect());
        Self { first, fallbacks, settings, parts }
    }

    /// The kind of the first provider.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.first.provider.kind()
    }

    /// The model that the first provider asks; the one that answers may be another.
    #[must_use]
    pub fn model(&self) -> &str {
        self.first.provider.model()
    }

    /// How far it can be asked now, by what came of the last calls: degraded if a part of it failed time after time, in error
    /// if all of it did.
    #[must_use]
    pub fn health(&self) -> State {
        let is_every = |shown| self.providers().all(|provider| provider.shown() == shown);
        if is_every(Shown::Closed) {
            State::Ok
        } else if is_every(Shown::Open) {
            State::Error
        } else {
            State::Degraded
        }
    }

    /// Answers one message within the deadline, and says what that took.
    pub async fn answer(&self, prompt: &Prompt) -> (Result<Answer, ProviderError>, Account) {
        let mut account = Account::default();
        let began = self.now();
        let result = self.ask_all(prompt, began, &mut account).await;
        account.took = self.now().saturating_sub(began);
        (result, account)
    }

    /// Asks one after the other until one answers.
    async fn ask_all(
        &self,
        prompt: &Prompt,
        began: Duration,
        account: &mut Account,
    ) -> Result<Answer, ProviderError> {
        let deadline = began + self.settings.timeout;
        let mut left = self.fallbacks.len();
        let mut result = self.ask(&self.first, prompt, Share::of(began, deadline, left + 1), account).await;
        for fallback in &self.fallbacks {
            let error = match result {
                Err(error) if error != ProviderError::RefusedByPolicy => error,
                settled => return settled,
            };
            let (kind, class) = (fallback.provider.kind().label().as_str(), error.class());
            tracing::debug!(kind, class, "no answer: a fallback is asked");
            let later = self.ask(fallback, prompt, Share::of(self.now(), deadline, left), account).await;
            result = later.map_err(|later| more_hopeful(error, later));
            left -= 1;
        }
        result
    }

    /// Asks one provider until it answers, it makes no sense to ask it again, or the end of its share is too near.
    async fn ask(
        &self,
        provider: &LimitedProvider,
        prompt: &Prompt,
        mut share: Share,
        account: &mut Account,
    ) -> Result<Answer, ProviderError> {
        let mut retry = 0;
        loop {
            let error = match provider.call(prompt, share, account).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            retry += 1;
            let pause = BACKOFF.pause(retry, error.retry_after(), random_number(&*self.parts.entropy));
            let is_time_left = self.now().saturating_add(pause) < share.until;
            if retry > self.settings.max_retries || !is_safe_to_repeat(&error) || !is_time_left {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            share.now = self.now();
        }
    }

    fn now(&self) -> Duration {
        self.parts.clock.monotonic()
    }

    fn providers(&self) -> impl Iterator<Item = &LimitedProvider> {
        std::iter::once(&self.first).chain(&self.fallbacks)
    }
}

/// Whether the same provider may be asked the same again: it gave no answer, or asks to come again.
const fn is_safe_to_repeat(error: &ProviderError) -> bool {
    matches!(
        error,
        ProviderError::Unreachable(_)
            | ProviderError::TimedOut(_)
            | ProviderError::Status { code: 408 | 429 | 500.., .. }
    )
}

/// Of two failures the one after which a later try makes sense; if there is no difference, the first.
fn more_hopeful(first: ProviderError, later: ProviderError) -> ProviderError {
    let is_later_better =
        later == ProviderError::RefusedByPolicy || (later.is_transient() && !first.is_transient());
    if is_later_better { later } else { first }
}
