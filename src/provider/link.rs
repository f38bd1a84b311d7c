//! One provider of a chain: how many calls of it run and wait, whether it is called at all, and what came of it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};

use super::{Provider, ProviderError};
use crate::{
    domain::{
        breaker::{Breaker, Pass, Shown, Verdict},
        message::{Account, Answer, Completion, Prompt},
    },
    system::SteadyClock,
    telemetry::{
        Metrics,
        metrics::{AttemptMetrics, LevelGuard, NotCalled},
        trace::{self, Span},
    },
};

/// A provider that is called within limits.
pub(super) struct LimitedProvider {
    pub(super) provider: Arc<dyn Provider>,
    pub(super) limits: Limits,
    slots: Slots,
    guarded: Mutex<Guarded>,
    clock: Arc<SteadyClock>,
    metrics: Arc<Metrics>,
    attempts: AttemptMetrics,
}

/// The time that a provider has of all that there is for an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// When the clock was last looked at: to be set anew by whoever has waited.
    pub(super) now: Duration,
    /// The moment at which it must be done.
    pub(super) until: Duration,
}

impl Share {
    /// What the first of so many providers has of the time from `now` to `deadline`.
    pub(super) fn of(now: Duration, deadline: Duration, providers: usize) -> Self {
        let providers = u32::try_from(providers).unwrap_or(u32::MAX);
        Self { now, until: now + deadline.saturating_sub(now) / providers }
    }

    pub(super) fn left(self) -> Duration {
        self.until.saturating_sub(self.now)
    }
}

/// How much is asked of one provider.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The time for one call.
    pub(super) timeout: Duration,
    /// The time that a call has where the whole chain is slow. A time-out after less than half of it says nothing of the
    /// provider.
    pub(super) fair: Duration,
    /// Calls that run at once.
    pub(super) in_flight: usize,
    /// Calls that wait for one of them to end.
    pub(super) queued: usize,
}

/// The breaker, and its sign in the metrics while it is not closed.
#[derive(Default)]
struct Guarded {
    breaker: Breaker,
    sign: Option<LevelGuard>,
}

impl LimitedProvider {
    pub(super) fn new(
        provider: Arc<dyn Provider>,
        limits: Limits,
        clock: Arc<SteadyClock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let slots = Slots::new(limits.in_flight, limits.queued);
        let attempts = metrics.agent.attempts(provider.kind().label());
        Self { provider, limits, slots, guarded: Mutex::default(), clock, metrics, attempts }
    }

    /// What its breaker shows.
    pub(super) fn shown(&self) -> Shown {
        self.guarded().breaker.shown(self.clock.monotonic())
    }

    /// Calls the provider once, as soon as there is room for the call, and not beyond its share of the time. A call that is made is
    /// put on the account, and so are the tokens of its answer.
    pub(super) async fn call(
        &self,
        prompt: &Prompt,
        mut share: Share,
        account: &mut Account,
    ) -> Result<Answer, ProviderError> {
        let _slot = match self.slots.try_enter() {
            Some(slot) => slot,
            None => self.wait_for_slot(&mut share).await?,
        };
        let attempt = self.enter(share.now).map_err(|wait| self.suspended(wait))?;
        let _running = self.metrics.agent.running();
        account.provider = Some(self.provider.kind().label().as_str());
        account.calls += 1;
        let given = self.limits.timeout.min(share.left());
        let mut span = trace::chat(self.provider.kind().label(), self.provider.model());
        let answer = span.around(within(given, self.provider.answer(prompt))).await;
        let result = answer.unwrap_or(Err(ProviderError::TimedOut(given)));
        attempt.ended(&result, given);
        note(&mut span, &result);
        drop(span);
        let completion = result?;
        account.usage = completion.usage;
        Ok(completion.answer)
    }

    /// Waits for room, which takes of the share. What must not be called is not waited for either.
    async fn wait_for_slot(&self, share: &mut Share) -> Result<Slot<'_>, ProviderError> {
        self.guarded().breaker.check(share.now).map_err(|wait| self.suspended(wait))?;
        let waiting = self.metrics.agent.waiting();
        let left = share.left();
        let slot = timeout(left, self.slots.enter()).await.map_err(|_| ProviderError::TimedOut(left))?;
        drop(waiting);
        share.now = self.clock.monotonic();
        slot.ok_or_else(|| {
            self.metrics.agent.not_called(NotCalled::QueueFull);
            ProviderError::QueueFull
        })
    }

    fn suspended(&self, wait: Duration) -> ProviderError {
        self.metrics.agent.not_called(NotCalled::Suspended);
        ProviderError::Suspended(wait)
    }

    fn enter(&self, now: Duration) -> Result<Attempt<'_>, Duration> {
        let pass = self.guarded().breaker.enter(now)?;
        Ok(Attempt { link: self, pass, verdict: Verdict::Unknown })
    }

    fn settle(&self, pass: Pass, verdict: Verdict) {
        let now = self.clock.monotonic();
        let mut guarded = self.guarded();
        guarded.breaker.ended(pass, verdict, now);
        let is_closed = guarded.breaker.shown(now) == Shown::Closed;
        if is_closed == guarded.sign.is_none() {
            return;
        }
        guarded.sign = (!is_closed).then(|| self.metrics.agent.suspended());
        drop(guarded);
        let (kind, model) = (self.provider.kind().label().as_str(), self.provider.model());
        if is_closed {
            tracing::info!(kind, model, "the provider answers again");
        } else {
            tracing::warn!(kind, model, "the provider failed time after time, and is suspended");
        }
    }

    /// Nothing under the lock can panic half-way.
    fn guarded(&self) -> MutexGuard<'_, Guarded> {
        self.guarded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that was let through. Dropped before it has ended, it makes room for another probe.
