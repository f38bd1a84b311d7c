//! What holds for every route: status, headers, limits on bodies and connections.

mod connection;
mod fuzz;
mod header;
mod observe;
mod route;
mod size;
mod timeout;

use crate::support::{client::Reply, gateway::Gateway, raw::Raw};

const NOT_FOUND: &str = r#"{"error":"Not found"}"#;
const METHOD_NOT_ALLOWED: &str = r#"{"error":"Method not allowed"}"#;
const TOO_LARGE: &str = r#"{"error":"Request body too large"}"#;
const GET_HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

/// The head of a post to `/webhook` with a token; `headers` are whole lines.
fn webhook_head(token: &str, headers: &str) -> String {
    format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n{headers}\r\n"
    )
}
