//! Whom a request counts against, and how exact the count is.

use std::{collections::BTreeMap, net::Ipv4Addr};

use tokio::task::JoinSet;

use super::{PAIR_LIMIT, WEBHOOK_LIMIT, assert_refused, hits, open_gateway};
use crate::support::{client::Reply, gateway::Gateway, raw};

/// Failure 20: sixty posts without a token from the same address starved the paired client.
#[tokio::test]
async fn strangers_do_not_use_up_the_budget_of_a_paired_client() {
    let gateway = Gateway::start().await;
    let token = gateway.pair().await;
    for _ in 0..60 {
        assert_eq!(gateway.client.post("", None, "hello").await.status, 401);
    }
    assert_refused(&gateway.client.post("", None, "hello").await, 60);
    assert_refused(&gateway.client.post("zc_unknown", None, "hello").await, 60);
    let reply = gateway.client.post(&token, None, "hello").await;
    assert_eq!((reply.status, reply.header("ratelimit")), (200, Some(r#""webhook";r=59;t=60"#)));
    let rows = "SELECT token_id, address, sum(hits) FROM rate_hit WHERE scope = 'webhook' GROUP BY token_id";
    assert_eq!(gateway.sql(rows), "0|127.0.0.1|60\n1|127.0.0.1|1");
}

#[tokio::test]
async fn each_token_has_a_window_of_its_own() {
    let settings = [(WEBHOOK_LIMIT, "1"), ("gateway.paired_tokens", "zc_one,zc_two")];
    let gateway = Gateway::start_with(&settings).await;
    assert_eq!(gateway.client.post("zc_one", None, "hello").await.status, 200);
    assert_refused(&gateway.client.post("zc_one", None, "hello").await, 60);
    assert_eq!(gateway.client.post("zc_two", None, "hello").await.status, 200);
}

#[tokio::test]
async fn each_address_has_a_window_of_its_own_with_and_without_a_token() {
    let gateway = Gateway::start_with(&[(WEBHOOK_LIMIT, "1"), ("gateway.paired_tokens", "zc_one")]).await;
    let authorization = "Authorization: Bearer zc_one\r\nContent-Length: 0\r\n";
    for (headers, status) in [(authorization, 400), ("Content-Length: 0\r\n", 401)] {
        for last in [1, 2] {
            let from = Ipv4Addr::new(127, 0, 0, last);
            assert_eq!(raw::post_from(from, gateway.address(), headers, "").await.status, status);
            assert_refused(&raw::post_from(from, gateway.address(), headers, "").await, 60);
        }
    }
    let rows = "SELECT token_id, address, hits FROM rate_hit ORDER BY token_id DESC, address";
    assert_eq!(gateway.sql(rows), "1|127.0.0.1|1\n1|127.0.0.2|1\n0|127.0.0.1|1\n0|127.0.0.2|1");
}

#[tokio::test]
async fn pair_and_webhook_have_windows_of_their_own() {
    let gateway = Gateway::start_with(&[(WEBHOOK_LIMIT, "1"), (PAIR_LIMIT, "1")]).await;
    assert_eq!(gateway.client.pair("x").await.status, 403);
    assert_eq!(gateway.client.pair("x").await.status, 429);
    assert_eq!(gateway.client.post("", None, "hello").await.status, 401);
    assert_refused(&gateway.client.post("", None, "hello").await, 60);
}

#[tokio::test]
async fn of_200_parallel_posts_exactly_the_limit_is_admitted() {
    let gateway = open_gateway("60").await;
    let client = gateway.client.clone();
    let replies = in_parallel(200, move || {
        let client = client.clone();
        async move { client.post("", None, "hello").await }
    });
    assert_eq!(by_status(&replies.await), BTreeMap::from([(200, 60), (429, 140)]));
    assert_eq!((hits(&gateway), gateway.model.calls()), (60, 60));
}

#[tokio::test]
async fn of_200_parallel_attempts_to_pair_exactly_the_limit_is_admitted() {
    let gateway = Gateway::start().await;
    let client = gateway.client.clone();
    let replies = in_parallel(200, move || {
        let client = client.clone();
        async move { client.pair("x").await }
    });
    let (refused, admitted): (Vec<_>, Vec<_>) =
        replies.await.into_iter().partition(|reply| reply.text.contains("Too many pairing requests"));
    assert_eq!(refused.len(), 190);
    assert_eq!(by_status(&admitted), BTreeMap::from([(403, 5), (429, 5)]), "the others met the lockout");
    assert_eq!(hits(&gateway), 10);
}

async fn in_parallel<F>(number: usize, request: impl Fn() -> F) -> Vec<Reply>
where
    F: Future<Output = Reply> + Send + 'static,
{
    (0..number).map(|_| request()).collect::<JoinSet<_>>().join_all().await
}

fn by_status(replies: &[Reply]) -> BTreeMap<u16, usize> {
    replies.iter().fold(BTreeMap::new(), |mut counts, reply| {
        *counts.entry(reply.status).or_default() += 1;
        counts
    })
}
