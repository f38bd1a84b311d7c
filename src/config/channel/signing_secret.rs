//! Secrets of Standard Webhooks.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD as STANDARD, BASE64_STANDARD_NO_PAD as STANDARD_NO_PAD},
};
use zeroize::Zeroizing;

use super::super::reader::Reader;
use crate::domain::secret::Secret;

const PREFIX: &str = "whsec_";

/// The shortest key. Standard Webhooks asks for 24 bytes; a weaker one than 16 can be guessed.
const MIN_BYTES: usize = 16;

/// A secret that, with the prefix of Standard Webhooks, is the base64 of a key. Without it, it is the key itself.
pub(super) fn read(r: &mut Reader<'_>, key: &'static str, file_key: &'static str) -> Option<Secret> {
    let secret = r.secret(key, file_key)?;
    let is_key = secret
        .expose()
        .strip_prefix(PREFIX)
        .is_none_or(|text| base64_bytes(text).is_some_and(|bytes| bytes >= MIN_BYTES));
    if !is_key && let Some(given) = r.find_given(key) {
        let must = format!("must have base64 of at least {MIN_BYTES} bytes behind {PREFIX}");
        r.problem(&given, format!("{given} {must}, or no {PREFIX}"));
    }
    Some(secret)
}

/// How many bytes `text` is the base64 of (RFC 4648, section 4); `None` if it is not. The padding may be missing.
fn base64_bytes(text: &str) -> Option<usize> {
    let key = STANDARD.decode(text).or_else(|_| STANDARD_NO_PAD.decode(text)).ok()?;
    Some(Zeroizing::new(key).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_measured_with_and_without_its_padding() {
        for (text, bytes) in
            [("", 0), ("Zg==", 1), ("Zg", 1), ("Zm8=", 2), ("Zm8", 2), ("Zm9v", 3), ("+/+/Zm9v", 6)]
        {
            assert_eq!(base64_bytes(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_base64_has_no_size() {
        for text in
            ["Z", "Zm9vY", "Zh==", "Zm9=", "Zg=", "Zm8==", "Zm9v====", "Zg==Zg==", "-_-_", "Zm 9v", "é"]
        {
            assert_eq!(base64_bytes(text), None, "{text}");
        }
    }
}
