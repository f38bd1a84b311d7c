//! The messages a benchmark sends to `POST /webhook`, written without allocating.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// A message from a paired client, with an idempotency key that no other request has.
pub fn webhook_request(token: &str, seq: u64, out: &mut Vec<u8>) {
    webhook(Some(token), true, seq, out);
}

/// The same without a token: what a stranger sends.
pub fn webhook_without_token(seq: u64, out: &mut Vec<u8>) {
    webhook(None, true, seq, out);
}

/// The same from a paired client that sends no idempotency key.
pub fn webhook_without_key(token: &str, seq: u64, out: &mut Vec<u8>) {
    webhook(Some(token), false, seq, out);
}

fn webhook(token: Option<&str>, key: bool, seq: u64, out: &mut Vec<u8>) {
    const BEFORE: &[u8] = br#"{"message":"hello "#;
    const AFTER: &[u8] = br#""}"#;
    let mut digits = [0; 20];
    let seq = decimal(seq, &mut digits);
    out.extend_from_slice(b"POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
    if let Some(token) = token {
        for part in ["Authorization: Bearer ", token, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }
    if key {
        for part in [b"X-Idempotency-Key: bench-", run_id().as_bytes(), b"-", seq, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    let mut digits = [0; 20];
    let length = decimal((BEFORE.len() + seq.len() + AFTER.len()) as u64, &mut digits);
    for part in [b"Content-Length: ", length, b"\r\n\r\n", BEFORE, seq, AFTER] {
        out.extend_from_slice(part);
    }
}

/// Tells the keys of this process from those of any other, which the same database may have seen.
fn run_id() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        format!("{nanos:x}{:x}", std::process::id())
    })
}

/// The number's digits, written into `room`: no allocation, no formatter.
fn decimal(mut number: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut first = room.len();
    loop {
        first -= 1;
        room[first] = b"0123456789"[usize::try_from(number % 10).unwrap_or(0)];
        number /= 10;
        if number == 0 {
            return &room[first..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhook_requests_are_framed_and_their_keys_are_unique() {
        let written = |seq, write: &dyn Fn(u64, &mut Vec<u8>)| {
            let mut out = Vec::new();
            write(seq, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        let full = |seq| {
            let length = format!("hello {seq}").len() + 14;
            format!(
                "POST /webhook HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Authorization: Bearer zc_1\r\nX-Idempotency-Key: bench-{}-{seq}\r\nContent-Length: {length}\r\n\r\n\
                 {{\"message\":\"hello {seq}\"}}",
                run_id()
            )
        };
        for seq in [0, 9, 10, 1234, u64::MAX] {
            assert_eq!(written(seq, &|seq, out| webhook_request("zc_1", seq, out)), full(seq));
        }
        let without = |name: &str| {
            full(7)
                .split_inclusive("\r\n")
                .filter(|line| !line.starts_with(name))
                .collect::<Vec<_>>()
                .concat()
        };
        assert_eq!(written(7, &webhook_without_token), without("Authorization"));
        assert_eq!(
            written(7, &|seq, out| webhook_without_key("zc_1", seq, out)),
            without("X-Idempotency-Key")
        );
    }
}
