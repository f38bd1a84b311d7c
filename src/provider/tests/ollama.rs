use serde_json::json;

use super::*;

const CHAT: &str = r#"{
    "model": "llama3.2:1b", "created_at": "2025-10-17T23:14:07.414671Z",
    "message": {"role": "assistant", "content": "Hello! How can I help you today?", "thinking": "They greet me."},
    "done": true, "done_reason": "stop", "total_duration": 174560334, "load_duration": 101397084,
    "prompt_eval_count": 11, "prompt_eval_duration": 13074791, "eval_count": 18, "eval_duration": 52479709
}"#;

#[tokio::test]
async fn an_answer_is_read_with_its_tokens() {
    let change = |settings: &mut ModelSettings, prompt: &mut Prompt| {
        with_history(settings, prompt);
        settings.max_tokens = Some(5);
    };
    let (outcome, call) = ask_with(Ollama::new, change, Reaction::status(200, CHAT)).await;
    assert_eq!(outcome, Ok(completion("Hello! How can I help you today?", "llama3.2:1b", 11, 18)));
    assert_eq!((call.path.as_str(), call.header("authorization")), ("/api/chat", "Bearer key-1"));
    let asked = body_of(&call);
    assert_eq!(asked["messages"].as_array().map(Vec::len), Some(6));
    assert_eq!(asked["messages"][0], json!({"role": "system", "content": "be brief"}));
    assert_eq!(asked["messages"][5], json!({"role": "user", "content": "hello"}));
    assert_eq!(asked["options"], json!({"temperature": 0.5, "num_predict": 5}));
}

#[tokio::test]
async fn an_answer_that_was_cut_is_an_answer() {
    let cut = CHAT.replace(r#""done_reason": "stop""#, r#""done_reason": "length""#);
    assert_ne!(cut, CHAT);
    let outcome = ask(Ollama::new, 200, &cut).await;
    assert_eq!(outcome, Ok(completion("Hello! How can I help you today?", "llama3.2:1b", 11, 18)));
}

#[tokio::test]
async fn what_is_not_set_is_not_sent() {
    let least = Reaction::status(200, r#"{"message":{"role":"assistant","content":"hi"}}"#);
    let (outcome, call) = ask_with(Ollama::new, without_extras, least).await;
    let answer = Answer { text: "hi".into(), model: "model-1".into() };
    assert_eq!(outcome, Ok(Completion { answer, usage: Usage::default() }));
    assert_eq!(call.header("authorization"), "");
    let asked = json!({
        "model": "model-1", "messages": [{"role": "user", "content": "hello"}], "stream": false,
        "options": {"temperature": 0.5}
    });
    assert_eq!(body_of(&call), asked);
}

/// <https://docs.ollama.com/api/errors>
#[tokio::test]
async fn each_refusal_has_its_class() {
    for (code, body, class) in [
        (400, r#"{"error":"the input length exceeds the context length"}"#, "context_too_long"),
        (413, r#"{"error":"the input length exceeds the context length"}"#, "context_too_long"),
        (400, r#"{"error":"invalid options: temprature"}"#, "refused"),
        (400, r#"{"error":"\"model-1\" does not support chat"}"#, "refused"),
        (
            401,
            r#"{"error":"unauthorized","signin_url":"https://ollama.com/connect?name=h&key=k"}"#,
            "unauthorized",
        ),
        (404, r#"{"error":"model 'model-1' not found"}"#, "refused"),
        (404, r#"{"error":"model \"model-1\" not found, try pulling it first"}"#, "refused"),
        (429, r#"{"error":"too many requests"}"#, "rate_limited"),
        (500, r#"{"error":"the model failed to generate a response"}"#, "overloaded"),
        (500, r#"{"error":"llama runner process has terminated"}"#, "overloaded"),
        (
            500,
            r#"{"error":"model requires more system memory (5.9 GiB) than is available (2.0 GiB)"}"#,
            "overloaded",
        ),
        (502, r#"{"error":"upstream error"}"#, "overloaded"),
        (
            503,
            r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
            "overloaded",
        ),
        (200, r#"{"error":"unexpected"}"#, "bad_response"),
        (200, r#"{"message":{"role":"assistant","content":""},"done":true}"#, "no_text"),
        (
            200,
            r#"{"model":"model-1","created_at":"2025-10-17T23:14:07Z","message":{"role":"assistant","content":""},"done_reason":"load","done":true}"#,
            "no_text",
        ),
    ] {
        let error = ask(Ollama::new, code, body).await.unwrap_err();
        assert_eq!(error.class(), class, "{body}");
        assert!(!error.to_string().contains("model-1"), "{error}");
    }
}
