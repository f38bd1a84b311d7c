//! The answers of `POST /pair`, to the byte.

use crate::support::{client::Reply, gateway::Gateway};

use super::{MINUTE, REFUSED, start, wrong_code};

fn assert_json(reply: &Reply) {
    assert_eq!(reply.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn the_right_code_brings_a_token() {
    let gateway = Gateway::start().await;
    let reply = gateway.client.pair(gateway.code.as_ref().unwrap()).await;
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    let hex = token.strip_prefix("zc_").unwrap();
    assert!(hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{token}");
    let text = format!(
        r#"{{"paired":true,"persisted":true,"token":"{token}","message":"Save this token — use it as Authorization: Bearer <token>"}}"#
    );
    assert_eq!((reply.status, reply.text.as_str()), (200, text.as_str()));
    assert_json(&reply);
}

/// What a refusal shows, but for what differs between any two responses.
fn shown(reply: &Reply) -> (u16, String, Vec<String>) {
    let differs = |name: &str| ["date", "ratelimit", "x-request-id"].contains(&name);
    let fields = reply.headers.iter().filter(|(name, _)| !differs(name.as_str()));
    let mut fields: Vec<_> =
        fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    fields.sort();
    (reply.status, reply.text.clone(), fields)
}

#[tokio::test]
async fn every_code_that_does_not_pair_gets_one_and_the_same_refusal() {
    let gateway = Gateway::start_with(&[("gateway.pairing_code_max_failures", "1")]).await;
    let code = gateway.code.clone().unwrap();
    let exhausts = gateway.client.pair(&wrong_code(&gateway)).await;
    assert_eq!((exhausts.status, exhausts.text.as_str()), (403, REFUSED));
    assert_json(&exhausts);

    let exhausted = gateway.client.pair(&code).await;
    let expired = gateway.another_code().await;
    gateway.clock.advance(60 * MINUTE);
    let expired = gateway.client.pair(&expired).await;
    let spent = gateway.another_code().await;
    gateway.client.paired(&spent).await;
    let spent = gateway.client.pair(&spent).await;
    let malformed = gateway.client.pair("12345").await;
    for refusal in [exhausted, expired, spent, malformed] {
        assert_eq!(shown(&refusal), shown(&exhausts));
    }
}

#[tokio::test]
async fn without_a_live_code_a_guess_is_refused_and_counted_as_ever() {
    let gateway = Gateway::start_with(&[("gateway.require_pairing", "false")]).await;
    assert_eq!(gateway.code, None);
    for _ in 0..5 {
        let reply = gateway.client.pair("123456").await;
        assert_eq!((reply.status, reply.text.as_str()), (403, REFUSED));
    }
    super::assert_locked_out(&gateway.client.pair("123456").await, 300);
}

#[tokio::test]
async fn the_order_is_rate_limit_lockout_code() {
    let gateway = Gateway::start_with(&[("gateway.pair_rate_limit_per_minute", "6")]).await;
    super::guess(&gateway, &gateway.client, 5).await;
    super::assert_right_code_locked_out(&gateway, 300).await;
    let limited = gateway.client.pair(gateway.code.as_ref().unwrap()).await;
    let text = r#"{"error":"Too many pairing requests. Please retry later.","retry_after":60}"#;
    assert_eq!((limited.status, limited.text.as_str()), (429, text));
    assert_json(&limited);

    gateway.clock.advance(MINUTE);
    super::assert_right_code_locked_out(&gateway, 240).await;
    gateway.clock.advance(4 * MINUTE);
    gateway.pair().await;
}

#[tokio::test]
async fn a_request_over_the_limit_is_no_attempt() {
    let gateway = Gateway::start_with(&[("gateway.pair_rate_limit_per_minute", "2")]).await;
    super::guess(&gateway, &gateway.client, 2).await;
    for _ in 0..5 {
        assert_eq!(gateway.client.pair(&wrong_code(&gateway)).await.status, 429);
    }
    assert_eq!(gateway.sql("SELECT failed_attempts FROM pairing_code"), "2");
    assert_eq!(gateway.sql("SELECT count(*) FROM pairing_failure"), "2");
}

#[tokio::test]
async fn an_attempt_during_a_lockout_is_not_counted_and_prolongs_nothing() {
    let gateway = start().await;
    super::lock_out(&gateway, 300).await;
    gateway.clock.advance(MINUTE);
    for _ in 0..10 {
        super::assert_locked_out(&gateway.client.pair(&wrong_code(&gateway)).await, 240);
    }
    assert_eq!(gateway.sql("SELECT failed_attempts FROM pairing_code"), "5");
    gateway.clock.advance(4 * MINUTE);
    super::guess(&gateway, &gateway.client, 4).await;
    gateway.pair().await;
}
