//! `paired_tokens`: the tokens of an older gateway, each taken over once for ever.

use crate::support::gateway::Gateway;

use super::{NO_RATE_LIMIT, is_let_in, sha256, until_refused};

/// A gateway whose configuration names `zc_plain` as it is and `zc_hashed` by its hash, the latter in upper case.
async fn start() -> Gateway {
    let tokens = format!(r#"["zc_plain", "{}"]"#, sha256("zc_hashed").to_uppercase());
    Gateway::start_with(&[("gateway.paired_tokens", &tokens), NO_RATE_LIMIT]).await
}

#[tokio::test]
async fn tokens_of_an_older_gateway_work_on_given_plain_or_as_a_hash() {
    let gateway = start().await;
    assert_eq!(gateway.code, None, "clients are paired");
    for token in ["zc_plain", "zc_hashed"] {
        assert_eq!(gateway.client.post(token, None, "hello").await.status, 200);
    }
    for hash in [sha256("zc_plain"), sha256("zc_hashed"), sha256("zc_hashed").to_uppercase()] {
        assert!(!is_let_in(&gateway, &hash).await, "the hash is not the token");
    }
    let expected = format!("{}|import\n{}|import", sha256("zc_plain"), sha256("zc_hashed"));
    assert_eq!(gateway.sql("SELECT token_hash, source FROM token ORDER BY id"), expected);
    assert!(!gateway.sql(".dump").contains("zc_plain"), "only its hash is taken over");
}

#[tokio::test]
async fn a_token_is_taken_over_once() {
    let gateway = start().await.restart().await.restart().await;
    assert_eq!(gateway.sql("SELECT count(*) FROM token"), "2");
    assert!(is_let_in(&gateway, "zc_plain").await && is_let_in(&gateway, "zc_hashed").await);
}

#[tokio::test]
async fn a_token_named_twice_is_one_token() {
    let tokens = format!("zc_a,{},zc_a", sha256("zc_a"));
    let gateway = Gateway::start_with(&[("gateway.paired_tokens", &tokens)]).await;
    assert_eq!(gateway.sql("SELECT token_hash FROM token"), sha256("zc_a"));
}

/// Failure 23: a revoked token worked on.
#[tokio::test]
async fn an_imported_token_that_was_revoked_stays_revoked() {
    let gateway = start().await;
    gateway.sql("UPDATE token SET revoked_at_ms = 1 WHERE id = 1");
    until_refused(&gateway, "zc_plain").await;
    let gateway = gateway.restart().await.restart().await;
    assert!(!is_let_in(&gateway, "zc_plain").await);
    assert!(is_let_in(&gateway, "zc_hashed").await);
}

/// Failure 23: a token that was taken off the list came back with the configuration.
#[tokio::test]
async fn an_imported_token_that_was_deleted_stays_deleted() {
    let gateway = start().await;
    gateway.sql("DELETE FROM token WHERE id = 2");
    until_refused(&gateway, "zc_hashed").await;
    let gateway = gateway.restart().await.restart().await;
    assert!(!is_let_in(&gateway, "zc_hashed").await);
    assert!(is_let_in(&gateway, "zc_plain").await);
    assert_eq!(gateway.sql("SELECT count(*) FROM token"), "1");
}

#[tokio::test]
async fn imported_tokens_leave_room_for_new_clients() {
    let gateway = start().await;
    let token = gateway.client.paired(&gateway.another_code().await).await;
    let gateway = gateway.restart().await;
    for token in ["zc_plain", "zc_hashed", &token] {
        assert!(is_let_in(&gateway, token).await, "{token}");
    }
}