struct Attempt<'a> {
    link: &'a LimitedProvider,
    pass: Pass,
    verdict: Verdict,
}

impl Attempt<'_> {
    fn ended(mut self, result: &Result<Completion, ProviderError>, given: Duration) {
        match result {
            Ok(_) => self.link.attempts.answered(),
            Err(error) => self.link.attempts.failed(error.class()),
        }
        let is_cut_short =
            matches!(result, Err(ProviderError::TimedOut(_))) && given < self.link.limits.fair / 2;
        self.verdict = if is_cut_short { Verdict::Unknown } else { verdict(result) };
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.link.settle(self.pass, self.verdict);
    }
}

/// What comes of work within this time. What is there at once needs neither a clock nor a timer.
async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = async { sleep(time).await } => None,
    }
}

/// Notes what came of a call.
fn note(span: &mut Span, result: &Result<Completion, ProviderError>) {
    match result {
        Ok(completion) => {
            span.set("gen_ai.usage.input_tokens", completion.usage.prompt_tokens.unwrap_or(0));
            span.set("gen_ai.usage.output_tokens", completion.usage.completion_tokens.unwrap_or(0));
        }
        Err(error) => span.fail(error.class()),
    }
}

/// A refusal that is about the message, that asks for patience, or an answer that says nothing or too much, comes from a provider that works:
/// nobody is to shut it for others by what he asks of it. But a time-out counts, whatever was asked.
fn verdict(result: &Result<Completion, ProviderError>) -> Verdict {
    match result {
        Err(
            ProviderError::Unreachable(_)
            | ProviderError::TimedOut(_)
            | ProviderError::BadResponse(_)
            | ProviderError::Status { code: 401 | 408 | 500.., .. },
        ) => Verdict::Failed,
        Err(ProviderError::QueueFull | ProviderError::Suspended(_)) => Verdict::Unknown,
        Ok(_)
        | Err(
            ProviderError::ContextTooLong
            | ProviderError::RefusedByPolicy
            | ProviderError::NoText
            | ProviderError::TooLong
            | ProviderError::Status { .. },
        ) => Verdict::Works,
    }
}

/// Room for calls: some run, some wait in order, and beyond that there is none.
struct Slots {
    places: Semaphore,
    running: Semaphore,
}

/// A call's place among those that run. Dropped, it lets the next one run.
struct Slot<'a> {
    _running: SemaphorePermit<'a>,
    _place: SemaphorePermit<'a>,
}

impl Slots {
    fn new(in_flight: usize, queued: usize) -> Self {
        Self { places: Semaphore::new(in_flight + queued), running: Semaphore::new(in_flight) }
    }

    /// A place among those that run, if there is one.
    fn try_enter(&self) -> Option<Slot<'_>> {
        let place = self.places.try_acquire().ok()?;
        let running = self.running.try_acquire().ok()?;
        Some(Slot { _running: running, _place: place })
    }

    /// Waits for its turn; `None` if there is no room even to wait.
    async fn enter(&self) -> Option<Slot<'_>> {
        let place = self.places.try_acquire().ok()?;
        let running = self.running.acquire().await.ok()?;
        Some(Slot { _running: running, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::poll_fn, pin::pin, task::Poll};

    use futures_util::future::poll_immediate;

    use super::*;

    /// What is not there at the first look goes on apart from its caller, who asks once (`TurnService::work`).
    #[tokio::test(start_paused = true)]
    async fn work_is_looked_at_once_in_a_turn_until_its_time_is_over() {
        let looks = Cell::new(0);
        let work = poll_fn(|_| {
            looks.set(looks.get() + 1);
            Poll::<()>::Pending
        });
        let mut work = pin!(within(Duration::from_secs(1), work));
        assert_eq!((poll_immediate(&mut work).await, looks.get()), (None, 1));
        assert_eq!(work.await, None);
    }
}
