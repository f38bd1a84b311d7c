use serde_json::json;

use super::*;

const MESSAGE: &str = r#"{
    "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
    "content": [
        {"type": "thinking", "thinking": "They greet me.", "signature": "x"},
        {"type": "redacted_thinking", "data": "EmwKAhgB"},
        {"type": "text", "text": "Hi! "},
        {"type": "tool_use", "id": "t", "name": "n", "input": {}},
        {"type": "text", "text": "My name is Claude.", "citations": null}
    ],
    "stop_reason": "end_turn", "stop_sequence": null,
    "usage": {
        "input_tokens": 2095, "output_tokens": 503, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "service_tier": "standard"
    }
}"#;

fn error(r#type: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": r#type, "message": message}, "request_id": "req_011"})
        .to_string()
}

#[tokio::test]
async fn the_text_blocks_of_an_answer_are_joined() {
    let (outcome, call) = ask_with(Anthropic::new, with_history, Reaction::status(200, MESSAGE)).await;
    assert_eq!(outcome, Ok(completion("Hi! My name is Claude.", "claude-sonnet-4-5-20250929", 2095, 503)));
    let sent = ["x-api-key", "anthropic-version", "authorization"].map(|name| call.header(name));
    assert_eq!((call.path.as_str(), sent), ("/v1/messages", ["key-1", "2023-06-01", ""]));
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let messages = [
        said("user", "one"),
        said("assistant", "two"),
        said("user", "three"),
        said("assistant", "four"),
        said("user", "hello"),
    ];
    let asked = json!({
        "model": "model-1", "max_tokens": 4096, "system": "be brief", "messages": messages, "temperature": 0.5
    });
    assert_eq!(body_of(&call), asked);
}

#[tokio::test]
async fn what_is_not_set_is_not_sent_but_for_the_tokens() {
    let change = |settings: &mut ModelSettings, prompt: &mut Prompt| {
        without_extras(settings, prompt);
        settings.max_tokens = Some(5);
    };
    let (_, call) = ask_with(Anthropic::new, change, Reaction::status(200, MESSAGE)).await;
    assert!(!call.headers.contains_key("x-api-key"));
    let messages = json!([{"role": "user", "content": "hello"}]);
    let asked = json!({"model": "model-1", "max_tokens": 5, "messages": messages, "temperature": 0.5});
    assert_eq!(body_of(&call), asked);
}

#[tokio::test]
async fn an_end_for_another_reason_is_told() {
    let ended = |reason: &str, content: Value| json!({"content": content, "stop_reason": reason}).to_string();
    let text = json!([{"type": "text", "text": "Once"}]);
    let tool = json!([{"type": "tool_use", "id": "toolu_1", "name": "n", "input": {"text": "x"}}]);
    let thoughts = json!([{"type": "thinking", "thinking": "They greet", "signature": ""}]);
    for (reason, content, error) in [
        ("refusal", text.clone(), ProviderError::RefusedByPolicy),
        ("refusal", json!([]), ProviderError::RefusedByPolicy),
        ("model_context_window_exceeded", json!([]), ProviderError::ContextTooLong),
        ("tool_use", tool, ProviderError::NoText),
        ("max_tokens", thoughts, ProviderError::NoText),
        ("end_turn", json!([]), ProviderError::NoText),
    ] {
        assert_eq!(ask(Anthropic::new, 200, &ended(reason, content)).await, Err(error), "{reason}");
    }
    for reason in ["max_tokens", "stop_sequence", "pause_turn", "model_context_window_exceeded"] {
        let completion = ask(Anthropic::new, 200, &ended(reason, text.clone())).await.unwrap();
        assert_eq!((&*completion.answer.text, completion.usage), ("Once", Usage::default()), "{reason}");
    }
    assert_eq!(ask(Anthropic::new, 200, "{}").await, Err(ProviderError::BadResponse("not a message")));
}

/// <https://platform.claude.com/docs/en/api/errors>
#[tokio::test]
async fn each_refusal_has_its_class() {
    for (code, r#type, message, class) in [
        (
            400,
            "invalid_request_error",
            "prompt is too long: 208310 tokens > 200000 maximum",
            "context_too_long",
        ),
        (
            400,
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000, decrease input length or `max_tokens` and try again",
            "context_too_long",
        ),
        (
            413,
            "request_too_large",
            "Request exceeds the maximum allowed number of bytes.",
            "context_too_long",
        ),
        (400, "invalid_request_error", "max_tokens: must be at least 1", "refused"),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API.",
            "refused",
        ),
        (402, "billing_error", "There is an issue with your billing.", "refused"),
        (401, "authentication_error", "invalid x-api-key", "unauthorized"),
        (403, "permission_error", "no", "unauthorized"),
        (404, "not_found_error", "model: x", "refused"),
        (
            429,
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 50,000 input tokens per minute.",
            "rate_limited",
        ),
        (500, "api_error", "Internal server error", "overloaded"),
        (504, "timeout_error", "Request timed out.", "overloaded"),
        (529, "overloaded_error", "Overloaded", "overloaded"),
    ] {
        let error = ask(Anthropic::new, code, &error(r#type, message)).await.unwrap_err();
        assert_eq!(error.class(), class, "{type}");
        assert!(!error.to_string().contains(message), "{error}");
    }
}
