use serde_json::json;

use super::*;

/// The example of the API reference, abridged.
const COMPLETION: &str = r#"{
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion", "created": 1741569952,
    "model": "gpt-4.1-2025-04-14",
    "choices": [{
        "index": 0,
        "message": {"role": "assistant", "content": "Hello! How can I help?", "refusal": null, "annotations": []},
        "logprobs": null, "finish_reason": "stop"
    }],
    "usage": {
        "prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "rejected_prediction_tokens": 0}
    },
    "service_tier": "default"
}"#;

#[tokio::test]
async fn an_answer_is_read_with_its_tokens() {
    let (outcome, call) = ask_with(OpenAi::new, with_history, Reaction::status(200, COMPLETION)).await;
    assert_eq!(outcome, Ok(completion("Hello! How can I help?", "gpt-4.1-2025-04-14", 19, 10)));
    assert_eq!((call.path.as_str(), call.header("authorization")), ("/chat/completions", "Bearer key-1"));
    let said = |role: &str, content: &str| json!({"role": role, "content": content});
    let messages = [
        said("system", "be brief"),
        said("user", "one"),
        said("assistant", "two"),
        said("user", "three"),
        said("assistant", "four"),
        said("user", "hello"),
    ];
    let asked = json!({"model": "model-1", "messages": messages, "temperature": 0.5, "stream": false});
    assert_eq!(body_of(&call), asked);
}

#[tokio::test]
async fn the_least_that_a_compatible_server_sends_will_do() {
    let least = Reaction::status(200, r#"{"choices":[{"message":{"content":"hi"}}],"usage":null}"#);
    let (outcome, call) = ask_with(OpenAi::new, without_extras, least).await;
    let answer = Answer { text: "hi".into(), model: "model-1".into() };
    assert_eq!(outcome, Ok(Completion { answer, usage: Usage::default() }));
    assert_eq!(call.header("authorization"), "");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_told_from_other_bad_requests() {
    for (code, body) in [
        (
            400,
            r#"{"error":{"message":"This model's maximum context length is 4097 tokens. However, you requested 4610 tokens.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        ),
        (
            400,
            r#"{"error":{"code":400,"message":"request (9412 tokens) exceeds the available context size (8192 tokens), try increasing it","type":"exceed_context_size_error","n_prompt_tokens":9412,"n_ctx":8192}}"#,
        ),
        (
            400,
            r#"{"object":"error","message":"This model's maximum context length is 2048 tokens.","type":"BadRequestError","param":null,"code":400}"#,
        ),
        (
            400,
            r#"{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        ),
    ] {
        assert_eq!(ask(OpenAi::new, code, body).await, Err(ProviderError::ContextTooLong), "{body}");
    }
    let other = r#"{"error":{"message":"Unrecognized request argument","type":"invalid_request_error","param":null,"code":null}}"#;
    assert_eq!(ask(OpenAi::new, 400, other).await, Err(status(400)));
}

#[tokio::test]
async fn what_policy_refuses_is_told_from_what_is_no_answer() {
    for (code, body) in [
        (400, r#"{"error":{"code":"content_policy_violation","message":"Your request was rejected."}}"#),
        (
            400,
            r#"{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"violence":{"filtered":true,"severity":"high"}}}}}"#,
        ),
        (200, r#"{"choices":[{"message":{"content":""},"finish_reason":"content_filter"}]}"#),
        (200, r#"{"choices":[{"message":{"content":"Once upon"},"finish_reason":"content_filter"}]}"#),
        (200, r#"{"choices":[{"message":{"content":null,"refusal":"I can't"},"finish_reason":"stop"}]}"#),
    ] {
        assert_eq!(ask(OpenAi::new, code, body).await, Err(ProviderError::RefusedByPolicy), "{body}");
    }
    for (body, error) in [
        ("<html>", ProviderError::BadResponse("not a chat completion")),
        (r#"{"choices":[]}"#, ProviderError::BadResponse("no choice")),
        (r#"{"choices":[{"message":{}}]}"#, ProviderError::NoText),
        (r#"{"choices":[{"message":{"content":""},"finish_reason":"length"}]}"#, ProviderError::NoText),
        (r#"{"choices":[{"message":{"content":" \n"}}]}"#, ProviderError::NoText),
        (
            r#"{"choices":[{"message":{"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}"#,
            ProviderError::NoText,
        ),
    ] {
        assert_eq!(ask(OpenAi::new, 200, body).await, Err(error), "{body}");
    }
}

#[tokio::test]
async fn no_answer_is_lost_for_what_is_told_beside_it() {
    for beside in [
        r#""usage":{"prompt_tokens":-1,"completion_tokens":"3"}"#,
        r#""usage":{"prompt_tokens":18446744073709551615,"completion_tokens":2.5}"#,
        r#""usage":"free","model":7"#,
        r#""model":null"#,
    ] {
        let body = format!(r#"{{"choices":[{{"message":{{"content":"hi"}},"finish_reason":5}}],{beside}}}"#);
        let completion = ask(OpenAi::new, 200, &body).await.unwrap();
        assert_eq!((&*completion.answer.text, completion.usage), ("hi", Usage::default()), "{beside}");
        assert_eq!(&*completion.answer.model, "model-1", "{beside}");
    }
    let parts =
        r#"{"choices":[{"message":{"content":[{"type":"text","text":"h"},{"type":"text","text":"i"}]}}]}"#;
    assert_eq!(&*ask(OpenAi::new, 200, parts).await.unwrap().answer.text, "hi");
    let name = format!("\u{1b}[31m{}", "m".repeat(500));
    let body =
        serde_json::json!({ "model": name, "choices": [{ "message": { "content": "hi" } }] }).to_string();
    let model = ask(OpenAi::new, 200, &body).await.unwrap().answer.model;
    assert!(model.starts_with("[31mmm") && model.chars().count() == 128, "{model}");
}

/// <https://platform.openai.com/docs/guides/error-codes>; the two with numbers for codes are `OpenRouter`'s
/// (<https://openrouter.ai/docs/api/reference/errors-and-debugging>).
#[tokio::test]
async fn each_refusal_has_its_class() {
    for (code, body, class) in [
        (
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-1. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            "unauthorized",
        ),
        (
            403,
            r#"{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported","param":null,"type":"request_forbidden"}}"#,
            "unauthorized",
        ),
        (
            404,
            r#"{"error":{"message":"The model `model-1` does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            "refused",
        ),
        (
            429,
            r#"{"error":{"message":"Rate limit reached for gpt-4.1 in organization org-1 on tokens per min (TPM): Limit 30000, Used 29012, Requested 1519. Please try again in 1.062s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
            "rate_limited",
        ),
        (
            429,
            r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
            "rate_limited",
        ),
        (
            500,
            r#"{"error":{"message":"The server had an error while processing your request. Sorry about that!","type":"server_error","param":null,"code":null}}"#,
            "overloaded",
        ),
        (
            503,
            r#"{"error":{"message":"The engine is currently overloaded, please try again later","type":"server_error","param":null,"code":null}}"#,
            "overloaded",
        ),
        (402, r#"{"error":{"code":402,"message":"Insufficient credits"}}"#, "refused"),
        (200, r#"{"error":{"code":502,"message":"Provider returned error"}}"#, "bad_response"),
    ] {
        let error = ask(OpenAi::new, code, body).await.unwrap_err();
        assert_eq!(error.class(), class, "{body}");
        for sent in ["sk-1", "org-1", "Insufficient", "Provider returned"] {
            assert!(!error.to_string().contains(sent), "{error}");
        }
    }
}
