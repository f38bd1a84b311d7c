//! One address of a vendor's API: a question in JSON goes there, an answer in JSON comes back, and a refusal is told for
//! what it is. Of a refusal's body nothing is kept but which of a few documented codes and sentences it has.

use http::HeaderMap;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::ProviderError;
use crate::outbound::{Client, Response};

/// Where to post, and with which headers.
pub(super) struct Endpoint {
    pub(super) client: Client,
    pub(super) url: String,
    pub(super) headers: HeaderMap,
}

impl Endpoint {
    /// Posts a question; `expected` says in words what the answer should have been.
    pub(super) async fn ask<A: DeserializeOwned>(
        &self,
        question: &(impl Serialize + Sync),
        expected: &'static str,
    ) -> Result<A, ProviderError> {
        let response = self.client.post_json(&self.url, self.headers.clone(), question).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        serde_json::from_slice(&response.body().await?).map_err(|_| ProviderError::BadResponse(expected))
    }
}

/// What a response that is no success means.
async fn refusal(response: Response) -> ProviderError {
    let code = response.status().as_u16();
    let retry_after = matches!(code, 429 | 503 | 529).then(|| response.retry_after()).flatten();
    let status = ProviderError::Status { code, retry_after };
    if !matches!(code, 400 | 413) {
        return status;
    }
    // A body that cannot be read changes nothing about the status.
    let body = response.body().await.ok().and_then(|body| serde_json::from_slice(&body).ok());
    body.as_ref().and_then(documented).unwrap_or(status)
}

/// Codes that mean a prompt longer than the model takes: `OpenAI`, llama.cpp's server, Anthropic.
const TOO_LONG_CODES: [&str; 3] =
    ["context_length_exceeded", "exceed_context_size_error", "request_too_large"];

/// What the message says in that case where no code does: Anthropic, vLLM, Ollama.
const TOO_LONG_SENTENCES: [&str; 4] =
    ["prompt is too long", "exceed context limit", "maximum context length", "exceeds the context length"];

/// Codes that mean a prompt that the vendor will not answer: `OpenAI`, and `OpenAI` on Azure.
const POLICY_CODES: [&str; 2] = ["content_policy_violation", "content_filter"];

/// Reads `{"error":{"code","type","message"}}`, Ollama's `{"error":"message"}` and vLLM's bare `{"type","message"}`.
fn documented(body: &Value) -> Option<ProviderError> {
    let error = body.get("error").unwrap_or(body);
    let has_code = |codes: &[&str]| {
        ["code", "type"].iter().filter_map(|key| error.get(key)?.as_str()).any(|code| codes.contains(&code))
    };
    let message = error.as_str().or_else(|| error.get("message")?.as_str()).unwrap_or_default();
    if has_code(&POLICY_CODES) {
        Some(ProviderError::RefusedByPolicy)
    } else if has_code(&TOO_LONG_CODES) || TOO_LONG_SENTENCES.iter().any(|text| message.contains(text)) {
        Some(ProviderError::ContextTooLong)
    } else {
        None
    }
}
