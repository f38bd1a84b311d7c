//! Idempotency keys: which header values are one, and what a stored key says about a new request.

use std::{borrow::Cow, sync::Arc, time::Duration};

use super::{message::Answer, time::Millis};

/// The longest key, in characters.
pub const MAX_KEY_LENGTH: usize = 255;

/// A client's name for one request: 1 to 255 visible ASCII characters, compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// The header value is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an idempotency key")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// Reads a header value: trimmed, bare (`abc`) or as a quoted string (`"abc"`, RFC 9651 section 3.3.3, where
    /// `\"` and `\\` are escapes). Both spellings name the same key.
    ///
    /// # Errors
    /// [`InvalidKey`] if it is blank, too long, or holds anything but visible ASCII.
    pub fn parse(value: &[u8]) -> Result<Self, InvalidKey> {
        let value = value.trim_ascii();
        let key = match value.strip_prefix(b"\"") {
            Some(rest) => unquote(rest).ok_or(InvalidKey)?,
            None => Cow::Borrowed(value),
        };
        str::from_utf8(&key).map_err(|_| InvalidKey).and_then(Self::stored)
    }

    /// Reads a key back as it was stored, where it is never quoted.
    ///
    /// # Errors
    /// [`InvalidKey`] if it is none.
    pub fn stored(text: &str) -> Result<Self, InvalidKey> {
        let valid = (1..=MAX_KEY_LENGTH).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if valid { Ok(Self(text.into())) } else { Err(InvalidKey) }
    }

    /// The key as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What stands between the opening quote and the closing one, which must be the last character.
fn unquote(rest: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = rest.strip_suffix(b"\"")?;
    let mut key = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => key.push(*bytes.next().filter(|b| matches!(b, b'"' | b'\\'))?),
            _ => key.push(byte),
        }
    }
    Some(Cow::Owned(key))
}

/// The SHA-256 of the request body that a key is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyHash(pub [u8; 32]);

/// A key that is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// The body it is bound to.
    pub body_hash: BodyHash,
    /// Where its work stands.
    pub progress: KeyProgress,
}

/// Where the work of a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyProgress {
    /// Since when it runs.
    Running(Millis),
    /// When it ended, and with what.
    Answered(Millis, Answer),
}

/// What a key on record says about a new request with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The key has expired: it is free.
    Free,
    /// It was used with another body.
    OtherBody,
    /// The first request still runs, since then.
    Running(Millis),
    /// This was the answer.
    Replay(Answer),
}

impl KeyRecord {
    /// Judges a request with `body_hash` at `now`; an answered key lives for `ttl` from the end of its work, a
    /// running one for as long as it runs.
    #[must_use]
    pub fn judge(self, body_hash: BodyHash, now: Millis, ttl: Duration) -> Verdict {
        match self.progress {
            KeyProgress::Answered(at, _) if is_expired(at, now, ttl) => Verdict::Free,
            _ if self.body_hash != body_hash => Verdict::OtherBody,
            KeyProgress::Running(since) => Verdict::Running(since),
            KeyProgress::Answered(_, answer) => Verdict::Replay(answer),
        }
    }
}

/// Whether a key that was answered at `answered_at` is free again at `now`.
#[must_use]
pub fn is_expired(answered_at: Millis, now: Millis, ttl: Duration) -> bool {
    answered_at.plus(ttl) <= now
}

/// How long the sender of a duplicate should wait while the first request runs: as long again as it has run, between
/// one second and thirty, so that a long answer is not asked for every second.
#[must_use]
pub fn running_retry_after(since: Millis, now: Millis) -> Duration {
    now.since(since).clamp(Duration::from_secs(1), Duration::from_secs(30))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(value: &str) -> Result<String, InvalidKey> {
        IdempotencyKey::parse(value.as_bytes()).map(|k| k.as_str().to_owned())
    }

    #[test]
    fn bare_and_quoted_name_the_same_key() {
        for value in ["order-1", " order-1 ", "\"order-1\"", "\t\"order-1\" "] {
            assert_eq!(key(value).as_deref(), Ok("order-1"), "{value:?}");
        }
        assert_eq!(key(r#""a\"b\\c""#).as_deref(), Ok(r#"a"b\c"#));
    }

    #[test]
    fn what_is_not_1_to_255_visible_ascii_characters_is_no_key() {
        let long = "k".repeat(256);
        let quoted_long = format!("\"{long}\"");
        for value in
            ["", " ", "\"\"", "a b", "\"a b\"", "é", "a\u{7f}", "\"a", "\"a\"b\"", r#""a\b""#, r#""a\""#]
        {
            assert_eq!(key(value), Err(InvalidKey), "{value:?}");
        }
        assert_eq!(key(&long), Err(InvalidKey));
        assert_eq!(key(&quoted_long), Err(InvalidKey));
        assert!(key(&"k".repeat(255)).is_ok());
        assert!(key("a\"b").is_ok(), "a quote inside a bare key is a visible character");
    }

    const TTL: Duration = Duration::from_mins(5);

    fn answered(at: i64) -> KeyRecord {
        let answer = Answer { text: "a".into(), model: "m".into() };
        KeyRecord { body_hash: BodyHash([1; 32]), progress: KeyProgress::Answered(Millis(at), answer) }
    }

    #[test]
    fn an_answered_key_replays_until_its_time_is_over() {
        let same = BodyHash([1; 32]);
        assert!(matches!(answered(0).judge(same, Millis(299_999), TTL), Verdict::Replay(_)));
        assert_eq!(answered(0).judge(same, Millis(300_000), TTL), Verdict::Free);
    }

    #[test]
    fn another_body_is_refused_while_the_key_lives() {
        let other = BodyHash([2; 32]);
        assert_eq!(answered(0).judge(other, Millis(1), TTL), Verdict::OtherBody);
        assert_eq!(answered(0).judge(other, Millis(300_000), TTL), Verdict::Free);
    }

    #[test]
    fn a_running_key_never_expires() {
        let running = KeyRecord { body_hash: BodyHash([1; 32]), progress: KeyProgress::Running(Millis(0)) };
        let verdict = running.judge(BodyHash([1; 32]), Millis(i64::MAX), TTL);
        assert_eq!(verdict, Verdict::Running(Millis(0)));
    }

    #[test]
    fn the_wait_grows_with_the_work() {
        for (run_ms, wait_ms) in [(0, 1000), (4000, 4000), (90_000, 30_000)] {
            assert_eq!(running_retry_after(Millis(0), Millis(run_ms)).as_millis(), wait_ms);
        }
    }
}
