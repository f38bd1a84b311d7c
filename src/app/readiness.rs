//! What a running gateway says of itself at `/ready`, asked from outside.

use std::time::Duration;

use serde::Deserialize;

use crate::outbound::{CallError, Client, SetupError};

/// What came of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// It takes requests.
    Ready,
    /// It answers, but should get no requests, for these reasons.
    NotReady(Vec<String>),
    /// Somebody answers who is no gateway of ours.
    Stranger,
    /// Nobody answers. The text says how.
    NoAnswer(String),
}

/// The body of `/ready`.
#[derive(Deserialize)]
struct Body {
    status: String,
    #[serde(default)]
    reasons: Vec<String>,
}

/// Asks the gateway at `base_url`, past every proxy.
///
/// # Errors
/// [`SetupError`] if there is no client to ask with.
pub async fn ask(base_url: &str, timeout: Duration) -> Result<Readiness, SetupError> {
    ask_with(&Client::direct(timeout)?, base_url).await
}

/// Asks the gateway at `base_url` as the world does, through the proxy that the environment names.
///
/// # Errors
/// As [`ask`].
pub async fn ask_far(base_url: &str, timeout: Duration) -> Result<Readiness, SetupError> {
    ask_with(&Client::new(timeout)?, base_url).await
}

async fn ask_with(client: &Client, base_url: &str) -> Result<Readiness, SetupError> {
    let url = format!("{}/ready", base_url.trim_end_matches('/'));
    let answered = async { client.get(&url).await?.body().await };
    Ok(match answered.await {
        Ok(body) => understand(&body),
        Err(CallError::TooLong) => Readiness::Stranger,
        Err(error) => Readiness::NoAnswer(error.to_string()),
    })
}

fn understand(body: &[u8]) -> Readiness {
    match serde_json::from_slice::<Body>(body) {
        Ok(body) if body.status == "ready" => Readiness::Ready,
        Ok(body) if body.status == "not ready" => Readiness::NotReady(body.reasons),
        _ => Readiness::Stranger,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_gateway_says_what_a_gateway_says() {
        assert_eq!(understand(br#"{"status":"ready"}"#), Readiness::Ready);
        let reasons = Readiness::NotReady(vec!["storage".into()]);
        assert_eq!(understand(br#"{"status":"not ready","reasons":["storage"]}"#), reasons);
        for body in [&b"<html>"[..], b"{}", br#"{"status":"ok"}"#, b""] {
            assert_eq!(understand(body), Readiness::Stranger);
        }
    }
}
