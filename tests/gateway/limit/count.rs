//! What is counted: every request that got past the limit, on disk before it is answered, and no other.

use moorgate::provider::ProviderError;
use reqwest::RequestBuilder;

use super::{WEBHOOK_LIMIT, assert_refused, hits, open_gateway, post, secs};
use crate::support::{client::Reply, gateway::Gateway, raw, wait::until_is};

const LIMIT: u32 = 11;
const SECRET: &str = "swordfish";

/// A gateway whose paired client makes one request after the other.
struct Tally {
    gateway: Gateway,
    token: String,
    counted: u32,
}

impl Tally {
    async fn start() -> Self {
        let gateway = Gateway::start_with(&[
            (WEBHOOK_LIMIT, "11"),
            ("channels_config.webhook.secret", SECRET),
            ("gateway.max_in_flight", "1"),
            ("gateway.pair_rate_limit_per_minute", "0"),
        ])
        .await;
        let token = gateway.pair().await;
        Self { gateway, token, counted: 0 }
    }

    fn request(&self, key: &str, message: &str) -> RequestBuilder {
        self.gateway.client.message(&self.token, Some(key), message).header("X-Webhook-Secret", SECRET)
    }

    /// Sends a request and checks that it was admitted, counted, and on disk when it was answered.
    async fn send(&mut self, request: RequestBuilder, status: u16) {
        let reply = self.gateway.client.send(request).await;
        self.check(&reply, status);
    }

    fn check(&mut self, reply: &Reply, status: u16) {
        self.counted += 1;
        assert_eq!(hits(&self.gateway), self.counted, "on disk before the answer: {reply:?}");
        assert_eq!(reply.status, status, "{reply:?}");
        let left = format!("\"webhook\";r={};t=60", LIMIT - self.counted);
        assert_eq!(reply.header("ratelimit"), Some(left.as_str()), "{reply:?}");
    }
}

#[tokio::test]
async fn every_admitted_request_is_counted_whatever_becomes_of_it() {
    let mut tally = Tally::start().await;
    tally.send(tally.request("one", "hello"), 200).await;
    tally.send(tally.request("one", "hello"), 200).await;
    tally.send(tally.request("one", "good day"), 422).await;
    tally.send(tally.request("two", " "), 400).await;
    tally.send(tally.request("a key", "hello"), 400).await;
    let no_secret = tally.gateway.client.message(&tally.token, None, "hello");
    tally.send(no_secret, 401).await;
    tally.gateway.model.fail(Some(ProviderError::Status { code: 500, retry_after: None }));
    tally.send(tally.request("two", "hello"), 500).await;
    tally.gateway.model.fail(None);

    tally.gateway.model.hold();
    let held = tokio::spawn(tally.request("two", "hello").send());
    tally.counted += 1;
    until_is("hits on record", &tally.counted, async || hits(&tally.gateway)).await;
    tally.send(tally.request("two", "hello"), 409).await;
    tally.send(tally.request("three", "hello"), 503).await;
    tally.gateway.model.release();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);

    let headers = format!("Authorization: Bearer {}\r\nX-Webhook-Secret: {SECRET}\r\n", tally.token);
    let too_long = format!("10001\r\n{}", "x".repeat(65_537));
    let chunked = headers + "Transfer-Encoding: chunked\r\n";
    let reply = raw::post(tally.gateway.address(), &chunked, &too_long).await;
    tally.check(&reply, 413);
    let refused = tally.gateway.client.send(tally.request("one", "hello")).await;
    assert_refused(&refused, 60);
}

#[tokio::test]
async fn a_request_without_a_token_is_on_disk_before_it_is_refused() {
    let gateway = Gateway::start().await;
    for counted in 1..4 {
        assert_eq!(gateway.client.post("", None, "hello").await.status, 401);
        assert_eq!(hits(&gateway), counted);
    }
}

#[tokio::test]
async fn a_failed_attempt_to_pair_is_on_disk_before_it_is_refused() {
    let gateway = Gateway::start().await;
    for counted in 1..4 {
        assert_eq!(gateway.client.pair("x").await.status, 403);
        assert_eq!(hits(&gateway), counted);
    }
}

#[tokio::test]
async fn a_refused_request_is_not_counted() {
    let gateway = open_gateway("1").await;
    assert_eq!(post(&gateway).await.status, 200);
    gateway.clock.advance(secs(30));
    for _ in 0..5 {
        assert_refused(&post(&gateway).await, 30);
    }
    assert_eq!(hits(&gateway), 1);
    gateway.clock.advance(secs(30));
    assert_eq!(post(&gateway).await.status, 200);
}
