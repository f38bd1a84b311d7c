//! Rate limits in front of a route, and the fields that tell about them
//! (draft-ietf-httpapi-ratelimit-headers-11).

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{error::ApiError, state::AppState};
use crate::{
    domain::{
        rate::{RateClient, Scope, WINDOW},
        time::{Millis, retry_after_secs},
    },
    repository::{Budget, HitOutcome, PendingHit},
    telemetry::metrics::{RateOutcome, RateScope},
};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A request that got past the limit.
pub(super) struct Admitted {
    /// Its hit, to be written before it is answered.
    pub(super) hit: Option<PendingHit>,
    fields: Fields,
}

/// What a response tells about the limit.
pub(super) struct Fields(Option<(Scope, Budget)>);

/// Lets a request through or refuses it; `error` makes the refusal of the wait.
pub(super) fn admit(
    state: &AppState,
    scope: Scope,
    client: RateClient,
    now: Millis,
    error: fn(Duration) -> ApiError,
) -> Result<Admitted, Box<Response>> {
    let outcome = state.limits.hit(scope, client, now);
    let (result, counted) = match outcome {
        HitOutcome::Unlimited => (Ok(Admitted { hit: None, fields: Fields(None) }), RateOutcome::Admitted),
        HitOutcome::Admitted(hit, budget) => {
            (Ok(Admitted { hit: Some(hit), fields: Fields(Some((scope, budget))) }), RateOutcome::Admitted)
        }
        HitOutcome::Refused(budget) => (Err(budget), RateOutcome::Refused),
        HitOutcome::TableFull(budget) => (Err(budget), RateOutcome::TableFull),
    };
    state.metrics.admission.rate_limit(label_of(scope), counted);
    result.map_err(|budget| {
        let mut response = error(budget.reset).into_response();
        Fields(Some((scope, budget))).add_to(response.headers_mut());
        Box::new(response)
    })
}

/// A refused request is counted, on disk, before it is answered.
pub(super) async fn count(state: &AppState, hit: Option<PendingHit>) -> Result<(), ApiError> {
    match hit {
        Some(hit) => Ok(state.limits.count(hit).await?),
        None => Ok(()),
    }
}

impl Admitted {
    /// The hit, and the fields for the response.
    pub(super) fn into_parts(self) -> (Option<PendingHit>, Fields) {
        (self.hit, self.fields)
    }
}

impl Fields {
    /// Adds the fields to a response.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) {
        let Some((scope, budget)) = &self.0 else { return };
        let (name, window) = (scope.as_str(), WINDOW.as_secs());
        let policy = format!("\"{name}\";q={};w={window}", budget.limit);
        let left = format!("\"{name}\";r={};t={}", budget.left, retry_after_secs(budget.reset));
        for (field, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(field, value);
            }
        }
    }
}

fn label_of(scope: Scope) -> RateScope {
    match scope {
        Scope::Pair => RateScope::Pair,
        Scope::Webhook => RateScope::Webhook,
        Scope::Signature => RateScope::Signature,
    }
}
