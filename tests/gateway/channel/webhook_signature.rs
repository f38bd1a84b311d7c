//! `POST /webhook` signed as Standard Webhooks say.

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::RequestBuilder;
use sha2::Sha256;

use crate::support::gateway::Gateway;

/// `whsec_` and these bytes in base64.
const SIGNING_SECRET: (&str, &[u8]) =
    ("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", b"0123456789abcdef0123456789abcdef");
const OPEN: (&str, &str) = ("gateway.require_pairing", "false");
const SIGNED: (&str, &str) = ("channels_config.webhook.signing_secret", SIGNING_SECRET.0);
const NOW: i64 = 1_790_000_000;

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |chunk: &[u8], n: usize| {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        char::from(DIGITS[(bits >> (18 - 6 * n) & 63) as usize])
    };
    let encode = |chunk: &[u8]| -> String {
        (0..4).map(|n| if n <= chunk.len() { digit(chunk, n) } else { '=' }).collect()
    };
    bytes.chunks(3).map(encode).collect()
}

fn signed(gateway: &Gateway, id: &str, at: i64, message: &str) -> RequestBuilder {
    let body = serde_json::json!({ "message": message }).to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(SIGNING_SECRET.1).unwrap();
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let signature = format!("v1,{}", base64(&mac.finalize().into_bytes()));
    gateway
        .client
        .message("", None, message)
        .header("webhook-id", id)
        .header("webhook-timestamp", at)
        .header("webhook-signature", signature)
}

#[tokio::test]
async fn a_signed_request_needs_no_secret_and_its_id_is_its_key() {
    let gateway = Gateway::start_with(&[OPEN, SIGNED, ("channels_config.webhook.secret", "a-secret")]).await;
    let first = gateway.client.send(signed(&gateway, "msg_1", NOW, "hello")).await;
    first.assert_is(200, r#"{"response":"hello!","model":"test-model-1"}"#);
    let retry = gateway.client.send(signed(&gateway, "msg_1", NOW + 60, "hello")).await;
    assert_eq!((retry.status, retry.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!(gateway.model.calls(), 1);
    let own_key = signed(&gateway, "msg_1", NOW, "hello").header("Idempotency-Key", "order-1");
    let own_key = gateway.client.send(own_key).await;
    assert_eq!(
        (own_key.status, own_key.header("idempotency-replayed")),
        (200, None),
        "a key of its own goes first"
    );
    let secret = gateway.client.message("", None, "hello").header("X-Webhook-Secret", "a-secret");
    assert_eq!(gateway.client.send(secret).await.status, 200, "the secret still does");
}

#[tokio::test]
async fn a_bad_signature_is_refused_also_with_the_right_secret() {
    let gateway = Gateway::start_with(&[OPEN, SIGNED, ("channels_config.webhook.secret", "a-secret")]).await;
    for at in [NOW - 301, NOW + 301] {
        let reply = gateway.client.send(signed(&gateway, "msg_1", at, "hello")).await;
        reply.assert_is(401, r#"{"error":"Invalid signature"}"#);
    }
    let forged = gateway.client.message("", None, "hello").header("X-Webhook-Secret", "a-secret");
    let forged = forged
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", NOW)
        .header("webhook-signature", "v1,AAAA");
    gateway.client.send(forged).await.assert_is(401, r#"{"error":"Invalid signature"}"#);
    assert_eq!(gateway.model.calls(), 0);
}

#[tokio::test]
async fn without_a_secret_every_request_must_be_signed() {
    let gateway = Gateway::start_with(&[OPEN, SIGNED]).await;
    gateway.client.post("", None, "hello").await.assert_is(401, r#"{"error":"Invalid signature"}"#);
    assert_eq!(gateway.client.send(signed(&gateway, "msg_1", NOW, "hello")).await.status, 200);
}

#[tokio::test]
async fn a_signature_is_no_token() {
    let gateway = Gateway::start_with(&[SIGNED]).await;
    assert_eq!(gateway.client.send(signed(&gateway, "msg_1", NOW, "hello")).await.status, 401);
    let token = gateway.pair().await;
    let paired = signed(&gateway, "msg_1", NOW, "hello").bearer_auth(token);
    assert_eq!(gateway.client.send(paired).await.status, 200);
}
