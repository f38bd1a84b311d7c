//! Each vendor's way to ask, as the mock understands it, and to answer.

use serde_json::json;

use super::*;

#[tokio::test]
async fn each_vendor_is_asked_once_in_its_own_words_and_its_answer_reaches_the_client() {
    let settings = [
        ("MOORGATE_PROVIDER__SYSTEM_PROMPT", "be brief"),
        ("MOORGATE_PROVIDER__TEMPERATURE", "0.25"),
        ("MOORGATE_PROVIDER__MAX_TOKENS", "77"),
    ];
    let documented = [
        ("/v1/chat/completions", "authorization", None),
        ("/v1/messages", "x-api-key", Some("2023-06-01")),
        ("/api/chat", "authorization", None),
    ];
    for (vendor, (path, key_header, version)) in VENDORS.iter().zip(documented) {
        let Some(mock) = Aimock::start() else { return };
        let gateway = Asking::start(vendor, &mock, &settings).await;
        gateway.hello("order-1").await.assert_is(200, &vendor.answer());

        let [call] = mock.journal().await.try_into().unwrap();
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", path));
        assert_eq!(call.headers["content-type"], "application/json", "{path}");
        assert_eq!(call.headers["anthropic-version"].as_str(), version, "{path}");
        let sent = ["authorization", "x-api-key"].map(|name| call.headers[name].is_string());
        assert_eq!(sent, ["authorization", "x-api-key"].map(|name| name == key_header), "{path}");
        let messages =
            json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]);
        let asked = ["model", "messages", "temperature", "max_tokens"].map(|key| call.body[key].clone());
        assert_eq!(asked, [json!("model-1"), messages, json!(0.25), json!(77)], "{path}");
        assert_ne!(call.body["stream"], true, "{path}");
        assert!(!gateway.process.logged().contains(API_KEY));
    }
}

#[tokio::test]
async fn what_is_not_set_is_not_asked_for() {
    let Some(mock) = Aimock::start() else { return };
    let gateway = Asking::start(&OPENAI, &mock, &[]).await;
    gateway.hello("order-1").await.assert_is(200, ANSWER);
    let [call] = mock.journal().await.try_into().unwrap();
    assert_eq!(call.body["messages"], json!([{"role": "user", "content": "hello"}]));
    assert_eq!(call.body["max_tokens"], json!(null));
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_neither_key_nor_refusal_shows() {
    for vendor in VENDORS {
        let Some(mock) = Aimock::start() else { return };
        let wrong = format!("{API_KEY}-of-another");
        let gateway = Asking::start(&vendor, &mock, &[("MOORGATE_PROVIDER__API_KEY", &wrong)]).await;
        gateway.hello("order-1").await.assert_is(500, FAILED);
        assert_eq!(gateway.attempts(vendor.kind, "unauthorized").await, 1, "{}", vendor.kind);
        assert!(mock.journal().await.is_empty(), "it was let in");
        gateway.assert_logged("a turn failed");
    }
}

#[tokio::test]
async fn a_message_that_the_mock_has_no_answer_to_fails() {
    let Some(mock) = Aimock::start() else { return };
    let gateway = Asking::start(&OPENAI, &mock, &[]).await;
    let reply = gateway.process.client.post(&gateway.token, None, "what else?").await;
    reply.assert_is(500, FAILED);
    assert_eq!(mock.statuses().await, [503]);
}
