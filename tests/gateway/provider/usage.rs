//! Tokens, as far as the mock tells of them; for Ollama it tells of none.

use super::*;

#[tokio::test]
async fn tokens_are_counted_once_for_each_answer() {
    for vendor in [OPENAI, ANTHROPIC] {
        let Some(mock) = Aimock::start() else { return };
        let gateway = Asking::start(&vendor, &mock, &[("MOORGATE_PROVIDER__MAX_RETRIES", "1")]).await;
        assert_eq!(used(&gateway).await, [0, 0]);
        mock.fail_once(500).await;
        for (key, tokens) in [("order-1", [21, 4]), ("order-1", [21, 4]), ("order-2", [42, 8])] {
            assert_eq!(gateway.hello(key).await.status, 200);
            assert_eq!(used(&gateway).await, tokens, "{}, {key}", vendor.kind);
        }
        assert_eq!(gateway.metric("zeroclaw_tokens_used_last").await, 25, "{}", vendor.kind);
        assert_eq!(mock.statuses().await, [500, 200, 200]);
    }
}

/// The tokens of prompts and of answers.
async fn used(gateway: &Asking) -> [u64; 2] {
    let series = |kind| format!(r#"zeroclaw_tokens_used_total{{kind="{kind}"}}"#);
    [gateway.metric(&series("prompt")).await, gateway.metric(&series("completion")).await]
}
