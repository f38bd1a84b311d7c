//! Who may post: the bearer token and the webhook secret, and what is looked at before what.

use super::*;

const PAIR_FIRST: &str =
    r#"{"error":"Unauthorized — pair first via POST /pair, then send Authorization: Bearer <token>"}"#;
const WRONG_SECRET: &str = r#"{"error":"Unauthorized — invalid or missing X-Webhook-Secret header"}"#;

const NO_TOKEN: &str = r#"Bearer realm="moorgate""#;
const BAD_TOKEN: &str = r#"Bearer realm="moorgate", error="invalid_token""#;

async fn gateway_with_secret() -> (Gateway, String) {
    Gateway::paired_with(&[UNLIMITED, ("channels_config.webhook.secret", "s3cret")]).await
}

#[tokio::test]
async fn a_request_without_a_live_token_is_challenged() {
    let (gateway, token) = Gateway::paired_with(&[]).await;
    let missing = gateway.client.post("", Some("order-1"), "hello").await;
    let wrong = gateway.client.post("zc_wrong", Some("order-1"), "hello").await;
    let padded = gateway.client.post(&format!("{token}0"), Some("order-1"), "hello").await;
    for (reply, challenge) in [(missing, NO_TOKEN), (wrong, BAD_TOKEN), (padded, BAD_TOKEN)] {
        reply.assert_is(401, PAIR_FIRST);
        assert_eq!(reply.header("www-authenticate"), Some(challenge));
    }
    assert_eq!(gateway.model.calls(), 0);
}

#[tokio::test]
async fn a_token_that_is_no_text_is_a_wrong_one() {
    let (gateway, _) = Gateway::paired_with(&[]).await;
    let mut request =
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nAuthorization: Bearer ".to_vec();
    request.extend_from_slice(b"\xff\xfe\r\n\r\n");
    let reply = Raw::connect(gateway.address()).await.ask(request).await;
    reply.assert_is(401, PAIR_FIRST);
    assert_eq!(reply.header("www-authenticate"), Some(BAD_TOKEN));
}

#[tokio::test]
async fn a_configured_secret_must_be_sent() {
    let (gateway, token) = gateway_with_secret().await;
    for given in [None, Some(""), Some("wrong"), Some("S3CRET"), Some("s3cret2"), Some("s3cre")] {
        let request = gateway.client.message(&token, None, "hello");
        let request =
            given.map_or(request.try_clone().unwrap(), |given| request.header("X-Webhook-Secret", given));
        let reply = gateway.client.send(request).await;
        reply.assert_is(401, WRONG_SECRET);
        assert_eq!(reply.header("www-authenticate"), Some(NO_TOKEN));
    }
    assert_eq!(gateway.model.calls(), 0);
}

#[tokio::test]
async fn the_right_secret_is_trimmed_and_given_once() {
    let (gateway, token) = gateway_with_secret().await;
    let send = async |secrets: &str| {
        let headers = format!("Authorization: Bearer {token}\r\n{secrets}");
        Raw::connect(gateway.address()).await.ask(message_bytes(&headers, "hello")).await
    };
    assert_answered(&send("X-Webhook-Secret: s3cret\r\n").await);
    assert_answered(&send("x-webhook-secret: \t s3cret \t\r\n").await);
    let twice = send("X-Webhook-Secret: s3cret\r\nX-Webhook-Secret: wrong\r\n").await;
    twice.assert_is(401, WRONG_SECRET);
}

#[tokio::test]
async fn bearer_is_looked_at_before_secret_before_body_before_key() {
    let (gateway, token) = gateway_with_secret().await;
    let client = &gateway.client;
    let bad = |token: &str| client.message(token, Some("bad key"), " ");
    let with_secret = |token: &str| bad(token).header("X-Webhook-Secret", "s3cret");
    client.send(bad("")).await.assert_is(401, PAIR_FIRST);
    client.send(with_secret("zc_wrong")).await.assert_is(401, PAIR_FIRST);
    client.send(bad(&token)).await.assert_is(401, WRONG_SECRET);
    client.send(with_secret(&token)).await.assert_is(400, INVALID_BODY);
    client.send(with_secret(&token).body(r#"{"message":"hello"}"#)).await.assert_is(400, INVALID_KEY);
    assert_eq!(gateway.model.calls(), 0);
}

#[tokio::test]
async fn without_pairing_the_secret_is_still_needed() {
    let settings = [("gateway.require_pairing", "false"), ("channels_config.webhook.secret", "s3cret")];
    let gateway = Gateway::start_with(&settings).await;
    gateway.client.post("", None, "hello").await.assert_is(401, WRONG_SECRET);
    let request = gateway.client.message("", None, "hello").header("X-Webhook-Secret", "s3cret");
    assert_answered(&gateway.client.send(request).await);
}
