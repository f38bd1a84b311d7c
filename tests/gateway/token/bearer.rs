//! `Authorization: Bearer <token>`, and the challenge of a 401.

use crate::support::{client::Reply, gateway::Gateway};

use super::{UNAUTHORIZED, post_with, sha256};

const NO_TOKEN: &str = r#"Bearer realm="moorgate""#;
const INVALID_TOKEN: &str = r#"Bearer realm="moorgate", error="invalid_token""#;

fn assert_challenged(reply: &Reply, challenge: &str) {
    assert_eq!((reply.status, reply.text.as_str()), (401, UNAUTHORIZED));
    let challenges: Vec<_> = reply.headers.get_all("www-authenticate").iter().collect();
    assert_eq!(challenges, [challenge]);
}

/// Failure 25: `bearer x` in lower case was refused.
#[tokio::test]
async fn the_scheme_is_read_in_any_case() {
    let gateway = Gateway::start().await;
    let token = gateway.pair().await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  ", "bearer\t"] {
        assert_eq!(post_with(&gateway, &format!("{scheme} {token}")).await.status, 200, "{scheme:?}");
    }
}

#[tokio::test]
async fn a_request_without_a_token_is_asked_for_one() {
    let gateway = Gateway::start().await;
    let token = gateway.pair().await;
    assert_challenged(&gateway.client.post("", None, "hello").await, NO_TOKEN);
    for value in ["", "Bearer", "Bearer ", &format!("Basic {token}"), &token, &format!("Bearer{token}")] {
        assert_challenged(&post_with(&gateway, value).await, NO_TOKEN);
    }
    assert_eq!(gateway.model.calls(), 0);
}

#[tokio::test]
async fn a_token_that_is_not_live_is_invalid() {
    let gateway = Gateway::start().await;
    let token = gateway.pair().await;
    let hex = token.strip_prefix("zc_").unwrap();
    let hash = gateway.sql("SELECT token_hash FROM token");
    assert_eq!(hash, sha256(&token));
    for given in [
        format!("zc_{}", "0".repeat(64)),
        token.to_uppercase(),
        token[..66].to_owned(),
        format!("{token}0"),
        format!("{token} {token}"),
        format!("{token},"),
        format!("\"{token}\""),
        hex.to_owned(),
        hash,
    ] {
        assert_challenged(&post_with(&gateway, &format!("Bearer {given}")).await, INVALID_TOKEN);
    }
}

#[tokio::test]
async fn two_authorizations_are_refused_whatever_they_say() {
    let gateway = Gateway::start().await;
    let right = format!("Bearer {}", gateway.pair().await);
    for (first, second) in
        [(&*right, &*right), (&right, "Bearer x"), ("Bearer x", &right), ("Basic x", &right)]
    {
        let request = gateway.client.message("", None, "hello");
        let request = request.header("Authorization", first).header("Authorization", second);
        assert_challenged(&gateway.client.send(request).await, INVALID_TOKEN);
    }
}
