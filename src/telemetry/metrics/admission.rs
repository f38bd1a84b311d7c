//! Metrics of what happens to a request before any work: pairing, rate limits, idempotency.

use opentelemetry::KeyValue;

use super::instrument::{Meter, TotalBy, counter};
use super::label::{Label, labels};

labels! {
    /// What became of a pairing attempt.
    PairingOutcome {
        /// A token was issued.
        Paired => "paired",
        /// The code was wrong, missing, spent or expired.
        Refused => "refused",
        /// The client is locked out.
        LockedOut => "locked_out",
        /// The client is over the pairing rate limit.
        RateLimited => "rate_limited",
    }
}

labels! {
    /// Which rate limit decided.
    RateScope {
        /// The limit on `POST /pair`.
        Pair => "pair",
        /// The limit on `POST /webhook`.
        Webhook => "webhook",
        /// The limit on calls of platforms with a bad signature.
        Signature => "signature",
    }
}

labels! {
    /// What a rate limit decided.
    RateOutcome {
        /// Within the limit.
        Admitted => "admitted",
        /// Over the limit.
        Refused => "refused",
        /// Refused because as many clients are tracked as may be.
        TableFull => "table_full",
    }
}

labels! {
    /// What an idempotency key led to.
    IdempotencyOutcome {
        /// The request had no key.
        None => "none",
        /// The key was new: the work starts.
        Claimed => "claimed",
        /// The key was answered already: the answer was sent again.
        Replayed => "replayed",
        /// The work for the key still runs.
        Running => "running",
        /// The key was used with another body.
        Mismatch => "mismatch",
    }
}

/// Pairing attempts, rate limit decisions and idempotency outcomes.
pub struct AdmissionMetrics {
    pairings: TotalBy<PairingOutcome>,
    rate_limits: Box<[TotalBy<RateOutcome>]>,
    idempotency: TotalBy<IdempotencyOutcome>,
}

impl AdmissionMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        let help = "Pairing attempts, by outcome";
        let pairings = counter(meter, "pairing_attempts_total", help);
        let help = "Rate limit decisions, by limit and outcome";
        let rate_limits = counter(meter, "rate_limit_decisions_total", help);
        let help = "Webhook requests that reached the idempotency check, by what their key led to";
        let idempotency = counter(meter, "idempotency_outcomes_total", help);
        let by_scope = |scope: &RateScope| {
            TotalBy::new(&rate_limits, "outcome", &[KeyValue::new("scope", scope.as_str())])
        };
        Self {
            pairings: TotalBy::new(&pairings, "outcome", &[]),
            rate_limits: RateScope::ALL.iter().map(by_scope).collect(),
            idempotency: TotalBy::new(&idempotency, "outcome", &[]),
        }
    }

    /// Counts a pairing attempt.
    pub fn pairing(&self, outcome: PairingOutcome) {
        self.pairings.increment(outcome);
    }

    /// Counts a decision of a rate limit.
    pub fn rate_limit(&self, scope: RateScope, outcome: RateOutcome) {
        self.rate_limits[scope.index()].increment(outcome);
    }

    /// Counts what an idempotency key, or its absence, led to.
    pub fn idempotency(&self, outcome: IdempotencyOutcome) {
        self.idempotency.increment(outcome);
    }
}
