//! Answers that no route gives: to a connection that is too many, and to a head that is no request.

use crate::http::{
    fixed::{NO_STORE, SECURITY_HEADERS},
    request_id::RequestIds,
};

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// As many are open as may be.
    Full,
    /// As many are open from its address as may be.
    AddressFull,
    /// It is from another machine, and the tunnel is not up.
    TunnelDown,
}

impl Refusal {
    /// The whole answer.
    pub(super) fn answer(self, ids: &RequestIds) -> Vec<u8> {
        let (status, error) = match self {
            Self::Full => ("503 Service Unavailable", "Too many connections. Please retry later."),
            Self::TunnelDown => ("503 Service Unavailable", "Service unavailable. Please retry later."),
            Self::AddressFull => {
                ("429 Too Many Requests", "Too many connections from this address. Please retry later.")
            }
        };
        answer(status, "Retry-After: 1\r\n", &format!(r#"{{"error":"{error}","retry_after":1}}"#), ids)
    }
}

/// The answer to take the place of hyper's own one; `None` if `bytes` are not that. hyper answers a head that it cannot
/// read by itself, with no more than the status.
pub(super) fn in_place_of(bytes: &[u8], ids: &RequestIds) -> Option<Vec<u8>> {
    let line_end = bytes.iter().position(|byte| *byte == b'\r')?;
    let is_bare = bytes.ends_with(b"\r\n\r\n") && bytes.windows(19).any(|it| it == b"content-length: 0\r\n");
    let (status, error) = match bytes[..line_end]
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| bytes[..line_end].strip_prefix(b"HTTP/1.0 "))?
    {
        status if status.starts_with(b"400 ") => ("400 Bad Request", "Bad request"),
        status if status.starts_with(b"414 ") => ("414 URI Too Long", "URI too long"),
        status if status.starts_with(b"431 ") => {
            ("431 Request Header Fields Too Large", "Request header fields too large")
        }
        _ => return None,
    };
    is_bare.then(|| answer(status, "", &format!(r#"{{"error":"{error}"}}"#), ids))
}

fn answer(status: &str, extra: &str, body: &str, ids: &RequestIds) -> Vec<u8> {
    let (id, length) = (ids.next_text(), body.len());
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: {NO_STORE}\r\nX-Request-Id: {id}\r\n{extra}"
    );
    for (name, value) in SECURITY_HEADERS {
        answer.extend([name.as_str(), ": ", value, "\r\n"]);
    }
    answer.extend(["Connection: close\r\n\r\n", body]);
    answer.into_bytes()
}
