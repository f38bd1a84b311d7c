//! Bearer tokens: how they are shown, taken over from an older gateway, and ended.

use crate::support::{client::Reply, gateway::Gateway, wait::until};

mod bearer;
mod blank;
mod import;
mod life;

const UNAUTHORIZED: &str =
    r#"{"error":"Unauthorized — pair first via POST /pair, then send Authorization: Bearer <token>"}"#;
const NO_RATE_LIMIT: (&str, &str) = ("gateway.webhook_rate_limit_per_minute", "0");

/// Posts a message with this `Authorization`.
async fn post_with(gateway: &Gateway, authorization: &str) -> Reply {
    let request = gateway.client.message("", None, "hello").header("Authorization", authorization);
    gateway.client.send(request).await
}

/// Whether a post with this token is let in.
async fn is_let_in(gateway: &Gateway, token: &str) -> bool {
    let reply = gateway.client.post(token, None, " ").await; // no message: let in, it is a 400 and costs no write
    assert!(matches!(reply.status, 400 | 401), "{reply:?}");
    reply.status == 400
}

/// Waits until an edit by another process is seen.
async fn until_refused(gateway: &Gateway, token: &str) {
    until("the token is refused", async || !is_let_in(gateway, token).await).await;
}

/// Lowercase hex SHA-256.
fn sha256(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;
    Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}
